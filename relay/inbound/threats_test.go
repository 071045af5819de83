package inbound

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// The attacks come from an address that may relay nowhere. Each row is what is
// sent behind EHLO, the replies to it, and how many messages are in the queue
// then. RCPT to ok.example is all that is allowed.
const (
	open     = "C: MAIL FROM:<s@a.example>\nS: 250\nC: RCPT TO:<v@ok.example>\nS: 250\n"
	inData   = open + "C: DATA\nS: 354\n"
	alive    = "C: NOOP\nS: 250 2.0.0 OK\n"
	nothing  = "Q: 0\n"
	smuggled = `MAIL FROM:<evil@x.example>\r\nRCPT TO:<v@ok.example>\r\nDATA\r\nS\r\n`
)

func smuggling(eod string) string {
	return inData + `C: "Subject: a\r\n\r\nx` + eod + smuggled + `\r\n.\r\n"` + "\n"
}

// quoted is text for a line "C:" that goes out as it is.
func quoted(s string) string { return fmt.Sprintf("C: %q\n", s) }

// Each row is what looks like the end of the content, commands behind it, and the
// true end. It is one message, and its line ends are refused.
func TestSmugglingIsRefused(t *testing.T) {
	for name, eod := range map[string]string{
		"S-01 LF . LF":           `\n.\n`,
		"S-02 LF . CRLF":         `\n.\r\n`,
		"S-03 CRLF . LF":         `\r\n.\n`,
		"S-04 CR . CRLF":         `\r.\r\n`,
		"S-05 CR . CR":           `\r.\r`,
		"S-11 CR CRLF . CR CRLF": `\r\r\n.\r\r\n`,
		"LF . CR":                `\n.\r`,
		"CRLF . CR":              `\r\n.\r`,
	} {
		t.Run(name, func(t *testing.T) {
			play(t, true, "127.0.0.3", smuggling(eod)+"S: 550 5.5.2\n"+alive+nothing)
		})
	}
	// A NUL is odd and no line end: the message is one, with all of it.
	for name, eod := range map[string]string{"S-08 CRLF NUL . CRLF": `\r\n\x00.\r\n`, "S-09 CRLF . NUL CRLF": `\r\n.\x00\r\n`} {
		t.Run(name, func(t *testing.T) { play(t, true, "127.0.0.3", smuggling(eod)+"S: 250\n"+alive+"Q: 1\n") })
	}
}

