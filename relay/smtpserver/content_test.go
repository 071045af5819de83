package smtpserver

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"waypost/relay/message"
)

const smuggled = "MAIL FROM:<evil@x.example>\r\nRCPT TO:<v@ok.example>\r\nDATA\r\nS\r\n"

// 5321-4.1.1.4-b 5321-2.3.8-a: the framing of it.
//
// None of these sequences ends a message, so what follows is never taken for
// commands. Only CRLF . CRLF does. The bare CR or LF in each is there for the
// backend to see and refuse.
func TestSmuggling(t *testing.T) {
	for _, eod := range []string{"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r\n", "\r.\r", "\r\n\x00.\r\n", "\r\n.\x00\r\n", "\r\r\n.\r\r\n", "\n.\r", "\r\n.\r"} {
		t.Run(fmt.Sprintf("%q", eod), func(t *testing.T) {
			m := &memory{}
			_, address := start(t, m, nil)
			c := dial(t, address).inData()
			c.say("Subject: a\r\n\r\nx" + eod + smuggled + ".\r\n")
			c.expect("250")
			c.say("NOOP\r\nQUIT\r\n")
			c.expect("250 2.0.0 OK", "221", "closed")
			if len(m.all()) != 1 || m.all()[0].from != "s@a.example" {
				t.Fatalf("%d messages: %+v", len(m.all()), m.all())
			}
			content := m.all()[0].content
			if !strings.HasSuffix(content, smuggled) {
				t.Errorf("content %q", content)
			}
			checker := message.NewChecker(message.Limits{})
			checker.Write([]byte(content))
			if checker.Err() == nil && !strings.Contains(eod, "\x00") {
				t.Errorf("the backend cannot see what is wrong in %q", content)
			}
		})
	}
}

// 5321-4.5.2-a S-12 S-13 S-15: what is content, and where it ends.
func TestFraming(t *testing.T) {
	for _, tc := range []struct{ name, body, want string }{
		{"empty", ".\r\n", ""},
		{"a dot", "x\r\n..\r\n.\r\n", "x\r\n.\r\n"},
		{"stuffed line", "..x\r\n.\r\n", ".x\r\n"},
		{"line that begins with a dot", ".x\r\n.\r\n", "x\r\n"},
		{"dots inside", "a.b\r\nc.\r\n.\r\n", "a.b\r\nc.\r\n"},
		{"bare CR before the end", "x\r\r\n.\r\n", "x\r\r\n"},
		{"only bare CR", "\r\r\n.\r\n", "\r\r\n"},
		{"stuffed dots in a row", "..\r\n..\r\n.\r\n", ".\r\n.\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := &memory{}
			_, address := start(t, m, nil)
			c := dial(t, address).inData()
			c.say(tc.body + "NOOP\r\n")
			c.expect("250", "250 2.0.0 OK")
			if got := m.all()[0].content; got != tc.want {
				t.Errorf("content %q, want %q", got, tc.want)
			}
		})
	}
}

// 3030-a S-16: the framing of it.
//
// A BDAT body is opaque: no sequence in it ends anything (RFC 3030 §2).
func TestChunksAreOpaque(t *testing.T) {
	body := "Subject: x\r\n\r\n.\r\n..\r\n" + smuggled + ".\r\nno end"
	for cut := range len(body) {
		m := &memory{}
		_, address := start(t, m, nil)
		c := dial(t, address).ready()
		c.say(fmt.Sprintf("%sBDAT %d\r\n%sBDAT %d LAST\r\n%sNOOP\r\n", envelope, cut, body[:cut], len(body)-cut, body[cut:]))
		c.expect("250", "250", "250", "250", "250 2.0.0 OK")
		if got := m.all(); len(got) != 1 || got[0].content != body {
			t.Fatalf("cut at %d: %+v", cut, got)
		}
	}
}

// simpleUnstuff is the same thing an octet at a time. It returns the content,
// what follows it, and whether there is an end at all.
func simpleUnstuff(s string) (content, rest string, ended bool) {
	var b strings.Builder
	for start := true; s != ""; {
		if start && strings.HasPrefix(s, ".\r\n") {
			return b.String(), s[3:], true
		}
		if start && s[0] == '.' {
			s = s[1:]
			start = false
			continue
		}
		b.WriteByte(s[0])
		s = s[1:]
		start = strings.HasSuffix(b.String(), "\r\n")
	}
	return b.String(), "", false
}

func readDots(t testing.TB, r io.Reader, asWriter bool) (text, rest string, err error) {
	t.Helper()
	in := newInput(r, newBufferPool())
	in.enlarge()
	c := &content{next: (&dotReader{in: in}).next}
	var b bytes.Buffer
	if asWriter {
		_, err = c.WriteTo(&b)
	} else {
		_, err = b.ReadFrom(iotest.OneByteReader(struct{ io.Reader }{c}))
	}
	if err != nil {
		return b.String(), "", err
	}
	left := string(in.buffered())
	more, _ := io.ReadAll(r)
	return b.String(), left + string(more), nil
}

// S-14: in whatever pieces it comes.
func TestEndIsFoundWhereverItIsCut(t *testing.T) {
	for at := range 40 {
		for _, size := range []int{4096, 32768, contentBuffer} {
			lead := strings.Repeat("x", size-20+at)
			body := lead + "\r\n.\r\nNOOP\r\n"
			for _, r := range []io.Reader{strings.NewReader(body), iotest.HalfReader(strings.NewReader(body)), iotest.OneByteReader(strings.NewReader(body))} {
				content, rest, err := readDots(t, r, true)
				if err != nil || content != lead+"\r\n" || rest != "NOOP\r\n" {
					t.Fatalf("size %d: %d octets, rest %q, %v", len(lead), len(content), rest, err)
				}
			}
		}
	}
}

func FuzzDotReader(f *testing.F) {
	for _, s := range []string{".\r\n", "a\r\n.\r\nb", "..\r\n.\r\n", "\r\r\n.\r\n", "\r\n.\r", ".\r\r\n.\r\n", "x\n.\n\r\n.\r\n"} {
		f.Add(s, 1)
		f.Add(s, 3)
	}
	f.Fuzz(func(t *testing.T, s string, piece int) {
		want, wantRest, ended := simpleUnstuff(s)
		for _, asWriter := range []bool{true, false} {
			content, rest, err := readDots(t, &pieces{s, max(piece, 1)}, asWriter)
			if !ended {
				if err != io.ErrUnexpectedEOF {
					t.Fatalf("%q has no end, but: %v", s, err)
				}
				continue
			}
			if err != nil || content != want || rest != wantRest {
				t.Fatalf("%q: content %q, rest %q, %v; want %q, %q", s, content, rest, err, want, wantRest)
			}
		}
	})
}

// pieces reads n octets at a time.
type pieces struct {
	s string
	n int
}

func (p *pieces) Read(b []byte) (int, error) {
	if p.s == "" {
		return 0, io.EOF
	}
	n := copy(b, p.s[:min(p.n, len(p.s))])
	p.s = p.s[n:]
	return n, nil
}

func BenchmarkDotReader(b *testing.B) {
	body := strings.Repeat(strings.Repeat("x", 70)+"\r\n", 1<<20/72) + ".\r\n"
	pool := newBufferPool()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		in := newInput(strings.NewReader(body), pool)
		in.enlarge()
		c := &content{next: (&dotReader{in: in}).next}
		if _, err := c.WriteTo(io.Discard); err != nil {
			b.Fatal(err)
		}
		in.shrink()
	}
}
