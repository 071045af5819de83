package dkim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	msgauth "github.com/emersion/go-msgauth/dkim"
)

// zone answers for the records of a test.
type zone map[string][]string

func (z zone) texts(_ context.Context, name string) ([]string, error) {
	t, ok := z[strings.ToLower(name)]
	if ok && len(t) == 1 && t[0] == "SERVFAIL" {
		return nil, errors.New("server failure")
	}
	return t, nil
}

// keyFile writes a new key and returns its file and its record.
func keyFile(t testing.TB, a Algorithm) (name, record string) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "key.pem")
	return name, replaceKey(t, name, a)
}

func replaceKey(t testing.TB, name string, a Algorithm) (record string) {
	t.Helper()
	k, err := Generate(a)
	if err != nil {
		t.Fatal(err)
	}
	text, err := EncodeKey(k)
	if err != nil {
		t.Fatal(err)
	}
	// In one step, as whoever replaces a key should.
	if err := os.WriteFile(name+".new", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
	if record, err = Record(k.Public()); err != nil {
		t.Fatal(err)
	}
	return record
}

// both returns a set with a key of each kind for a.example, and its zone.
func both(t testing.TB, edit func(*Key)) (*Set, zone) {
	t.Helper()
	z := zone{}
	var keys []Key
	for _, a := range Algorithms() {
		name, record := keyFile(t, a)
		k := Key{Domain: "a.example", Selector: string(a), File: name, SevenBit: true}
		if edit != nil {
			edit(&k)
		}
		keys = append(keys, k)
		z[RecordName("a.example", string(a))] = []string{record}
	}
	s, err := New(Options{Keys: keys, TXT: z.texts, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return s, z
}

// sign has a set sign a content, written in pieces of one size.
func sign(t testing.TB, s *Set, content string, piece int, c Content) (string, Result) {
	t.Helper()
	var out bytes.Buffer
	w := s.NewWriter(&out)
	defer w.Discard()
	for rest := content; rest != ""; {
		n := min(piece, len(rest))
		if _, err := io.WriteString(w, rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	r, err := w.Finish(c)
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), r
}

// verify returns how many signatures of a message are good, and the first error.
func verify(t testing.TB, z zone, content string) (good int, err error) {
	t.Helper()
	all, failed := msgauth.VerifyWithOptions(strings.NewReader(content), &msgauth.VerifyOptions{
		LookupTXT: func(name string) ([]string, error) { return z.texts(context.Background(), name) },
	})
	if failed != nil {
		t.Fatal(failed)
	}
	for _, v := range all {
		if v.Err == nil {
			good++
		} else if err == nil {
			err = v.Err
		}
	}
	return good, err
}

// contents are what is hard to sign.
func contents() map[string]string {
	const from = "From: Ann <ann@a.example>\r\nDate: Fri, 2 Jan 2026 03:04:05 +0000\r\n"
	return map[string]string{
		"plain":             from + "To: b@b.example\r\nSubject: hello\r\n\r\nHello.\r\n",
		"folded fields":     "Date: Fri, 2 Jan 2026 03:04:05 +0000\r\nFrom:\r\n \"Ann,\t the first\"\r\n\t<ann@a.example>\r\nSubject: a\r\n  b   c\t\r\nTO :  b@b.example\r\n\r\nx\r\n",
		"empty body":        from + "\r\n",
		"only empty lines":  from + "\r\n\r\n\r\n\r\n",
		"header alone":      from + "Subject: x\r\n",
		"no end of line":    from + "Subject: x",
		"blanks at the end": from + "\r\nx \t \r\n y\t\tz  \r\n\t\r\n \r\n\r\n",
		"no final line end": from + "\r\nx\r\ny",
		"dots":              from + "\r\n.\r\n..x\r\n.y\r\n",
		"long lines":        from + "Subject: " + strings.Repeat("x", 2000) + "\r\n\r\n" + strings.Repeat("y ", 5000) + "\r\n",
		"twice a field":     from + "To: b@b.example\r\nTo: c@b.example\r\nSubject: 1\r\nSubject: 2\r\n\r\nx\r\n",
		"empty field":       from + "Subject:\r\nCc: \r\n\r\nx\r\n",
		"no field":          from + "this is none\r\nSubject: x\r\n\r\nx\r\n",
		"many fields":       from + strings.Repeat("To: b@b.example\r\nReferences: <1@a.example>\r\nList-Unsubscribe-Post: x\r\n", 50) + "\r\nx\r\n",
		"large":             from + "\r\n" + strings.Repeat("0123456789abcde\r\n", 20_000),
		"NUL":               from + "\r\na\x00b\r\n",
	}
}

// TestSignaturesVerify: by an independent verifier, for what is hard to sign.
//
// 8463-a: by a key of each kind.
func TestSignaturesVerify(t *testing.T) {
	s, z := both(t, nil)
	for name, content := range contents() {
		for _, piece := range []int{1, 7, 4096, len(content)} {
			if piece == 1 && len(content) > 20_000 {
				continue
			}
			out, r := sign(t, s, content, piece, Content{})
			if !strings.HasSuffix(out, content) || len(r.Keys) != 2 || r.Converted {
				t.Errorf("%s, in pieces of %d: %+v, content changed: %v", name, piece, r, !strings.HasSuffix(out, content))
			}
			for line := range strings.Lines(strings.TrimSuffix(out, content)) {
				if len(line) > 1000 || !strings.HasSuffix(line, "\r\n") {
					t.Errorf("%s: the signature has a line of %d octets", name, len(line))
				}
			}
			if !strings.Contains(out, "\r\n\r\n") {
				// What a client sends ends in a line, and then comes nothing.
				out = strings.TrimSuffix(out, "\r\n") + "\r\n\r\n"
			}
			if good, err := verify(t, z, out); good != 2 {
				t.Errorf("%s, in pieces of %d: %d signatures are good: %v", name, piece, good, err)
			}
		}
	}
	if left, err := os.ReadDir(s.Dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

// What a reader would see otherwise breaks the signatures; what hosts on the way
// may add does not.
func TestSignaturesHold(t *testing.T) {
	s, z := both(t, nil)
	out, _ := sign(t, s, contents()["plain"], 100, Content{})
	for name, tc := range map[string]struct {
		content string
		good    int
	}{
		"6376-3.1-a as it is":        {out, 2},
		"6376-3.1-a another From":    {"From: x@evil.test\r\n" + out, 0},
		"6376-3.1-a another Subject": {"Subject: x\r\n" + out, 0},
		"another To":                 {"To: x@evil.test\r\n" + out, 0},
		"a Reply-To":                 {"Reply-To: x@evil.test\r\n" + out, 0},
		"changed Subject":            {strings.Replace(out, "hello", "hullo", 1), 0},
		"6376-3.1-a changed body":    {strings.Replace(out, "Hello.", "Hullo.", 1), 0},
		"more body":                  {out + "x\r\n", 0},
		"6376-3.1-a trace":           {"Received: from x by y; now\r\nX-Spam: no\r\n" + out, 2},
		"Message-ID added":           {"Message-ID: <1@c.example>\r\n" + out, 2},
		"folded anew":                {strings.Replace(out, "Subject: hello", "subject:\r\n hello ", 1), 2},
		"body ends longer":           {out + "\r\n\r\n", 2},
	} {
		if good, err := verify(t, z, tc.content); good != tc.good {
			t.Errorf("%s: %d signatures are good, want %d: %v", name, good, tc.good, err)
		}
	}
}

func TestEightBitContentIsConvertedFirst(t *testing.T) {
	const header = "From: ann@a.example\r\nSubject: x\r\n"
	for name, tc := range map[string]struct {
		content   string
		seen      Content
		off       bool
		converted bool
	}{
		"text":              {header + "\r\nGrüße\r\n", Content{EightBit: true}, false, true},
		"in a field":        {"From: Änn <ann@a.example>\r\n\r\nx\r\n", Content{EightBit: true}, false, true},
		"long lines":        {header + "\r\n" + strings.Repeat("x", 1200) + "\r\n", Content{LongLines: true}, false, true},
		"binary":            {header + "MIME-Version: 1.0\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\na\rb\nc\x00\r\n", Content{EightBit: true, Binary: true}, false, true},
		"large":             {header + "\r\n" + strings.Repeat("Grüße\r\n", 50_000), Content{EightBit: true}, false, true},
		"switched off":      {header + "\r\nGrüße\r\n", Content{EightBit: true}, true, false},
		"sealed":            {header + "Content-Type: Multipart/Signed; boundary=b; micalg=x\r\n\r\n--b\r\n\r\nGrüße\r\n--b--\r\n", Content{EightBit: true}, false, false},
		"internationalised": {"From: Änn <ann@a.example>\r\n\r\nGrüße\r\n", Content{EightBit: true, UTF8Header: true}, false, false},
		"too deep":          {header + strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 1) + strings.Repeat("x", 300<<10) + ":ü\r\n", Content{EightBit: true}, false, false},
	} {
		s, z := both(t, func(k *Key) { k.SevenBit = !tc.off })
		out, r := sign(t, s, tc.content, 1000, tc.seen)
		if r.Converted != tc.converted {
			t.Errorf("%s: converted: %v", name, r.Converted)
		}
		if tc.converted && strings.ContainsFunc(out, func(r rune) bool { return r > 127 }) || !tc.converted && !strings.HasSuffix(out, tc.content) {
			t.Errorf("%s: goes on as %.300q", name, out)
		}
		if good, err := verify(t, z, out); good != 2 {
			t.Errorf("%s: %d signatures are good: %v", name, good, err)
		}
	}
}

func TestWhoIsSignedFor(t *testing.T) {
	s, _ := both(t, nil)
	for from, want := range map[string]int{
		"From: ann@a.example\r\n":                                              2,
		"From: ann@A.Example\r\n":                                              2,
		"FROM : Smith, Ann <ann@a.example>\r\n":                                2,
		"From: \"x@b.example\" <ann@a.example>\r\n":                            2,
		"From: ann@a.example, bob@b.example\r\n":                               2,
		"From: bob@b.example, ann@a.example\r\n":                               0,
		"From: bob@b.example\r\nSender: ann@a.example\r\n":                     0,
		"From: ann@a.example\r\nFrom: ann@a.example\r\n":                       0,
		" From: ann@a.example\r\n":                                             0,
		"\tx\r\nFrom: ann@a.example\r\n":                                       0,
		"Subject: x\r\n":                                                       0,
		"From: ann\r\n":                                                        0,
		"From:\r\n":                                                            0,
		"From: ann@sub.a.example\r\n":                                          0,
		"From: ann@xa.example\r\n":                                             0,
		"From: ann@[192.0.2.1]\r\n":                                            0,
		"Subject: x\r\n\r\nFrom: ann@a.example\r\n":                            0,
		"From: undisclosed:;\r\n":                                              0,
		"X: " + strings.Repeat("x", maxHeader) + "\r\nFrom: ann@a.example\r\n": 0,
	} {
		content := from + "\r\nx\r\n"
		out, r := sign(t, s, content, 1<<16, Content{})
		if len(r.Keys) != want || !strings.HasSuffix(out, content) {
			t.Errorf("%.60q: signed by %v, want %d keys", from, r.Keys, want)
		}
	}
	var none *Set
	if out, r := sign(t, none, "x\r\n", 1, Content{}); out != "x\r\n" || r.Keys != nil {
		t.Errorf("no keys: %q, %+v", out, r)
	}
}

func TestSubdomains(t *testing.T) {
	name, record := keyFile(t, Ed25519)
	keys := []Key{
		{Domain: "example.org", Selector: "top", File: name, Subdomains: true},
		{Domain: "own.example.org", Selector: "own", File: name},
		{Domain: "example", Selector: "no", File: name},
	}
	s, err := New(Options{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	for domain, want := range map[string]string{
		"example.org": "top._domainkey.example.org", "a.b.example.org": "top._domainkey.example.org",
		"own.example.org": "own._domainkey.own.example.org", "x.own.example.org": "top._domainkey.example.org",
		"example": "no._domainkey.example", "other.example": "",
	} {
		out, r := sign(t, s, "From: ann@"+domain+"\r\n\r\nx\r\n", 100, Content{})
		if strings.Join(r.Keys, " ") != want {
			t.Errorf("%s is signed by %v, want %s", domain, r.Keys, want)
		}
		if good, err := verify(t, zone{want: {record}}, out); want != "" && good != 1 {
			t.Errorf("%s: %v", domain, err)
		}
	}
}

func TestExpiryAndFields(t *testing.T) {
	s, z := both(t, func(k *Key) { k.Expiry, k.Headers, k.Oversign = time.Hour, []string{"Subject", "X-Job"}, []string{} })
	out, _ := sign(t, s, "From: ann@a.example\r\nX-Job: 1\r\nDate: x\r\nTo: b@b.example\r\n\r\nx\r\n", 100, Content{})
	if n := strings.Count(out, "h=From:From:X-Job;"); n != 2 {
		t.Errorf("the signatures are %s", out)
	}
	all, err := msgauth.VerifyWithOptions(strings.NewReader(out), &msgauth.VerifyOptions{
		LookupTXT: func(name string) ([]string, error) { return z.texts(context.Background(), name) },
	})
	if err != nil || len(all) != 2 {
		t.Fatal(all, err)
	}
	for _, v := range all {
		if v.Err != nil || v.Expiration.Sub(v.Time) != time.Hour {
			t.Errorf("%v: from %v until %v", v.Err, v.Time, v.Expiration)
		}
	}
}

// An error of what is behind, or of the disk, is one of the message.
func TestErrorsComeBack(t *testing.T) {
	s, _ := both(t, nil)
	bad := errors.New("bad")
	w := s.NewWriter(failing{bad})
	io.WriteString(w, contents()["plain"])
	if _, err := w.Finish(Content{}); !errors.Is(err, bad) {
		t.Errorf("the writer's error is %v", err)
	}
	s.Dir = filepath.Join(t.TempDir(), "nowhere")
	w = s.NewWriter(io.Discard)
	defer w.Discard()
	if _, err := io.Copy(w, iotest.OneByteReader(strings.NewReader(contents()["large"]))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the disk's error is %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// FuzzWriter: whatever a content is and however it comes, it goes on octet for
// octet behind what is put on top of it, and that does not depend on the pieces.
func FuzzWriter(f *testing.F) {
	for _, content := range contents() {
		if len(content) < 20_000 {
			f.Add(content, 7)
		}
	}
	f.Add("From: a@a.example\n\r\n\n", 1)
	f.Add(" From:<a@a.example>\r\n\r\n", 30)
	s, z := both(f, func(k *Key) { k.SevenBit = false })
	f.Fuzz(func(t *testing.T, content string, piece int) {
		piece = max(1, piece%1000)
		out, r := sign(t, s, content, piece, Content{EightBit: true})
		top, ok := strings.CutSuffix(out, content)
		if !ok || (top == "") != (len(r.Keys) == 0) {
			t.Fatalf("%q goes on as %q, with %+v", content, out, r)
		}
		for line := range strings.Lines(top) {
			if len(line) > 1000 || !strings.HasSuffix(line, "\r\n") || strings.Count(line, "\r") != 1 {
				t.Errorf("the signature has the line %q", line)
			}
		}
		if _, again := sign(t, s, content, len(content)+1, Content{EightBit: true}); len(again.Keys) != len(r.Keys) {
			t.Errorf("in pieces of %d signed by %v, at once by %v", piece, r.Keys, again.Keys)
		}
		// What verifiers read is a message whose lines end in CRLF and which has a body.
		if bare := strings.ReplaceAll(content, "\r\n", ""); !strings.ContainsAny(bare, "\r\n") && strings.Contains(content, "\r\n\r\n") {
			if good, err := verify(t, z, out); good != len(r.Keys) && !strings.Contains(strings.ToLower(content), "dkim-signature") {
				t.Errorf("%q: %d of %d signatures are good: %v", out, good, len(r.Keys), err)
			}
		}
	})
}

// A large content is in memory in small pieces only, before it is signed and while
// it is.
func TestLargeContentTakesLittleMemory(t *testing.T) {
	s, _ := both(t, nil)
	meter := &meter{}
	meter.begin = meter.heap()
	w := s.NewWriter(meter)
	io.WriteString(w, "From: ann@a.example\r\n\r\n")
	piece := bytes.Repeat([]byte("0123456789abcde\r\n"), 2000)
	for range 50_000_000 / len(piece) {
		if _, err := w.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
	meter.look()
	if _, err := w.Finish(Content{}); err != nil {
		t.Fatal(err)
	}
	if meter.octets < 50_000_000-int64(len(piece)) || meter.most > 4<<20 {
		t.Errorf("%d octets of heap for a content of %d", meter.most, meter.octets)
	}
}

// meter looks at the heap in use, at times while it is written to.
type meter struct {
	begin, most, octets int64
	writes              int
}

func (m *meter) heap() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

func (m *meter) look() { m.most = max(m.most, m.heap()-m.begin) }

func (m *meter) Write(p []byte) (int, error) {
	m.octets += int64(len(p))
	if m.writes++; m.writes%500 == 0 {
		m.look()
	}
	return len(p), nil
}

func BenchmarkSign(b *testing.B) {
	for _, size := range []int{5_000, 50_000_000} {
		for _, a := range Algorithms() {
			name, _ := keyFile(b, a)
			s, err := New(Options{Keys: []Key{{Domain: "a.example", Selector: "s", File: name}}, Dir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			header := "From: ann@a.example\r\nTo: b@b.example\r\nSubject: x\r\nDate: now\r\nMessage-ID: <1@a.example>\r\n\r\n"
			line := strings.Repeat("abc def ", 9) + "\r\n"
			content := []byte(header + strings.Repeat(line, size/len(line)))
			for _, on := range []bool{false, true} {
				set := s
				if !on {
					set = nil
				}
				b.Run(fmt.Sprintf("%d/%s/signed=%v", size, a, on), func(b *testing.B) {
					b.SetBytes(int64(len(content)))
					b.ReportAllocs()
					for b.Loop() {
						w := set.NewWriter(io.Discard)
						for rest := content; len(rest) > 0; {
							n, err := w.Write(rest[:min(len(rest), 32<<10)])
							if err != nil {
								b.Fatal(err)
							}
							rest = rest[n:]
						}
						if _, err := w.Finish(Content{}); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}
