package message

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// check gives content to a new Checker in one piece.
func check(content string, limits Limits) *Checker {
	c := NewChecker(limits)
	c.Write([]byte(content))
	return c
}

func TestCheckerFaults(t *testing.T) {
	hops := func(n int) string { return strings.Repeat("Received: from a\r\n by b;\r\n", n) + "\r\nx\r\n" }
	tests := []struct {
		name, content string
		want          error
	}{
		{"plain", "A: b\r\n\r\nbody\r\n", nil},
		{"empty", "", nil},
		{"only a line end", "\r\n", nil},
		{"no last line end", "A: b\r\n\r\nbody", nil},
		{"LF.LF", "A: b\r\n\r\nx\n.\n", ErrBareLineEnd},
		{"LF.CRLF", "A: b\r\n\r\nx\n.\r\n", ErrBareLineEnd},
		{"CRLF.LF", "A: b\r\n\r\nx\r\n.\n", ErrBareLineEnd},
		{"CR.CRLF", "A: b\r\n\r\nx\r.\r\n", ErrBareLineEnd},
		{"CR.CR", "A: b\r\n\r\nx\r.\r", ErrBareLineEnd},
		{"CRCRLF", "A: b\r\n\r\nx\r\r\n", ErrBareLineEnd},
		{"CR at the end", "A: b\r\n\r\nx\r", ErrBareLineEnd},
		{"LF at the start", "\nA: b\r\n\r\n", ErrBareLineEnd},
		{"bare LF in the header", "A: b\nC: d\r\n\r\n", ErrBareLineEnd},
		{"bare CR in the header", "A: b\rC: d\r\n\r\n", ErrBareLineEnd},
		{"LF and later CR", "A: b\r\n\r\nx\ny\rz\r\n", ErrBareLineEnd},
		{"NUL in the header", "A: \x00\r\n\r\n", nil},
		{"NUL in the body", "A: b\r\n\r\n\x00.\r\n", nil},
		{"NUL and bare LF", "A: b\r\n\r\n\x00\n", ErrBareLineEnd},
		{"99 hops", hops(99), nil},
		{"100 hops", hops(100), nil},
		{"101 hops", hops(101), ErrLoop},
		{"hops in the body", "\r\n" + hops(200), nil},
		{"header at the limit", "A: " + strings.Repeat("b", DefaultHeader-7) + "\r\n\r\n" + hops(101), nil},
		{"header over the limit", "A: " + strings.Repeat("b", DefaultHeader-6) + "\r\n\r\n", ErrHeader},
		{"header that never ends", strings.Repeat("A: b\r\n", DefaultHeader/6+1), ErrHeader},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := check(tt.content, Limits{}).Err(); !errors.Is(err, tt.want) {
				t.Errorf("Err = %v, want %v", err, tt.want)
			}
		})
	}
}

func TestCheckerLimits(t *testing.T) {
	content := "Received: a\r\nReceived: b\r\n\r\n"
	for _, tt := range []struct {
		limits Limits
		want   error
	}{
		{Limits{Received: 2, Header: 28}, nil},
		{Limits{Received: 1, Header: 28}, ErrLoop},
		{Limits{Received: 2, Header: 27}, ErrHeader},
	} {
		if err := check(content, tt.limits).Err(); !errors.Is(err, tt.want) {
			t.Errorf("%+v: Err = %v, want %v", tt.limits, err, tt.want)
		}
	}
}

func TestCheckerMessageID(t *testing.T) {
	long := strings.Repeat("x", 2000)
	for header, want := range map[string]string{
		"Message-ID: <1@a.test>\r\n":                               "1@a.test",
		"message-id:<1@a.test>\r\n":                                "1@a.test",
		"Message-Id :\r\n\t<1@a.test>\r\n":                         "1@a.test",
		"Message-ID: (of\r\n ours) <1@a.test>\r\n":                 "1@a.test",
		"Message-ID: <1@\r\n a.test>\r\n":                          "1@a.test",
		"Message-ID: <1@a.test>\r\nMessage-ID: <2@a.test>\r\n":     "1@a.test",
		"Message-ID: no brackets\r\n":                              "nobrackets",
		"Message-ID: <1@a.test":                                    "", // no whole line
		"Message-ID:\r\n":                                          "",
		"Message-IDs: <1@a.test>\r\n":                              "",
		"X: y\r\n Message-ID: <1@a.test>\r\n":                      "",
		"\r\nMessage-ID: <1@a.test>\r\n":                           "",
		"Message-ID: <" + long + ">\r\n":                           long[:998],
		"Message-ID: <" + long + ">\r\n " + long + ">\r\nA: b\r\n": long[:998],
		"Message-ID:\r\n <" + long[:996] + ">\r\n":                 long[:996],
		"Message-ID: <\x00\x1b@a.test>\r\n":                        "\x00\x1b@a.test",
	} {
		for n := 1; n < 40; n += 6 {
			c := NewChecker(Limits{})
			for rest := []byte(header); len(rest) > 0; {
				k := min(n, len(rest))
				c.Write(rest[:k])
				rest = rest[k:]
			}
			if got := c.Result().MessageID; got != want {
				t.Errorf("%.80q in pieces of %d: %.80q, want %.80q", header, n, got, want)
			}
		}
	}
}

