package configs

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time that a configuration writes as text: Go's syntax
// with days before it, such as "90s", "1h30m", "5d" or "1d12h". A day has 24
// hours. The zero value is no time.
type Duration time.Duration

const maxDays = int64(math.MaxInt64 / (24 * time.Hour))

// ParseDuration reads a Duration. Negative ones are errors.
func ParseDuration(s string) (Duration, error) {
	days, rest := "0", s
	if before, after, ok := strings.Cut(s, "d"); ok {
		days, rest = before, after
		if rest == "" {
			rest = "0"
		}
	}
	n, err := strconv.ParseUint(days, 10, 63)
	if err != nil || int64(n) >= maxDays {
		return 0, badDuration(s)
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 || strings.HasPrefix(rest, "+") {
		return 0, badDuration(s)
	}
	whole := time.Duration(n) * 24 * time.Hour
	if whole > math.MaxInt64-d {
		return 0, badDuration(s)
	}
	return Duration(whole + d), nil
}

func badDuration(s string) error {
	return fmt.Errorf(`%q is not a duration such as "90s", "1h30m" or "5d"`, s)
}

// String is the shortest form that [ParseDuration] reads as the same Duration.
func (d Duration) String() string {
	const day = Duration(24 * time.Hour)
	if d <= 0 {
		return time.Duration(d).String()
	}
	var text strings.Builder
	if d >= day {
		fmt.Fprintf(&text, "%dd", d/day)
		d %= day
	}
	if d == 0 {
		return text.String()
	}
	rest := time.Duration(d).String()
	// Go writes 30m0s and 2h0m0s.
	if strings.HasSuffix(rest, "m0s") {
		rest = strings.TrimSuffix(rest, "0s")
	}
	if strings.HasSuffix(rest, "h0m") {
		rest = strings.TrimSuffix(rest, "0m")
	}
	return text.String() + rest
}

// MarshalText is String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is [ParseDuration].
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := ParseDuration(string(text))
	if err == nil {
		*d = parsed
	}
	return err
}
