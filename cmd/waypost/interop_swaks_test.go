//go:build interop

package main_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"waypost/relay/relaytest"
)

// Exit codes of swaks.
const (
	swaksDone    = 0
	swaksHello   = 22
	swaksMail    = 23
	swaksRcpt    = 24
	swaksContent = 26
	swaksAuth    = 28
	swaksTLS     = 29
)

// The listeners of the program that swaks talks to.
const (
	offered = iota
	required
	implicit
	without
)

// dialogue is one run of swaks.
type dialogue struct {
	name     string
	listener int
	args     []string
	exit     int
	codes    string   // of the replies, in order
	to       []string // recipients of what arrives; none: nothing does
	with     string   // the protocol in our trace field
	from     string   // reverse-path of what arrives; empty is the null one
	content  string   // how it ends
}

func dialogues(dir string) []dialogue {
	const from = "sender@a.example"
	rcpt := []string{"rcpt@b.example"}
	big, eight := filepath.Join(dir, "big"), filepath.Join(dir, "eight")
	return []dialogue{
		{name: "plain", codes: "220 250 250 250 354 250 221", to: rcpt, with: "ESMTP", from: from, content: "This is a test mailing\r\n\r\n\r\n"},
		{name: "HELO", args: []string{"--protocol", "SMTP"}, codes: "220 250 250 250 354 250 221", to: rcpt, with: "SMTP", from: from},
		{name: "STARTTLS", args: []string{"--tls"}, codes: "220 250 220 250 250 250 354 250 221", to: rcpt, with: "ESMTPS", from: from},
		{name: "protocol ESMTPS", args: []string{"--protocol", "ESMTPS"}, codes: "220 250 220 250 250 250 354 250 221", to: rcpt, with: "ESMTPS", from: from},
		{name: "protocol SSMTP", listener: implicit, args: []string{"--protocol", "SSMTP"}, codes: "220 250 250 250 354 250 221", to: rcpt, with: "ESMTPS", from: from},
		{name: "protocol SMTPS", listener: implicit, args: []string{"--protocol", "SMTPS"}, codes: "220 250 250 250 354 250 221", to: rcpt, with: "SMTP", from: from},
		{name: "TLS 1.2", args: []string{"--tls", "--tls-protocol", "tlsv1_2"}, codes: "220 250 220 250 250 250 354 250 221", to: rcpt, with: "ESMTPS", from: from},
		{name: "TLS missing", listener: required, exit: swaksMail, codes: "220 250 530 221"},
		{name: "TLS required", listener: required, args: []string{"--tls"}, codes: "220 250 220 250 250 250 354 250 221", to: rcpt, with: "ESMTPS", from: from},
		{name: "TLS not offered", listener: without, args: []string{"--tls"}, exit: swaksTLS, codes: "220 250 221"},
		{name: "TLS if possible", listener: without, args: []string{"--tls-optional"}, codes: "220 250 250 250 354 250 221", to: rcpt, with: "ESMTP", from: from},
		{name: "pipelining", args: []string{"--pipeline", "--to", "one@b.example,two@b.example"}, codes: "220 250 250 250 250 354 250 221", to: []string{"one@b.example", "two@b.example"}, with: "ESMTP", from: from},
		{name: "pipelining, refused", args: []string{"--pipeline", "--local-interface", "127.0.0.2"}, exit: swaksRcpt, codes: "220 250 250 550 503 221"},
		{name: "refused relay", args: []string{"--local-interface", "127.0.0.2"}, exit: swaksRcpt, codes: "220 250 250 550 221"},
		{name: "own domain", args: []string{"--local-interface", "127.0.0.2", "--to", "rcpt@own.example"}, codes: "220 250 250 250 354 250 221", to: []string{"rcpt@own.example"}, with: "ESMTP", from: from},
		{name: "one of two refused", args: []string{"--to", "rcpt@b.example,rcpt@-bad-.example"}, codes: "220 250 250 250 501 354 250 221", to: rcpt, with: "ESMTP", from: from},
		{name: "bad sender", args: []string{"--from", "a@b@c.example"}, exit: swaksMail, codes: "220 250 501 221"},
		{name: "null sender", args: []string{"--from", "<>"}, codes: "220 250 250 250 354 250 221", to: rcpt, with: "ESMTP"},
		{name: "postmaster", args: []string{"--local-interface", "127.0.0.2", "--to", "postmaster"}, codes: "220 250 250 250 354 250 221", to: []string{"postmaster@relay.example"}, with: "ESMTP", from: from},
		{name: "oversize", args: []string{"--body", "@" + big}, exit: swaksContent, codes: "220 250 250 250 354 552 221"},
		{name: "8-bit body", args: []string{"--body", "@" + eight}, codes: "220 250 250 250 354 250 221", to: rcpt, with: "ESMTP", from: from, content: "€ and \xff\r\n\r\n\r\n"},
		{name: "attachment", args: []string{"--attach", "@" + eight}, codes: "220 250 250 250 354 250 221", to: rcpt, with: "ESMTP", from: from},
		{name: "LMTP", args: []string{"--protocol", "LMTP"}, exit: swaksHello, codes: "220 502 221"},
		{name: "AUTH", args: []string{"--auth", "PLAIN", "--auth-user", "u", "--auth-password", "p"}, exit: swaksAuth, codes: "220 250 221"},
		{name: "bad hello", args: []string{"--ehlo", "(comment)"}, exit: swaksHello, codes: "220 501 501 221"},
		{name: "quit after RCPT", args: []string{"--quit-after", "RCPT"}, codes: "220 250 250 250 221"},
		{name: "dropped in the middle", args: []string{"--drop-after", "DATA"}, codes: "220 250 250 250 354"},
	}
}