func TestCheckerReceived(t *testing.T) {
	for header, want := range map[string]int{
		"Received: x\r\n":              1,
		"received:x\r\nRECEIVED : y\r": 2,
		"Received\t: x\r\n":            1,
		"Received:\r\n":                1,
		" Received: folded\r\n":        0,
		"X-Received: x\r\n":            0,
		"Received-SPF: pass\r\n":       0,
		"Receive: x\r\n":               0,
		"Received\r\n":                 0,
		"A: b\r\n Received: folded\r\nReceived: x\r\n\tReceived: folded\r\n": 1,
	} {
		content := strings.TrimSuffix(header, "\n") + "\n\r\nReceived: body\r\n"
		if got := check(content, Limits{}).Result().Received; got != want {
			t.Errorf("%q: %d Received fields, want %d", header, got, want)
		}
	}
}

func TestCheckerResult(t *testing.T) {
	tests := []struct {
		name, content string
		want          Result
	}{
		{"empty", "", Result{Terminated: true}},
		{"header and body", "A: b\r\n\r\nbody text\r\n",
			Result{Size: 19, HeaderSize: 8, LongestLine: 9, Terminated: true}},
		{"no body", "A: b\r\n", Result{Size: 6, HeaderSize: 6, LongestLine: 4, Terminated: true}},
		{"open end is the longest", "\r\nabc\r\nabcd", Result{Size: 11, HeaderSize: 2, LongestLine: 4}},
		{"8-bit header", "A: é\r\n\r\nb\r\n",
			Result{Size: 12, HeaderSize: 9, LongestLine: 5, HeaderEightBit: true, Terminated: true}},
		{"8-bit body", "A: b\r\n\r\né\r\n",
			Result{Size: 12, HeaderSize: 8, LongestLine: 4, BodyEightBit: true, Terminated: true}},
		{"ends with a bare LF", "\r\nab\n",
			Result{Size: 5, HeaderSize: 2, LongestLine: 2, BareLF: true}},
		{"ends with a bare CR", "\r\nab\r",
			Result{Size: 5, HeaderSize: 2, LongestLine: 2, BareCR: true}},
		{"NUL", "\r\n\x00\r\n", Result{Size: 5, HeaderSize: 2, LongestLine: 1, NUL: true, Terminated: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := check(tt.content, Limits{}).Result()
			if got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
			if want := tt.want.HeaderEightBit || tt.want.BodyEightBit; got.EightBit() != want {
				t.Errorf("EightBit = %v", got.EightBit())
			}
		})
	}
}

// TestEightBitAnywhere puts one octet at every place of blocks of all sizes
// around the steps in which they are read.
func TestEightBitAnywhere(t *testing.T) {
	for size := range 75 {
		p := bytes.Repeat([]byte{0x7f}, size)
		if hasEightBit(p) {
			t.Fatalf("%d octets of 0x7f: 8-bit", size)
		}
		for i := range p {
			p[i] = 0x80
			if !hasEightBit(p) {
				t.Fatalf("octet %d of %d not seen", i, size)
			}
			p[i] = 0x7f
		}
	}
}

// FuzzChecker: the pieces make no difference, and a naive reading agrees.
func FuzzChecker(f *testing.F) {
	f.Add([]byte("Received: a\r\n\r\nbody\r\n.\r\n"), uint8(1), uint8(2))
	f.Add([]byte("a\r\r\n\n\r.\r"), uint8(3), uint8(0))
	f.Add([]byte("RECEIVED : \xff\r\nreceived\r\nReceived"), uint8(8), uint8(9))
	f.Add([]byte("\r\n\x00\xc3"), uint8(255), uint8(1))
	f.Fuzz(func(t *testing.T, content []byte, first, step uint8) {
		limits := Limits{Received: 2, Header: 40}
		whole := check(string(content), limits)
		pieces := NewChecker(limits)
		for rest, n := content, min(int(first), len(content)); ; {
			pieces.Write(rest[:n])
			if rest = rest[n:]; len(rest) == 0 {
				break
			}
			n = min(1+int(step), len(rest))
		}
		if pieces.Result() != whole.Result() {
			t.Fatalf("pieces %+v\nwhole  %+v", pieces.Result(), whole.Result())
		}
		if want := naive(content); whole.Result() != want {
			t.Fatalf("got   %+v\nnaive %+v", whole.Result(), want)
		}
		if a, b := pieces.Err(), whole.Err(); (a == nil) != (b == nil) || a != nil && a.Error() != b.Error() {
			t.Fatalf("pieces %v, whole %v", a, b)
		}
	})
}

