package configs

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseDuration(t *testing.T) {
	const bad = -1
	for text, want := range map[string]time.Duration{
		"90s": 90 * time.Second, "1h30m": 90 * time.Minute, "5d": 120 * time.Hour, "1d12h": 36 * time.Hour, "0": 0, "0s": 0,
		"0d": 0, "1.5h": 90 * time.Minute, "10ms": 10 * time.Millisecond, "01d": 24 * time.Hour, "106750d": 106750 * 24 * time.Hour,
		"": bad, "d": bad, "5": bad, "5 d": bad, "-1h": bad, "-1d": bad, "+1h": bad, "1d-1h": bad, "1d+1h": bad, "1.5d": bad,
		"1h1d": bad, "1d1d": bad, "1w": bad, "106752d": bad, "99999999999999999999d": bad, "9999999999h": bad, "1D": bad,
	} {
		got, err := ParseDuration(text)
		if want == bad {
			if err == nil {
				t.Errorf("ParseDuration(%q) = %v, want an error", text, got)
			}
			continue
		}
		if err != nil || time.Duration(got) != want {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v", text, time.Duration(got), err, want)
		}
	}
}

func TestDurationText(t *testing.T) {
	for want, d := range map[string]Duration{
		"5d": 5 * 24 * hour, "1d12h": 36 * hour, "30m": 30 * minute, "1h30m": 90 * minute, "10s": 10 * second, "1m30s": 90 * second,
		"1d10s": 24*hour + 10*second, "0s": 0, "1h0m5s": hour + 5*second, "1.5s": 1500 * second / 1000,
	} {
		if got := d.String(); got != want {
			t.Errorf("%v is written %q, want %q", time.Duration(d), got, want)
		}
	}
}

func TestDurationsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Duration(rapid.Int64Range(0, int64(106750*24*hour)).Draw(t, "nanoseconds"))
		text, err := want.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var got Duration
		if err := got.UnmarshalText(text); err != nil || got != want {
			t.Fatalf("%s comes back as %v (%v)", text, got, err)
		}
	})
}

func TestParseSize(t *testing.T) {
	const bad = -1
	for text, want := range map[string]int64{
		"0": 0, "1000": 1000, "50MB": 50_000_000, "50mb": 50_000_000, "50 MB": 50_000_000, "50MiB": 50 << 20, "1kB": 1000, "1KiB": 1024,
		"2GB": 2e9, "2GiB": 2 << 30, "1TB": 1e12, "1TiB": 1 << 40, "7B": 7, "9223372036854775807": math.MaxInt64,
		"": bad, "MB": bad, "-1": bad, "1.5GB": bad, "50M": bad, "50 parsecs": bad, "9223372036854775808": bad, "9223372TB": 9223372e12,
		"9223373TB": bad, "0x10": bad, "1MB1": bad,
	} {
		got, err := ParseSize(text)
		if want == bad {
			if err == nil {
				t.Errorf("ParseSize(%q) = %d, want an error", text, int64(got))
			}
			continue
		}
		if err != nil || int64(got) != want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", text, int64(got), err, want)
		}
	}
}

func TestSizeText(t *testing.T) {
	for want, s := range map[string]Size{
		"0": 0, "50MB": 50_000_000, "50MiB": 50 << 20, "64KiB": 64 << 10, "1kB": 1000, "999": 999, "256MB": 256_000_000, "1TB": 1e12,
	} {
		if got := s.String(); got != want {
			t.Errorf("%d is written %q, want %q", int64(s), got, want)
		}
	}
}

func TestSizesComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		unit := rapid.SampledFrom(units()).Draw(t, "unit")
		want := Size(rapid.Int64Range(0, math.MaxInt64/unit.bytes).Draw(t, "number") * unit.bytes)
		text, err := want.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var got Size
		if err := got.UnmarshalText(text); err != nil || got != want {
			t.Fatalf("%s comes back as %d (%v)", text, int64(got), err)
		}
	})
}