// TestSwaks has swaks hold dialogues with the program.
func TestSwaks(t *testing.T) {
	program := tool(t, "swaks", "swaks")
	dir := t.TempDir()
	for name, text := range map[string]string{"big": strings.Repeat("0123456789abcde\n", 20_000), "eight": "€ and \xff\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sink := relaytest.NewSink(t, "127.0.0.1:0")
	p := start(t, build(t), writeConfig(t, settings{
		nextHop: sink.Address(), listeners: []string{offered: "starttls", required: "required", implicit: "implicit", without: "none"},
		more: tlsTable(t) + "[relay]\nnetworks = ['127.0.0.1/32']\ndomains = ['own.example']\n[limits]\nmessage_size = '200KB'\n",
	}))
	arrivals := 0
	for _, d := range dialogues(dir) {
		arrivals += min(len(d.to), 1)
		t.Run(d.name, func(t *testing.T) { d.run(t, program, p.smtp[d.listener], sink) })
	}
	p.waitEmpty()
	if n := sink.Count(); n != arrivals {
		t.Errorf("%d messages arrived, want %d", n, arrivals)
	}
	p.stop()
}

// run holds the dialogue, and looks at what arrives.
func (d *dialogue) run(t *testing.T, program, address string, sink *relaytest.Sink) {
	before := sink.Count()
	host, port, _ := strings.Cut(address, ":")
	args := append([]string{"--server", host, "--port", port, "--helo", "client.example",
		"--from", "sender@a.example", "--to", "rcpt@b.example"}, d.args...)
	out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
	exit := 0
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		exit = failed.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	if exit != d.exit || replyCodes(out) != d.codes {
		t.Fatalf("swaks ended with %d after %s, want %d after %s; it said\n%s", exit, replyCodes(out), d.exit, d.codes, out)
	}
	if len(d.to) == 0 {
		return // whatever arrives by mistake is counted in the end
	}
	messages := sink.Wait(before + 1)
	m := messages[before]
	trace, _, err := cutTrace(m.Content)
	switch {
	case err != nil:
		t.Error(err)
	case len(messages) != before+1 || m.From != d.from || !slices.Equal(m.To, d.to):
		t.Errorf("what arrived is from %q to %q, want one message from %q to %q", m.From, m.To, d.from, d.to)
	case !strings.Contains(trace, " with "+d.with+" id "):
		t.Errorf("the trace field is %q, want it to say with %s", trace, d.with)
	case !strings.HasSuffix(string(m.Content), d.content):
		t.Errorf("the content is %q, want the end %q", m.Content, d.content)
	}
}

// replyCodes lists the codes of the replies that swaks shows, one of each
// reply.
func replyCodes(out []byte) string {
	var codes []string
	for _, found := range regexp.MustCompile(`(?m)^<[-~*]{1,2} +(\d{3}) `).FindAllSubmatch(out, -1) {
		codes = append(codes, string(found[1]))
	}
	return strings.Join(codes, " ")
}