func TestThreats(t *testing.T) {
	for _, tc := range []struct{ name, lines string }{
		// Framing.
		{"true end behind a bare CR", inData + `C: "x\r\r\n.\r\n"` + "\nS: 550 5.5.2\n" + alive + nothing},
		{"empty message", inData + "C: .\nS: 250\nQ: 1"},
		{"commands with bare LF", "C: \"EHLO x\\nMAIL FROM:<a@b.example>\\n\"\nS: 500 5.5.2\nS: 500 5.5.2\n" + alive},
		{"smuggling in a chunk", open + quoted("BDAT 14 LAST\r\nx\r\n.\r\nQUIT\r\n\r\n") + "S: 250\nQ: 1\n" + alive},
		{"bare LF in a chunk", open + quoted("BDAT 5 LAST\r\nx\n.\n\n") + "S: 550 5.5.2\n" + alive + nothing},
		{"chunk before MAIL", quoted("BDAT 9 LAST\r\nMAIL FROM") + "S: 503 5.5.1\n" + alive},
		{"chunk behind refused recipients", "C: MAIL FROM:<s@a.example>\nS: 250\nC: RCPT TO:<v@evil.test>\nS: 550\n" + quoted("BDAT 9 LAST\r\nMAIL FROM") + "S: 503\n" + alive},
		{"negative chunk", open + "C: BDAT -1\nS: 501\nS: closed\n" + nothing},
		{"hexadecimal chunk", open + "C: BDAT 0x10\nS: 501\nS: closed"},
		{"two sizes", open + "C: BDAT 1 2\nS: 501\nS: closed"},
		{"chunk behind a tab", open + quoted("BDAT\t6\r\nQUIT\r\n") + "S: 501\nS: closed\n" + nothing},
		{"chunk without a blank", open + quoted("bdat6 LAST\r\nQUIT\r\n") + "S: 501\nS: closed"},
		{"odd second word", open + quoted("BDAT 5 FOO\r\nQUIT\r\n") + "S: 501\nS: closed"},
		{"chunk of 33 bits", open + "C: BDAT 4294967296 LAST\nS: 552\nS: closed"},
		{"chunk of 67 bits", open + "C: BDAT 99999999999999999999 LAST\nS: 501\nS: closed"},
		{"chunk behind the last", open + quoted("BDAT 2 LAST\r\n\r\nBDAT 2 LAST\r\n\r\n") + "S: 250\nS: 503\n" + alive},
		{"DATA behind a chunk", open + quoted("BDAT 2\r\n\r\nDATA\r\n") + "S: 250\nS: 503\n" + alive},
		{"a browser", "RAW\nS: 220\n" + quoted("GET / HTTP/1.1\r\nHost: x\r\n\r\n") + "S: 554 5.5.1\nS: closed"},
		{"a browser with commands for us", "RAW\nS: 220\n" + quoted("POST / HTTP/1.1\r\nHost: x\r\n\r\nEHLO x\r\nMAIL FROM:<s@a.example>\r\nRCPT TO:<v@ok.example>\r\nDATA\r\n\r\n.\r\n") + "S: 554 5.5.1\nS: closed\n" + nothing},
		{"a TLS handshake in clear", "RAW\nS: 220\n" + quoted("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03") + "S: 500\nS: closed"},

		// STARTTLS.
		{"commands ahead of the handshake", quoted("STARTTLS\r\nMAIL FROM:<inj@x.example>\r\nRCPT TO:<v@ok.example>\r\n") + "S: 421 4.7.0\nS: closed\n" + nothing},
		{"RSET ahead of the handshake", quoted("STARTTLS\r\nRSET\r\n") + "S: 421 4.7.0\nS: closed"},
		{"STARTTLS with a parameter", "C: STARTTLS x\nS: 501 5.5.4\n" + alive},
		{"STARTTLS twice", "C: STARTTLS\nS: 220\nTLS\nC: STARTTLS\nS: 503\nC: EHLO x\nS: 250-\nC: STARTTLS\nS: 503"},
		{"STARTTLS in a transaction", open + "C: STARTTLS\nS: 220\nTLS\nC: RCPT TO:<v@ok.example>\nS: 503\nC: DATA\nS: 503"},

		// Injection.
		{"quoted path with parameters", "C: MAIL FROM:<s@a.example>\nS: 250\nC: RCPT TO:<\"x@evil.test> NOTIFY=NEVER\"@ok.example>\nS: 250"},
		{"AUTH with a line end", "C: MAIL FROM:<s@a.example> AUTH=a+0D+0Ab@x\nS: 501 5.5.4\n" + alive},
		{"ORCPT with a line end", open + "C: RCPT TO:<w@ok.example> ORCPT=rfc822;a+0D+0ABcc:+20v@x\nS: 501 5.5.4"},
		{"ORCPT with NUL", open + "C: RCPT TO:<w@ok.example> ORCPT=rfc822;a+00\nS: 501 5.5.4"},
		{"ORCPT in small letters", open + "C: RCPT TO:<w@ok.example> ORCPT=rfc822;a+0a\nS: 501 5.5.4"},
		{"ORCPT cut short", open + "C: RCPT TO:<w@ok.example> ORCPT=rfc822;a+4\nS: 501 5.5.4\nC: RCPT TO:<w@ok.example> ORCPT=rfc822;a+ZZ\nS: 501 5.5.4"},
		{"ENVID with a line end", "C: MAIL FROM:<s@a.example> ENVID=+0D+0Ax\nS: 501 5.5.4"},
		{"parameters twice", "C: MAIL FROM:<s@a.example> RET=FULL RET=HDRS\nS: 501 5.5.4\nC: MAIL FROM:<s@a.example> ENVID=a ENVID=b\nS: 501 5.5.4\n" + open + "C: RCPT TO:<w@ok.example> NOTIFY=DELAY NOTIFY=DELAY\nS: 501 5.5.4"},
		{"names that end a comment", "C: EHLO a) by evil.test (x\nS: 501\nC: EHLO foo;rm\nS: 501\nC: EHLO " + strings.Repeat("x", 256) + "\nS: 501\n" + alive},
		{"XCLIENT from a stranger", "C: XCLIENT ADDR=127.0.0.1\nS: 550 5.7.1\nC: MAIL FROM:<s@a.example>\nS: 250\nC: RCPT TO:<v@evil.test>\nS: 550 5.7.1"},
		{"PROXY from a stranger", "RAW\nS: 220\n" + quoted("PROXY TCP4 127.0.0.1 127.0.0.1 1 25\r\nEHLO x\r\n") + "S: 550 5.7.1\nS: closed"},
		{"shell in addresses", "C: MAIL FROM:<;sleep 66;>\nS: 501\nC: MAIL FROM:<s@a.example>\nS: 250\nC: RCPT TO:<${run{/bin/sleep 9}}@localhost>\nS: 501\nC: RCPT TO:<|/bin/sh@evil.test>\nS: 550\n" +
			"C: RCPT TO:</etc/passwd@evil.test>\nS: 550\nC: RCPT TO:<:include:/x@evil.test>\nS: 501\nC: RCPT TO:<-oQ/tmp@evil.test>\nS: 550"},

		// Exhaustion.
		{"recipients that are not taken", "C: MAIL FROM:<s@a.example>\nS: 250\n" + strings.Repeat("C: RCPT TO:<v@evil.test>\nS: 550 5.7.1\n", 101) + "S: 421 4.7.0\nS: closed"},
		{"command of 512 octets and more", quoted("NOOP "+strings.Repeat("x", 505)+"\r\n") + "S: 250\n" + quoted("NOOP "+strings.Repeat("x", 1029)+"\r\n") + "S: 250\n" + quoted("NOOP "+strings.Repeat("x", 4090)+"\r\n") + "S: 500 5.5.2\n" + alive},
		{"long address", quoted("MAIL FROM:<a@["+strings.Repeat("x", 256<<10)+"\r\n") + "S: 421\nS: closed"},
		{"sizes", "C: MAIL FROM:<s@a.example> SIZE=1048576\nS: 250\nC: RSET\nS: 250\nC: MAIL FROM:<s@a.example> SIZE=1048577\nS: 552 5.3.4\nC: MAIL FROM:<s@a.example> SIZE=99999999999999999999\nS: 552 5.3.4\n" +
			"C: MAIL FROM:<s@a.example> SIZE=999999999999999999999\nS: 501\nC: MAIL FROM:<s@a.example> SIZE=-1\nS: 501\nC: MAIL FROM:<s@a.example> SIZE=\nS: 501\nC: MAIL FROM:<s@a.example> SIZE=1 SIZE=1\nS: 501"},
		{"long lines in the content", inData + "C: " + strings.Repeat("x", 2001) + "\nC: " + strings.Repeat("x", 900<<10) + "\nC: .\nS: 250\nQ: 1"},
		{"too long a line in the content", inData + "C: " + strings.Repeat("x", 2<<20) + "\nC: .\nS: 552 5.3.4\n" + alive + nothing},
		{"a header too large", inData + quoted(strings.Repeat("X: "+strings.Repeat("y", 900)+"\r\n", 1165)+"\r\nx\r\n.\r\n") + "S: 552\n" + alive + nothing},
		{"nothing but RSET", strings.Repeat("C: RSET\nS: 250\n", 100) + "S: 421 4.7.0\nS: closed"},
		{"nothing but NOOP", strings.Repeat("C: NOOP\nS: 250\n", 100) + "S: 421 4.7.0\nS: closed"},
		{"nothing but VRFY", strings.Repeat("C: VRFY x\nS: 252\n", 100) + "S: 421 4.7.0\nS: closed"},
		{"nothing but HELP", strings.Repeat("C: HELP NOOP\nS: 214\n", 100) + "S: 421 4.7.0\nS: closed"},
		{"nothing but EHLO", strings.Repeat("C: EHLO x\nS: 250-\n", 100) + "S: 421 4.7.0\nS: closed"},
		{"one cancelled login after another", strings.Repeat("C: AUTH PLAIN\nS: 334\nC: *\nS: 501\n", 21) + "S: 421 4.7.0\nS: closed"},
		{"unknown commands", strings.Repeat("C: FOO\nS: 500 5.5.1\n", 21) + "S: 421 4.7.0\nS: closed"},
		{"one failed login after another", strings.Repeat("C: AUTH PLAIN AHUAcQ==\nS: 535 5.7.8\n", 5) + "S: 421 4.7.0\nS: closed"},
	} {
		t.Run(tc.name, func(t *testing.T) { play(t, true, "127.0.0.3", tc.lines) })
	}
}

