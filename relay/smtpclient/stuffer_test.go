package smtpclient

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

// stuff runs content through a stuffer, cut into pieces of the given sizes in
// turn, and returns the writes.
func stuff(content []byte, capacity int, sizes ...int) (writes [][]byte, err error) {
	s := stuffer{out: make([]byte, 0, capacity), start: true}
	s.flush = func(p []byte) error {
		writes = append(writes, slices.Clone(p))
		return nil
	}
	for i := 0; len(content) > 0; i++ {
		n := len(content)
		if len(sizes) > 0 {
			n = min(n, sizes[i%len(sizes)])
		}
		if err := s.add(content[:n]); err != nil {
			return writes, err
		}
		content = content[n:]
	}
	return writes, s.finish()
}

// unstuff is a second reading of RFC 5321 §4.5.2, octet by octet. It returns
// what follows the first end of content, which must be nothing.
func unstuff(wire []byte) (content, rest []byte) {
	lineStart := true
	for i := 0; i < len(wire); i++ {
		if lineStart && wire[i] == '.' {
			if bytes.HasPrefix(wire[i:], []byte(".\r\n")) {
				return content, wire[i+3:]
			}
			i++
		}
		content = append(content, wire[i])
		lineStart = i > 0 && wire[i] == '\n' && wire[i-1] == '\r'
	}
	return nil, wire
}

// bareLineEnd is a second reading of RFC 5321 §2.3.8.
func bareLineEnd(content []byte) bool {
	for i, c := range content {
		if c == '\n' && (i == 0 || content[i-1] != '\r') || c == '\r' && (i+1 == len(content) || content[i+1] != '\n') {
			return true
		}
	}
	return false
}

func checkStuffing(t *testing.T, content []byte, capacity int, sizes ...int) {
	t.Helper()
	writes, err := stuff(content, capacity, sizes...)
	wire := bytes.Join(writes, nil)
	if bareLineEnd(content) {
		if !errors.Is(err, ErrBareLineEnd) {
			t.Fatalf("a bare line end in %q passed: %v", content, err)
		}
		if bytes.Contains(wire, []byte("\r\n.\r\n")) || bytes.HasPrefix(wire, []byte(".\r\n")) {
			t.Fatalf("half of %q has an end: %q", content, wire)
		}
		return
	}
	if err != nil {
		t.Fatalf("%q in pieces of %v: %v", content, sizes, err)
	}
	want := content
	if len(want) > 0 && !bytes.HasSuffix(want, []byte("\r\n")) {
		want = append(slices.Clone(want), "\r\n"...)
	}
	got, rest := unstuff(wire)
	if !bytes.Equal(got, want) || len(rest) > 0 {
		t.Fatalf("%q in pieces of %v became %q", content, sizes, wire)
	}
}

// 5321-4.5.2-a: however a content is cut.
func TestStuffer(t *testing.T) {
	for _, content := range []string{
		"", ".", "..", "a", "\r\n", ".\r\n", "\r\n.\r\n", "a\r\n.\r\nb\r\n", "a.\r\n.b", "...\r\n\r\n..", "\r", "\n", "a\r", "a\n", "\na",
		"a\rb", "a\r\r\n", "\r\r\n.\r\n", "a\n.\nb", "a\r.\rb", "a\r\n\r.\r\n", "\n\r", strings.Repeat(".\r\n", 40), strings.Repeat("\r\n", 40),
	} {
		for first := range len(content) + 2 {
			for second := 1; second <= len(content)+1; second++ {
				for _, capacity := range []int{5, 6, 7, 16, 1000} {
					checkStuffing(t, []byte(content), capacity, max(first, 1), second)
				}
			}
		}
	}
}

func TestStufferWritesOnce(t *testing.T) {
	writes, err := stuff([]byte("a\r\n.b\r\n"), blockSize, 3)
	if err != nil || len(writes) != 1 || string(writes[0]) != "a\r\n..b\r\n.\r\n" {
		t.Errorf("%q, %v", writes, err)
	}
	// Nothing of a piece is written when its end is bad.
	writes, err = stuff([]byte(strings.Repeat("good\r\n", 100)+"bad\n"), 16)
	if len(writes) != 0 || !errors.Is(err, ErrBareLineEnd) {
		t.Errorf("%q, %v", writes, err)
	}
}

// After a write has failed, nothing more is written.
func TestStufferStops(t *testing.T) {
	content := []byte(strings.Repeat(".a\r\n", 20))
	all, err := stuff(content, 7)
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	for n := range all {
		calls := 0
		s := stuffer{out: make([]byte, 0, 7), start: true, flush: func([]byte) error {
			if calls++; calls > n {
				return broken
			}
			return nil
		}}
		err := s.add(content)
		if err == nil {
			err = s.finish()
		}
		if !errors.Is(err, broken) || calls != n+1 {
			t.Errorf("write %d of %d failed: %v after %d writes", n+1, len(all), err, calls)
		}
	}
}

// 5321-2.3.8-b 5321-4.5.2-a 5321-4.1.1.4-a
func FuzzStuffer(f *testing.F) {
	f.Add([]byte("a: b\r\n\r\n.x\r\n..\r\n"), uint16(16), uint16(3), uint16(5))
	f.Add([]byte("a\r.\r\n.\n"), uint16(5), uint16(1), uint16(2))
	f.Fuzz(func(t *testing.T, content []byte, capacity, first, second uint16) {
		checkStuffing(t, content, int(capacity)+5, int(first)+1, int(second)+1)
		// The same octets with proper line ends, which is the common case.
		proper := bytes.ReplaceAll(bytes.ReplaceAll(content, []byte("\r"), nil), []byte("\n"), []byte("\r\n"))
		checkStuffing(t, proper, int(capacity)+5, int(first)+1, int(second)+1)
	})
}

func BenchmarkStuffer(b *testing.B) {
	content := bytes.Repeat([]byte(strings.Repeat("lorem ipsum ", 6)+"\r\n"), blockSize/74)
	s := stuffer{flush: func([]byte) error { return nil }, out: make([]byte, 0, blockSize), start: true}
	b.SetBytes(int64(len(content)))
	b.ReportAllocs()
	for b.Loop() {
		if err := s.add(content); err != nil {
			b.Fatal(err)
		}
	}
}