// naive computes a Result an octet at a time.
func naive(content []byte) Result {
	r := Result{Size: int64(len(content)), Terminated: len(content) == 0 || bytes.HasSuffix(content, []byte("\r\n"))}
	received := regexp.MustCompile(`^[Rr][Ee][Cc][Ee][Ii][Vv][Ee][Dd][: \t]`)
	inHeader, start := true, 0
	for i, c := range content {
		if inHeader {
			r.HeaderSize++
		}
		r.HeaderEightBit = r.HeaderEightBit || c > 127 && inHeader
		r.BodyEightBit = r.BodyEightBit || c > 127 && !inHeader
		r.NUL = r.NUL || c == 0
		r.BareCR = r.BareCR || c == '\r' && (i+1 == len(content) || content[i+1] != '\n')
		if c != '\n' {
			continue
		}
		r.BareLF = r.BareLF || i == 0 || content[i-1] != '\r'
		line := bytes.TrimSuffix(content[start:i], []byte("\r"))
		r.LongestLine = max(r.LongestLine, int64(len(line)))
		if inHeader {
			if received.Match(content[start:i]) {
				r.Received++
			}
			inHeader = len(line) > 0
		}
		start = i + 1
	}
	r.LongestLine = max(r.LongestLine, int64(len(bytes.TrimSuffix(content[start:], []byte("\r")))))
	return r
}

// BenchmarkChecker compares a Checker with the copying that a content costs
// in any case.
func BenchmarkChecker(b *testing.B) {
	header := strings.Repeat("Received: from a.example by b.example; Mon, 1 Jan 2026\r\n", 8) + "\r\n"
	content := []byte(header + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 16<<10))
	const piece = 32 << 10
	each := func(b *testing.B, use func(p []byte)) {
		b.SetBytes(int64(len(content)))
		for b.Loop() {
			for p := content; len(p) > 0; p = p[min(piece, len(p)):] {
				use(p[:min(piece, len(p))])
			}
		}
	}
	b.Run("check", func(b *testing.B) {
		b.ReportAllocs()
		c := NewChecker(Limits{})
		each(b, func(p []byte) { c.Write(p) })
		if c.Err() != nil {
			b.Fatal(c.Err())
		}
	})
	b.Run("copy", func(b *testing.B) {
		room := make([]byte, piece)
		each(b, func(p []byte) { copy(room, p) })
	})
}

func TestCheckerKeepsFields(t *testing.T) {
	c := NewChecker(Limits{Fields: []string{"list-id", "precedence"}})
	content := "Subject: list-id\r\nLIST-ID : <a.b>\r\n folded\r\nList-Idle: no\r\nprecedence:bulk\r\n\r\nList-Id: body\r\n"
	for _, b := range []byte(content) {
		c.Write([]byte{b})
	}
	if got := fmt.Sprint(c.Fields()); got != "[{list-id <a.b>} {precedence bulk}]" {
		t.Errorf("kept %s", got)
	}
	many := NewChecker(Limits{Fields: []string{"x"}})
	for range 3 * maxFields {
		many.Write([]byte("X: y\r\n"))
	}
	if n := len(many.Fields()); n != maxFields {
		t.Errorf("kept %d fields, want %d", n, maxFields)
	}
}

// TestCheckerOwnHops: what counts is our name where a host names itself, once a
// field, however the field is folded.
func TestCheckerOwnHops(t *testing.T) {
	for header, want := range map[string]int{
		"Received: from a by us.example; now\r\n":                             1,
		"Received: from a\r\n by US.example\r\n with ESMTP id 1; now\r\n":     1,
		"received:\r\n\tfrom a\r\n\tBY\r\n\tus.example;\r\n now\r\n":          1,
		"Received: by us.example; now\r\nReceived: from b by us.example;\r\n": 2,
		"Received: from us.example by other.example; now\r\n":                 0,
		"Received: from a by us.example.org; now\r\n":                         0,
		"Received: from a by x by us.example; now\r\n":                        0,
		"Received: from a (by us.example) by x; now\r\n":                      0,
		"X: from a by us.example\r\n by us.example\r\n":                       0,
		"Received: from a by x\r\nX: y\r\n by us.example\r\n":                 0,
		"Received: from a by\r\nX: us.example\r\n":                            0,
		"Received: from a\r\n\r\n by us.example\r\n":                          0,
	} {
		content := header + "\r\nReceived: by us.example\r\n"
		for _, piece := range []int{1, 3, len(content)} {
			c := NewChecker(Limits{Hostname: "us.example", Own: 1})
			for rest := content; rest != ""; {
				n := min(piece, len(rest))
				c.Write([]byte(rest[:n]))
				rest = rest[n:]
			}
			if got := c.Result().Own; got != want || errors.Is(c.Err(), ErrLoop) != (want > 1) {
				t.Errorf("%q, in pieces of %d: %d of our own, want %d: %v", header, piece, got, want, c.Err())
			}
		}
	}
	c := NewChecker(Limits{})
	c.Write([]byte(strings.Repeat("Received: from a by ; now\r\n", 50) + "\r\n"))
	if c.Result().Own != 0 {
		t.Error("without a name of ours it counts the empty one")
	}
}