// None of these is relayed, whatever the sender and the name of the client are.
func TestOpenRelay(t *testing.T) {
	const denied, bad = "550 5.7.1", "501 5.1."
	for _, tc := range []struct{ path, want string }{
		{"<v@evil.test>", denied},
		{"<v%evil.test@relay.example>", denied}, {"<v%evil.test@[127.0.0.1]>", denied},
		{"<v%evil.test@ok.example>", "250"}, // a mailbox like any other
		{"<evil.test!v>", bad}, {"<evil.test!v@relay.example>", denied}, {"<ok.example!evil.test!v@relay.example>", denied},
		{"<@relay.example:v@evil.test>", denied}, {"<@ok.example,@relay.example:v@evil.test>", denied},
		{`<"v@evil.test"@relay.example>`, denied}, {`<"v@evil.test"@ok.example>`, "250"}, {`<"v%evil.test"@ok.example>`, "250"},
		{"<v@[192.0.2.1]>", denied}, {"<v@[IPv6:2001:db8::1]>", denied}, {"<v@[IPv6:::ffff:127.0.0.1]>", denied}, {"<v@[127.0.0.1]>", denied},
		{"<v@127.0.0.1>", bad}, {"<v@2130706433>", bad}, {"<v@0x7f.1>", bad}, {"<v@[127.1]>", bad},
		{"<v@evil.test.>", bad}, {"<v@ok.example.>", bad}, {"<v@ok.example..>", bad},
		{"<v@OK.EXAMPLE>", "250"},
		{"<v@ok.example >", "501"}, {"<v@ok.example,w@evil.test>", "501"}, {"<v@ok.example> <w@evil.test>", "501"}, {"v@ok.example>evil.test", "501"},
		{"<v@ok\u3002example>", "553 5.6.7"}, {"<v@\uff4f\uff4b.example>", "553 5.6.7"}, {"<v@ok.ex\u0430mple>", "553 5.6.7"}, {"<v@xn--zzzzzz---.example>", bad},
		{"<v>", bad}, {"<>", bad}, {"<@ok.example>", "501"}, {"<postmaster>", "250"}, {"<Postmaster@relay.example>", "250"},
		{"<v@sub.ok.example>", denied}, {"<v@notok.example>", denied}, {"<ok.example@evil.test>", denied},
	} {
		for _, from := range []string{"<>", "<x@ok.example>", "<x@relay.example>"} {
			t.Run(tc.path+" from "+from, func(t *testing.T) {
				play(t, true, "127.0.0.3", "C: EHLO localhost\nS: 250-\nC: MAIL FROM:"+from+"\nS: 250\nC: RCPT TO:"+tc.path+"\nS: "+tc.want)
			})
		}
	}
	for _, tc := range []struct{ name, lines string }{
		{"NUL in the domain", "C: MAIL FROM:<s@a.example>\nS: 250\n" + quoted("RCPT TO:<v@ok.example\x00.evil.test>\r\n") + "S: 500"},
		{"names that look alike, with SMTPUTF8", "C: MAIL FROM:<s@a.example> SMTPUTF8\nS: 250\nC: RCPT TO:<v@ok\u3002example>\nS: 250\nC: RCPT TO:<v@ok.ex\u0430mple>\nS: 550 5.7.1\nC: RCPT TO:<v@ok\u200d.example>\nS: 501"},
		{"recipients forgotten", open + "C: RSET\nS: 250\nC: DATA\nS: 503\n" + open + "C: EHLO x\nS: 250-\nC: DATA\nS: 503"},
		{"one of two", "C: \"MAIL FROM:<s@a.example>\\r\\nRCPT TO:<v@ok.example>\\r\\nRCPT TO:<v@evil.test>\\r\\nDATA\\r\\n\"\nS: 250\nS: 250\nS: 550 5.7.1\nS: 354\nC: .\nS: 250\nQ: 1"},
		{"questions", "C: VRFY v\nS: 252\nC: EXPN list\nS: 502\nC: ETRN evil.test\nS: 502\nC: TURN\nS: 502"},
		{"failed login", "C: AUTH PLAIN AHUAcQ==\nS: 535\nC: MAIL FROM:<s@a.example>\nS: 250\nC: RCPT TO:<v@evil.test>\nS: 550 5.7.1"},
		{"login and STARTTLS", "C: AUTH PLAIN AHUAcA==\nS: 235\nC: STARTTLS\nS: 220\nTLS\nC: EHLO x\nS: 250-\nC: MAIL FROM:<s@a.example>\nS: 250\nC: RCPT TO:<v@evil.test>\nS: 550 5.7.1"},
	} {
		t.Run(tc.name, func(t *testing.T) { play(t, true, "127.0.0.3", tc.lines) })
	}
}

