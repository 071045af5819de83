package configs

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes. A configuration writes it as a plain number of
// bytes or with a unit: "50MB" is 50,000,000 and "50MiB" is 52,428,800. The zero
// value is no bytes.
type Size int64

// unit is a name for a number of bytes.
type unit struct {
	name  string
	bytes int64
}

// units are all that a Size may have, the largest first.
func units() []unit {
	return []unit{
		{"TiB", 1 << 40}, {"TB", 1e12}, {"GiB", 1 << 30}, {"GB", 1e9},
		{"MiB", 1 << 20}, {"MB", 1e6}, {"KiB", 1 << 10}, {"kB", 1e3}, {"B", 1},
	}
}

// ParseSize reads a Size: a whole number, then a unit in any case or none, with
// spaces between them or none. Negative sizes are errors.
func ParseSize(s string) (Size, error) {
	digits := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
	name := strings.TrimSpace(s[len(digits):])
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil {
		return 0, badSize(s)
	}
	if name == "" {
		return Size(n), nil
	}
	for _, u := range units() {
		if strings.EqualFold(u.name, name) {
			if n > uint64(math.MaxInt64/u.bytes) {
				return 0, badSize(s)
			}
			return Size(int64(n) * u.bytes), nil
		}
	}
	return 0, badSize(s)
}

func badSize(s string) error {
	return fmt.Errorf(`%q is not a size such as "50MB", "64KiB" or 1000000`, s)
}

// String is a whole number of the largest unit that fits without a remainder;
// [ParseSize] reads it as the same Size.
func (s Size) String() string {
	for _, u := range units() {
		if s != 0 && int64(s)%u.bytes == 0 && u.bytes > 1 {
			return fmt.Sprintf("%d%s", int64(s)/u.bytes, u.name)
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalText is String.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is [ParseSize].
func (s *Size) UnmarshalText(text []byte) error {
	parsed, err := ParseSize(string(text))
	if err == nil {
		*s = parsed
	}
	return err
}
