package main

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/testscript"

	"waypost/relay/relaytest"
)

// evil is what could steer a terminal: escape sequences in both forms, a bell,
// what turns the direction of text or is not seen, and octets that are no text.
const evil = "a\x1b[31m\x1b]0;t\x07b\u009b31m\u202ec\u2066d\u200fe\u061cf\u200bg\ufeff\x7f\xff\xc3\x28\b\b\x0c"

// evilHop starts a next hop that refuses everything with such a reply, and sets
// $HOP to its address.
func evilHop(t *testing.T) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		sink := relaytest.NewSink(t, "127.0.0.1:0", relaytest.WithHostname("hop.example"), relaytest.WithLeniency())
		sink.Script(func(c relaytest.Command) (relaytest.Action, bool) {
			return relaytest.Action{Raw: "451 4.7.1 " + evil + "\r\n"}, c.Verb == "RCPT"
		})
		ts.Setenv("HOP", sink.Address())
	}
}

// evilSend gives $SMTP a message that has such octets wherever there can be some,
// and sets $ID. Whatever is not taken is said all the same.
func evilSend(ts *testscript.TestScript, neg bool, args []string) {
	conn, err := net.Dial("tcp", ts.Getenv("SMTP"))
	ts.Check(err)
	defer conn.Close()
	replies := bufio.NewReader(conn)
	ask := func(text string) (last string) {
		_, err := conn.Write([]byte(text))
		ts.Check(err)
		for {
			last, err = replies.ReadString('\n')
			ts.Check(err)
			if len(last) > 3 && last[3] == ' ' {
				return last
			}
		}
	}
	ask("")
	ask("EHLO " + evil + "\r\n")
	ask("EHLO client.example\r\n")
	ask("NOOP " + evil + "\r\n")
	ask(evil + "\r\n")
	ask("MAIL FROM:<\"" + evil + "\"@a.example> SMTPUTF8\r\n")
	ask("MAIL FROM:<s\u202e\u200f@a.example> SMTPUTF8\r\n")
	ask("RCPT TO:<\"" + evil + "\"@b.example>\r\n")
	ask("RCPT TO:<r\u2066\u061c@b.example>\r\n")
	ask("RCPT TO:<r@b.example>\r\n")
	ask("DATA\r\n")
	reply := ask("From: " + evil + "\r\nMessage-ID: <" + evil + "@a.example>\r\nSubject: =?utf-8?q?=1B[31m?= " + evil + "\r\n\r\n" + evil + "\r\n.\r\n")
	_, id, ok := strings.Cut(strings.TrimSpace(reply), "queued as ")
	if !ok {
		ts.Fatalf("the message is not taken: %q", reply)
	}
	ts.Setenv("ID", id)
}

// harmless has files hold nothing that could steer a terminal.
func harmless(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		text := ts.ReadFile(name)
		if strings.TrimSpace(text) == "" {
			ts.Fatalf("%s is empty", name)
		}
		if err := steers(text); err != nil {
			ts.Fatalf("%s: %v:\n%q", name, err, text)
		}
	}
}

// steers says what of a text could steer a terminal.
func steers(text string) error {
	for i, r := range text {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(text[i:], "\ufffd"):
			return fmt.Errorf("octet %#x at %d is no text", text[i], i)
		case r == '\n', r == '\t', r == '\r' && strings.HasPrefix(text[i:], "\r\n"): // as a terminal has line ends
		case r < ' ', r >= 0x7f && r < 0xa0, strings.ContainsRune("\u2028\u2029\u061c\u200b\u200e\u200f\u2060\ufeff", r),
			r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
			return fmt.Errorf("%U at %d", r, i)
		}
	}
	return nil
}
