//go:build interop

package main_test

import (
	"fmt"
	"strings"
	"testing"

	"waypost/relay/relaytest"
)

// chunks sends a message by BDAT (RFC 3030 §2) in chunks of the given size, all
// of them in one write, and returns its queue ID. Size 0 is one chunk.
func (c *client) chunks(e envelope, content []byte, size int) (string, error) {
	if err := c.open(e); err != nil {
		return "", err
	}
	replies := 0
	for size > 0 && len(content) > size {
		fmt.Fprintf(c.text.W, "BDAT %d\r\n%s", size, content[:size]) // an error comes again with the flush
		content = content[size:]
		replies++
	}
	fmt.Fprintf(c.text.W, "BDAT %d LAST\r\n%s", len(content), content)
	if err := c.text.W.Flush(); err != nil {
		return "", err
	}
	for range replies {
		if _, err := c.reply(250); err != nil {
			return "", err
		}
	}
	return c.queued()
}

// step is what is sent at once, and the codes of the replies to it.
type step struct{ send, codes string }

// chunk and last are BDAT with a content.
func chunk(content string) string { return fmt.Sprintf("BDAT %d\r\n%s", len(content), content) }
func last(content string) string  { return fmt.Sprintf("BDAT %d LAST\r\n%s", len(content), content) }

// TestChunks holds dialogues with BDAT, which swaks does not know.
func TestChunks(t *testing.T) {
	sink := relaytest.NewSink(t, "127.0.0.1:0")
	p := start(t, build(t), writeConfig(t, settings{nextHop: sink.Address(), more: "[limits]\nmessage_size = '100KB'\n"}))
	arrivals := 0
	for _, d := range chunkDialogues() {
		arrivals += min(len(d.arrival), 1)
		t.Run(d.name, func(t *testing.T) { d.run(t, p.smtp[0], sink) })
	}
	p.waitEmpty()
	if n := sink.Count(); n != arrivals {
		t.Errorf("%d messages arrived, want %d", n, arrivals)
	}
	p.stop()
}

// chunkDialogue has the content that must arrive; empty is none.
type chunkDialogue struct {
	name    string
	steps   []step
	arrival string
}

func chunkDialogues() []chunkDialogue {
	const mail, letter = "MAIL FROM:<s@a.example>\r\n", "A: b\r\n\r\n"
	open := step{mail + "RCPT TO:<r@b.example>\r\n", "250 250"}
	sent := step{last(letter), "250"}
	big := strings.Repeat("0123456789\r\n", 10_000)
	return []chunkDialogue{
		{"one chunk", []step{open, sent}, letter},
		{"lower case", []step{open, {"bdat 8 last\r\n" + letter, "250"}}, letter},
		{"empty last chunk", []step{open, {chunk(letter), "250"}, {last(""), "250"}}, letter},
		{"empty chunks", []step{open, {chunk(""), "250"}, {chunk(letter), "250"}, {chunk(""), "250"}, {last(""), "250"}}, letter},
		{"cut in a line end", []step{open, {chunk("A: b\r"), "250"}, {last("\n\r\n.\r\n"), "250"}}, letter + ".\r\n"},
		{"dots are no end", []step{open, {last(letter + ".\r\n..\r\n"), "250"}}, letter + ".\r\n..\r\n"},
		{"commands are content", []step{open, {chunk(letter + "QUIT\r\n"), "250"}, {last("RSET\r\n"), "250"}}, letter + "QUIT\r\nRSET\r\n"},
		{"RSET between", []step{open, {chunk("Old: text\r\n"), "250"}, {"RSET\r\n", "250"}, open, sent}, letter},
		{"no recipients", []step{{mail, "250"}, {last("QUIT\r\n"), "503"}, {"RSET\r\n", "250"}, open, sent}, letter},
		{"no transaction", []step{{last("QUIT\r\n"), "503"}, open, sent}, letter},
		{"DATA after BDAT", []step{open, {chunk(letter), "250"}, {"DATA\r\n", "503"}, {last(""), "250"}}, letter},
		{"RCPT after BDAT", []step{open, {chunk(letter), "250"}, {"RCPT TO:<x@b.example>\r\n", "503"}, {last(""), "250"}}, letter},
		{"after the last", []step{open, sent, {last(letter), "503"}}, letter},
		{"over the limit", []step{open, {last(big), "552"}, open, sent}, letter},
		{"over the limit in pieces", []step{open, {chunk(big[:60_000]), "250"}, {chunk(big[60_000:]), "552"}, {"RSET\r\n", "250"}, open, sent}, letter},
		{"bare LF", []step{open, {last("A: b\n\r\n"), "550"}, open, sent}, letter},
		{"pipelined", []step{{open.send + chunk(letter) + last("") + "NOOP\r\n", "250 250 250 250 250"}}, letter},
		{"pipelined behind a refusal", []step{{mail + "RCPT TO:<>\r\n" + chunk("QUIT\r\n") + last("QUIT\r\n") + "RSET\r\n", "250 501 503 503 250"}, open, sent}, letter},
		{"cut off", []step{open, {"BDAT 1000 LAST\r\n" + letter, ""}}, ""},
		{"not a size", []step{open, {"BDAT 1e3\r\n", "501"}}, ""},
	}
}

// run holds the dialogue, and looks at what arrives.
func (d *chunkDialogue) run(t *testing.T, address string, sink *relaytest.Sink) {
	before := sink.Count()
	c := mustDial(t, address)
	for _, s := range d.steps {
		if _, err := c.conn.Write([]byte(s.send)); err != nil {
			t.Fatal(err)
		}
		for want := range strings.FieldsSeq(s.codes) {
			got, text, err := c.text.ReadResponse(0)
			if got == 0 || fmt.Sprint(got) != want {
				t.Fatalf("%.60q got %d %s (%v), want %s", s.send, got, text, err, s.codes)
			}
		}
	}
	c.close()
	if d.arrival == "" {
		return
	}
	m := sink.Wait(before + 1)[before]
	if _, rest, err := cutTrace(m.Content); err != nil || rest != d.arrival {
		t.Errorf("what arrived is %q (%v), want %q", rest, err, d.arrival)
	}
}
