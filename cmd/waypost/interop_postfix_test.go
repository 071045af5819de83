//go:build interop

package main_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"waypost/relay/relaytest"
)

// queueID finds our queue ID in our trace field. (smtp-source says HELO.)
const queueID = `by relay\.example\s+with E?SMTPS? id ([0-9A-Z]{13})`

// load is how many messages smtp-source sends.
const load = 1000

// TestPostfixSourceToSink has Postfix's test client send through the program to
// Postfix's test server.
func TestPostfixSourceToSink(t *testing.T) {
	sink := startSMTPSink(t)
	p := start(t, build(t), writeConfig(t, settings{nextHop: sink.address}))
	for round, arguments := range [][]string{nil, {"-d"}} { // a session for each message, and 20 sessions for all
		smtpSource(t, p.smtp[0], load, arguments...)
		p.waitEmpty()
		wantFigures(t, p, (round+1)*load)
	}
	files := sink.files(t)
	if len(files) != 2*load {
		t.Errorf("smtp-sink has %d messages, want %d", len(files), 2*load)
	}
	var all []string
	for _, name := range files {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(content))
	}
	wantDistinct(t, all, `(?m)^Message-Id: (.*)$`)
	wantDistinct(t, all, queueID)
	p.stop()
}

// TestPostfixAsNextHop sends to a real Postfix, under TLS, and compares what it
// passes on with what was sent.
func TestPostfixAsNextHop(t *testing.T) {
	sink := relaytest.NewSink(t, "127.0.0.1:0")
	certificate, key := certificate(t, t.TempDir(), "postfix.example")
	hop := startPostfix(t, sink.Address(), "smtp_tls_security_level = none", "smtpd_tls_security_level = may",
		"smtpd_tls_received_header = yes", "smtpd_tls_chain_files = "+key+", "+certificate)
	p := start(t, build(t), writeConfig(t, settings{nextHop: hop.address}))

	smtpSource(t, p.smtp[0], load)
	p.waitEmpty()
	wantFigures(t, p, load)
	hop.waitEmpty(t)
	all := texts(sink.Wait(load))
	if len(all) != load {
		t.Errorf("%d messages arrived, want %d", len(all), load)
	}
	wantDistinct(t, all, `(?m)^Message-Id: (.*)\r$`)
	wantDistinct(t, all, queueID)
	secure := regexp.MustCompile(`^Received: from relay\.example [^;]*using TLSv1\.3`)
	for i := range all {
		if !secure.MatchString(all[i]) {
			t.Fatalf("Postfix did not get the message from us under TLS:\n%.400s", all[i])
		}
	}

	contents := letters()
	c := mustDial(t, p.smtp[0])
	for i, content := range contents {
		if _, err := c.data(letterEnvelope(i), content); err != nil {
			t.Fatal(err)
		}
	}
	wantLetters(t, sink.Wait(load + len(contents))[load:], contents)
	p.waitEmpty()
	p.stop()
}

// TestPostfixAsClient has a real Postfix send to the program: in groups of
// commands, under TLS, and with everything that DSN and SMTPUTF8 have to pass
// on.
func TestPostfixAsClient(t *testing.T) {
	sink := relaytest.NewSink(t, "127.0.0.1:0")
	p := start(t, build(t), writeConfig(t, settings{nextHop: sink.Address(), listeners: []string{"starttls"}, more: tlsTable(t)}))
	client := startPostfix(t, p.smtp[0], "smtp_tls_security_level = may")

	smtpSource(t, client.address, load)
	client.waitEmpty(t)
	p.waitEmpty()
	wantFigures(t, p, load)
	all := texts(sink.Wait(load))
	if len(all) != load {
		t.Errorf("%d messages arrived, want %d", len(all), load)
	}
	wantDistinct(t, all, `(?m)^Message-Id: (.*)\r$`)
	secure := regexp.MustCompile(`^Received: from postfix\.example [^;]*by relay\.example\s+with ESMTPS [^;]*tls TLS_`)
	for i := range all {
		if !secure.MatchString(all[i]) {
			t.Fatalf("we did not get the message from Postfix under TLS:\n%.400s", all[i])
		}
	}
	if n := p.metric(`waypost_tls_handshakes_total{direction="in",version="1.3"}`); n < 1 {
		t.Errorf("%v handshakes of TLS 1.3, want some", n)
	}

	contents := letters()
	c := mustDial(t, client.address)
	for i, content := range contents {
		if err := c.submit(letterEnvelope(i), content); err != nil {
			t.Fatal(err)
		}
	}
	wantLetters(t, sink.Wait(load + len(contents))[load:], contents)
	testPostfixParameters(t, c, sink)
	client.waitEmpty(t)
	p.waitEmpty()
	p.stop()
}

// submit sends a message to a server whose replies have no queue ID of ours.
func (c *client) submit(e envelope, content []byte) error {
	if err := c.open(e); err != nil {
		return err
	}
	if _, err := c.command(354, "DATA"); err != nil {
		return err
	}
	if _, err := c.text.W.Write(stuffed(content)); err != nil {
		return err
	}
	if err := c.text.W.Flush(); err != nil {
		return err
	}
	_, err := c.reply(250)
	return err
}