// RFC 5321 §4.1.2: no control character in a name or in either part of a path.
func TestControlCharacters(t *testing.T) {
	for c := range 0x80 {
		if c >= ' ' && c != 0x7f || c == '\n' {
			continue
		}
		var b strings.Builder
		for _, line := range []string{"MAIL FROM:<a%cX@b.example>", "MAIL FROM:<a@b%cX.example>", "EHLO a%cX"} {
			if c == '\t' && line[0] == 'E' {
				line = "EHLO a%c(X"
			}
			b.WriteString(quoted(fmt.Sprintf(line+"\r\n", c)) + "S: 50\n")
		}
		t.Run(fmt.Sprintf("%#x", c), func(t *testing.T) { play(t, true, "127.0.0.3", b.String()+alive) })
	}
}

// What a client says makes one record of the log each, and never two.
func TestLogIsNotForged(t *testing.T) {
	var out bytes.Buffer
	b, _ := newBackend(t, func(o *Options) { o.Log = slog.New(slog.NewJSONHandler(&out, nil)) }, 0)
	c := dial(t, "own", b, "127.0.0.3")
	c.say("MAIL FROM:<\"\\\",level=error,msg=\\\"pwn \u202e\"@b.example> SMTPUTF8", "250")
	c.say("RCPT TO:<\"x\\\"}{\"@evil.test>", "550")
	c.say("RCPT TO:<v@ok.example>", "250")
	c.send("Subject: x", "", "x")
	c.Close()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for _, line := range lines {
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil || record["level"] != "INFO" {
			t.Errorf("%s: %v", line, err)
		}
	}
	if len(lines) != 2 {
		t.Errorf("%d records: %s", len(lines), out.String())
	}
}
