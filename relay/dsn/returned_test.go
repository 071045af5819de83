package dsn

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
)

func TestReturned(t *testing.T) {
	header, _, _ := strings.Cut(original, "\r\n\r\n")
	header += "\r\n"
	eight := strings.Replace(original, "Ann\r\n", "Änn\r\n", 1)
	open := strings.TrimSuffix(original, "\r\n")
	tests := []struct {
		name string
		edit func(*Report)
		want part // without a media type: no third part
	}{
		{"nothing to return", func(r *Report) { *r = base() }, part{}},
		{"3461-6.2-a headers", func(r *Report) { r.Return = Headers }, part{"text/rfc822-headers", "", header}},
		{"3461-6.2-a full", func(*Report) {}, part{"message/rfc822", "", original}},
		{"full, open end", func(r *Report) { *r = r.withContent(open, Full) }, part{"message/rfc822", "", open}},
		{"full, 8-bit", func(r *Report) { *r = r.withContent(eight, Full) }, part{"message/rfc822", "8bit", eight}},
		{"full, 8-bit, international", func(r *Report) {
			*r = r.withContent(eight, Full)
			r.UTF8 = true
		}, part{"message/global", "8bit", eight}},
		{"full, 7-bit, international", func(r *Report) { r.UTF8 = true }, part{"message/rfc822", "", original}},
		{"3461-6.2-a full, delay", func(r *Report) { r.Kind = Delay }, part{"text/rfc822-headers", "", header}},
		{"full, success", func(r *Report) { r.Kind = Success }, part{"text/rfc822-headers", "", header}},
		{"full, one of two failed", func(r *Report) {
			r.Kind = Delay
			r.Recipients = append(r.Recipients, r.Recipients[0])
			r.Recipients[1].Action = Failed
		}, part{"message/rfc822", "", original}},
		{"full, at the limit", func(r *Report) { r.MaxReturn = int64(len(original)) }, part{"message/rfc822", "", original}},
		{"3461-6.2-a full, over the limit", func(r *Report) { r.MaxReturn = int64(len(original)) - 1 }, part{"text/rfc822-headers", "", header}},
		{"full, size not known", func(r *Report) { r.ContentSize = 0 }, part{"text/rfc822-headers", "", header}},
		{"D-04 full, over the default limit", func(r *Report) {
			*r = r.withContent(header+"\r\n"+strings.Repeat("x\r\n", DefaultMaxReturn/3), Full)
		}, part{"text/rfc822-headers", "", header}},
		{"content without header", func(r *Report) { *r = r.withContent("\r\nbody", Headers) }, part{"text/rfc822-headers", "", ""}},
		{"D-08 8-bit header", func(r *Report) { *r = r.withContent("A: é\x00\xff\r\nB: c\r\n\r\n", Headers) },
			part{"text/rfc822-headers", "", "A: ???\r\nB: c\r\n"}},
		{"6533-c 8-bit header, international", func(r *Report) {
			*r = r.withContent("A: é\x00\xff\r\nB: c\r\n\r\n", Headers)
			r.UTF8 = true
		}, part{"message/global-headers", "8bit", "A: é??\r\nB: c\r\n"}},
		{"D-06 nested parts, never looked at", func(r *Report) {
			*r = r.withContent("A: b\r\n\r\n"+strings.Repeat("--x\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n", 10_000), Headers)
		}, part{"text/rfc822-headers", "", "A: b\r\n"}},
		{"D-06 endless header", func(r *Report) { *r = r.withContent(strings.Repeat("A: 345\r\n", 20<<10), Full); r.MaxReturn = 1 },
			part{"text/rfc822-headers", "", strings.Repeat("A: 345\r\n", maxHeader/8)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := base().withContent(original, Full)
			tt.edit(&r)
			report, composed := compose(t, r)
			parts := parseReport(t, report).parts
			if tt.want.mediaType == "" {
				if len(parts) != 2 {
					t.Errorf("%d parts", len(parts))
				}
				return
			}
			if len(parts) != 3 || parts[2] != tt.want {
				t.Fatalf("%d parts, the last %q, want %q", len(parts), parts[len(parts)-1], tt.want)
			}
			full := strings.HasPrefix(tt.want.mediaType, "message/") && tt.want.mediaType != "message/global-headers"
			eight := tt.want.encoding == "8bit"
			global := strings.HasPrefix(tt.want.mediaType, "message/global")
			if composed.Size = 0; composed != (Composed{Full: full, EightBit: eight, UTF8: global}) {
				t.Errorf("Composed = %+v", composed)
			}
		})
	}
}

func TestCleanHeader(t *testing.T) {
	long := "X: " + strings.Repeat("y", maxLine)
	for _, tt := range []struct {
		name, in string
		native   bool
		want     string
	}{
		{"as it is", "A: b\r\n\tc\r\n", false, "A: b\r\n\tc\r\n"},
		{"no line end", "A: b", false, "A: b\r\n"},
		{"bare line ends", "A: b\nC: d\re\r\n", false, "A: b\r\nC: d?e\r\n"},
		{"control characters", "A: \x00\x1b\x7f\u0098\r\n", true, "A: ????\r\n"},
		{"too long", long + "\r\n", false, long[:maxLine] + "\r\n " + long[maxLine:] + "\r\n"},
		{"too long, between characters", "X: " + strings.Repeat("é", 500) + "\r\n", true,
			"X: " + strings.Repeat("é", 497) + "\r\n " + strings.Repeat("é", 3) + "\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(cleanHeader([]byte(tt.in), tt.native)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestStreams: a large content that is returned whole is never in memory.
//
// D-04
func TestStreams(t *testing.T) {
	const size = 50 << 20
	r := base()
	r.Content, r.ContentSize = io.LimitReader(lines{}, size), size
	r.Return, r.MaxReturn = Full, size
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	composed, err := Compose(io.Discard, r)
	runtime.ReadMemStats(&after)
	if err != nil || !composed.Full || composed.Size < size {
		t.Fatalf("Compose = %+v, %v", composed, err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
		t.Errorf("%d octets allocated for a content of %d", used, size)
	}
}

// lines is an endless content.
type lines struct{}

func (lines) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = "abcdef\r\n"[i%8]
	}
	return len(p), nil
}

// TestHundredRecipients: one report tells of all, with one copy of the message, which
// is its header where the whole is too large.
//
// D-04
func TestHundredRecipients(t *testing.T) {
	header, _, _ := strings.Cut(original, "\r\n\r\n")
	for _, size := range []int64{int64(len(original)), 50 << 20} {
		r := base()
		for i := range 99 {
			one := r.Recipients[0]
			one.Final.Local = fmt.Sprintf("r%d", i)
			r.Recipients = append(r.Recipients, one)
		}
		r.Content, r.ContentSize, r.Return = io.LimitReader(io.MultiReader(strings.NewReader(original), lines{}), size), size, Full
		report, composed := compose(t, r)
		p := parseReport(t, report)
		if len(p.rcpts) != 100 || len(p.parts) != 3 || composed.Full != (size < DefaultMaxReturn) || composed.Size > 128<<10 {
			t.Errorf("%d octets: %d recipients, %d parts, %+v", size, len(p.rcpts), len(p.parts), composed)
		}
		if n := strings.Count(report, header); n != 1 {
			t.Errorf("%d octets: %d copies", size, n)
		}
	}
}