// testPostfixParameters sends parameters through both and looks at what comes
// out: unchanged (RFC 3461 §5.2.1).
func testPostfixParameters(t *testing.T, c *client, sink *relaytest.Sink) {
	t.Helper()
	before := sink.Count()
	for _, line := range []string{"MAIL FROM:<sender@a.example> RET=HDRS ENVID=QQ+2B314159 BODY=8BITMIME",
		"RCPT TO:<one@b.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;First+2Bone@b.example", "RCPT TO:<two@b.example> NOTIFY=NEVER ORCPT=rfc822;two@b.example"} {
		if _, err := c.command(250, "%s", line); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
	m := finish(t, c, sink, before, "Subject: parameters\r\n\r\ncaf\xe9\r\n")
	for _, want := range []string{"RET=HDRS", "ENVID=QQ+2B314159", "BODY=8BITMIME"} {
		if !slices.Contains(strings.Fields(m.MailLine), want) {
			t.Errorf("%s came without %s", m.MailLine, want)
		}
	}
	for i, want := range []string{"RCPT TO:<one@b.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;First+2Bone@b.example", "RCPT TO:<two@b.example> NOTIFY=NEVER ORCPT=rfc822;two@b.example"} {
		if i >= len(m.RcptLines) || !sameWords(m.RcptLines[i], want) {
			t.Errorf("recipients came as %q, want %q at %d", m.RcptLines, want, i)
		}
	}
	before = sink.Count()
	for _, line := range []string{"MAIL FROM:<žena@a.example> SMTPUTF8", "RCPT TO:<δοκιμή@b.example>"} {
		if _, err := c.command(250, "%s", line); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
	m = finish(t, c, sink, before, "Subject: příklad\r\n\r\nδοκιμή\r\n")
	if m.From != "žena@a.example" || !slices.Equal(m.To, []string{"δοκιμή@b.example"}) || !strings.Contains(m.MailLine, " SMTPUTF8") {
		t.Errorf("an SMTPUTF8 message came with %s, %q", m.MailLine, m.RcptLines)
	}
}

// finish sends the content and returns the message at the sink.
func finish(t *testing.T, c *client, sink *relaytest.Sink, before int, content string) relaytest.Message {
	t.Helper()
	if _, err := c.command(354, "DATA"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.command(250, "%s", strings.TrimSuffix(string(stuffed([]byte(content))), "\r\n")); err != nil {
		t.Fatal(err)
	}
	m := sink.Wait(before + 1)[before]
	if !strings.HasSuffix(string(m.Content), "\r\n"+content) {
		t.Errorf("the content came as %q, want the end %q", m.Content, content)
	}
	return m
}

// sameWords compares command lines whose parameters may stand in any order.
func sameWords(a, b string) bool {
	return slices.Equal(slices.Sorted(slices.Values(strings.Fields(a))), slices.Sorted(slices.Values(strings.Fields(b))))
}

// wantFigures checks that so many messages with one recipient each went through
// and that nothing else happened.
func wantFigures(t *testing.T, p *process, messages int) {
	t.Helper()
	for name, want := range map[string]int{
		"waypost_messages_accepted_total": messages, "waypost_recipients_delivered_total": messages,
		"waypost_recipients_bounced_total": 0, "waypost_queue_bytes": 0,
	} {
		if got := p.metric(name); got != float64(want) {
			t.Errorf("%s is %v, want %d", name, got, want)
		}
	}
}

func texts(messages []relaytest.Message) []string {
	all := make([]string, len(messages))
	for i := range messages {
		all[i] = string(messages[i].Content)
	}
	return all
}

// wantDistinct checks that a pattern finds something different in each text:
// no message came twice, and none in the place of another.
func wantDistinct(t *testing.T, all []string, pattern string) {
	t.Helper()
	seen, expression := map[string]bool{}, regexp.MustCompile(pattern)
	for i := range all {
		found := expression.FindStringSubmatch(all[i])
		switch {
		case found == nil:
			t.Fatalf("no %s in\n%.600s", pattern, all[i])
		case seen[found[1]]:
			t.Errorf("%s came twice", found[1])
		}
		seen[found[1]] = true
	}
}

// letters are contents of which Postfix must not change an octet either: no
// line is longer than its limit, and nothing is missing that it would add.
func letters() [][]byte {
	header := "From: <sender@a.example>\r\nTo: <rcpt@b.example>\r\nDate: Sun, 6 Nov 1994 08:49:37 +0000\r\nMessage-ID: <%d@client.example>\r\n\r\n"
	var all [][]byte
	for i, body := range []string{
		"Hello.\r\n", "", "\r\n\r\n\r\n", ".\r\n..\r\n...\r\n. \r\n", "ends with a dot\r\n.\r\n", "8 bit: \xe2\x82\xac \xff\x80\r\n",
		"trailing blanks  \t \r\n \r\n", "From here on\r\n>From there\r\n", strings.Repeat("0123456789", 99) + "\r\n",
		strings.Repeat(strings.Repeat("line ", 14)+"\r\n", 20000),
	} {
		all = append(all, []byte(fmt.Sprintf(header, i)+body))
	}
	return all
}

func letterEnvelope(i int) envelope {
	return envelope{from: "sender@a.example", parameters: " BODY=8BITMIME", to: []string{fmt.Sprintf("letter%d@b.example", i)}}
}

// wantLetters compares what came with what was sent, below the two trace
// fields of the way.
func wantLetters(t *testing.T, messages []relaytest.Message, want [][]byte) {
	t.Helper()
	for _, m := range messages {
		var i int
		if _, err := fmt.Sscanf(m.To[0], "letter%d@b.example", &i); err != nil || len(m.To) != 1 {
			t.Errorf("a message came for %q", m.To)
			continue
		}
		_, rest, err := cutTrace(m.Content)
		if err == nil {
			_, rest, err = cutTrace([]byte(rest))
		}
		if err != nil || rest != string(want[i]) {
			t.Errorf("letter %d came as %d octets, %.600q, want %d, %.600q (%v)", i, len(rest), rest, len(want[i]), want[i], err)
		}
	}
}
