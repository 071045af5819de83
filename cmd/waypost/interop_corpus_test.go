//go:build interop

package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"waypost/relay/relaytest"
)

// sample is a content that has to come out as it went in.
type sample struct {
	name    string
	content []byte
	// refused says that the content cannot be sent: it has a CR or an LF of
	// its own (RFC 5321 §2.3.8).
	refused bool
	// onlyChunks says that DATA cannot say it: there is no CRLF at its end,
	// and one is added on the way out (RFC 5321 §4.1.1.4).
	onlyChunks bool
}

// TestCorpus sends the messages of Python's own tests, odd as they are, by DATA
// and by BDAT. None of them has a bare CR, so none is left out.
func TestCorpus(t *testing.T) {
	samples := corpus(t)
	if len(samples) < 40 {
		t.Fatalf("only %d messages found in libpython3.11-testsuite", len(samples))
	}
	for _, s := range samples {
		if s.refused {
			t.Errorf("%s has a bare CR, which this text says none has", s.name)
		}
	}
	testSamples(t, samples)
}

// TestExtremes does the same with contents at the edge of what can be sent.
func TestExtremes(t *testing.T) {
	const header = "From: <s@a.example>\r\nSubject: x\r\n\r\n"
	octets := make([]byte, 0, 256)
	for c := range 256 {
		if c != '\r' && c != '\n' {
			octets = append(octets, byte(c))
		}
	}
	testSamples(t, []sample{
		{name: "empty"},
		{name: "one-line-end", content: []byte("\r\n")},
		{name: "empty-body", content: []byte(header)},
		{name: "only-header", content: []byte("From: <s@a.example>\r\nSubject: x\r\n")},
		{name: "only-body", content: []byte("\r\nno header\r\n")},
		{name: "no-colon", content: []byte("This is no header field\r\n\r\nbody\r\n")},
		{name: "long-line", content: []byte(header + strings.Repeat("x", 1_000_000) + "\r\n")},
		{name: "long-line-of-dots", content: []byte(header + strings.Repeat(".", 1_000_000) + "\r\n")},
		{name: "many-lines", content: []byte(header + strings.Repeat("\r\n", 500_000))},
		{name: "dots", content: []byte(header + ".\r\n..\r\n...\r\n.x\r\n\r\n.\r\n")},
		{name: "dot-first", content: []byte(".\r\n.Subject: x\r\n")},
		{name: "dots-only", content: bytes.Repeat([]byte(".\r\n"), 100_000)},
		{name: "eight-bit-header", content: []byte("Subject: caf\xe9 \xe2\x82\xac\r\n\r\nbody\r\n")},
		{name: "NUL", content: []byte("Subject: a\x00b\r\n\r\n\x00\x00\r\n\x00.\r\n")},
		{name: "every-octet", content: append([]byte(header), append(octets, "\r\n"...)...)},
		{name: "blanks", content: []byte(header + " \r\n\t\r\ntrailing \t \r\n")},
		{name: "no-line-end", content: []byte(header + "end"), onlyChunks: true},
		{name: "no-line-end-in-header", content: []byte("Subject: x"), onlyChunks: true},
		{name: "one-octet", content: []byte("x"), onlyChunks: true},
		{name: "bare-CR", content: []byte(header + "a\rb\r\n"), refused: true},
		{name: "bare-LF", content: []byte(header + "a\nb\r\n"), refused: true},
		{name: "CR-CRLF", content: []byte(header + "a\r\r\n"), refused: true},
		{name: "smuggled", content: []byte(header + "\n.\r\nMAIL FROM:<evil@a.example>\r\n"), refused: true},
		{name: "smuggled-CR", content: []byte(header + "\r.\r\nRCPT TO:<evil@a.example>\r\n"), refused: true},
		{name: "CR-at-the-end", content: []byte(header + "a\r"), refused: true, onlyChunks: true},
	})
}

// corpus reads the messages that Debian's package has, and gives their lines
// the line end of the network.
func corpus(t *testing.T) []sample {
	t.Helper()
	const pkg = "libpython3.11-testsuite"
	list, err := exec.CommandContext(t.Context(), tool(t, "dpkg", "dpkg"), "-L", pkg).Output()
	if err != nil {
		t.Fatalf("the Debian package %s is not installed: %v", pkg, err)
	}
	var samples []sample
	for _, name := range regexp.MustCompile(`(?m)^.*/test_email/data/msg_.*\.txt$`).FindAllString(string(list), -1) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatalf("read the Debian package %s: %v", pkg, err)
		}
		lines := bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
		samples = append(samples, sample{
			name:    strings.TrimSuffix(filepath.Base(name), ".txt"),
			content: bytes.ReplaceAll(lines, []byte("\n"), []byte("\r\n")),
			refused: bytes.ContainsRune(lines, '\r'), onlyChunks: !bytes.HasSuffix(lines, []byte("\n")),
		})
	}
	return samples
}

// ways are how a sample is sent. The sizes of chunks cut line ends.
func ways(s *sample) map[string]func(*client, envelope) (string, error) {
	all := map[string]func(*client, envelope) (string, error){
		"data": func(c *client, e envelope) (string, error) { return c.data(e, s.content) },
		"bdat": func(c *client, e envelope) (string, error) { return c.chunks(e, s.content, 0) },
		"bdats": func(c *client, e envelope) (string, error) {
			return c.chunks(e, s.content, max(7, len(s.content)/50))
		},
	}
	if s.onlyChunks {
		delete(all, "data")
	}
	return all
}

// testSamples sends every sample in every way, and compares what arrives, octet
// by octet, below our trace field.
func testSamples(t *testing.T, samples []sample) {
	t.Helper()
	sink := relaytest.NewSink(t, "127.0.0.1:0")
	p := start(t, build(t), writeConfig(t, settings{nextHop: sink.Address()}))
	want := map[string][]byte{} // by recipient
	for i := range samples {
		s := &samples[i]
		c := mustDial(t, p.smtp[0]) // the ways share a session: what is refused must not harm it
		for way, send := range ways(s) {
			rcpt := fmt.Sprintf("%s.%s@b.example", s.name, way)
			id, err := send(c, envelope{from: "s@a.example", parameters: " BODY=8BITMIME", to: []string{rcpt}})
			switch {
			case s.refused:
				if reply, ok := errors.AsType[*textproto.Error](err); !ok || reply.Code != 550 {
					t.Errorf("%s by %s: %q, %v; want 550", s.name, way, id, err)
				}
			case err != nil:
				t.Errorf("%s by %s: %v", s.name, way, err)
			default:
				want[rcpt] = s.content
			}
		}
		c.close()
	}
	compareSamples(t, sink.Wait(len(want)), want)
	p.waitEmpty()
	if n := sink.Count(); n != len(want) {
		t.Errorf("%d messages arrived, want %d", n, len(want))
	}
	p.stop()
	t.Logf("%d messages of %d samples", len(want), len(samples))
}

func compareSamples(t *testing.T, messages []relaytest.Message, want map[string][]byte) {
	t.Helper()
	for _, m := range messages {
		rcpt := strings.Join(m.To, ",")
		content, ok := want[rcpt]
		if !ok {
			t.Errorf("a message came for %q", rcpt)
			continue
		}
		sent := string(content)
		if sent != "" && !strings.HasSuffix(sent, "\r\n") {
			sent += "\r\n"
		}
		if _, rest, err := cutTrace(m.Content); err != nil || rest != sent {
			t.Errorf("%s came as %d octets, %.300q, want %d, %.300q (%v)", rcpt, len(rest), rest, len(sent), sent, err)
		}
	}
}
