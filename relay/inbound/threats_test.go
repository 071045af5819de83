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
		{"S-12 true end behind a bare CR", inData + `C: "x\r\r\n.\r\n"` + "\nS: 550 5.5.2\n" + alive + nothing},
		{"S-15 empty message", inData + "C: .\nS: 250\nQ: 1"},
		{"S-18 commands with bare LF", "C: \"EHLO x\\nMAIL FROM:<a@b.example>\\n\"\nS: 500 5.5.2\nS: 500 5.5.2\n" + alive},
		{"S-16 smuggling in a chunk", open + quoted("BDAT 14 LAST\r\nx\r\n.\r\nQUIT\r\n\r\n") + "S: 250\nQ: 1\n" + alive},
		{"S-16 bare LF in a chunk", open + quoted("BDAT 5 LAST\r\nx\n.\n\n") + "S: 550 5.5.2\n" + alive + nothing},
		{"S-21 chunk before MAIL", quoted("BDAT 9 LAST\r\nMAIL FROM") + "S: 503 5.5.1\n" + alive},
		{"S-21 chunk behind refused recipients", "C: MAIL FROM:<s@a.example>\nS: 250\nC: RCPT TO:<v@evil.test>\nS: 550\n" + quoted("BDAT 9 LAST\r\nMAIL FROM") + "S: 503\n" + alive},
		{"S-22 negative chunk", open + "C: BDAT -1\nS: 501\nS: closed\n" + nothing},
		{"S-22 hexadecimal chunk", open + "C: BDAT 0x10\nS: 501\nS: closed"},
		{"S-22 two sizes", open + "C: BDAT 1 2\nS: 501\nS: closed"},
		{"S-22 chunk behind a tab", open + quoted("BDAT\t6\r\nQUIT\r\n") + "S: 501\nS: closed\n" + nothing},
		{"S-22 chunk without a blank", open + quoted("bdat6 LAST\r\nQUIT\r\n") + "S: 501\nS: closed"},
		{"S-22 chunk with a control character", open + quoted("BDAT 6\x01\r\nQUIT\r\n") + "S: 501\nS: closed\n" + nothing},
		{"S-22 chunk behind a bare LF", open + quoted("BDAT 6\nQUIT\r\n") + "S: 501\nS: closed\n" + nothing},
		{"S-22 chunk behind a blank", open + quoted(" bdat 6\r\nQUIT\r\n") + "S: 501\nS: closed\n" + nothing},
		{"S-22 chunk behind a line that is too long", open + quoted("BDAT "+strings.Repeat("0", 5000)+"6\r\nQUIT\r\n") + "S: 501\nS: closed\n" + nothing},
		{"S-22 odd second word", open + quoted("BDAT 5 FOO\r\nQUIT\r\n") + "S: 501\nS: closed"},
		{"S-22 chunk of 33 bits", open + "C: BDAT 4294967296 LAST\nS: 552\nS: closed"},
		{"S-22 chunk of 67 bits", open + "C: BDAT 99999999999999999999 LAST\nS: 501\nS: closed"},
		{"S-24 chunk behind the last", open + quoted("BDAT 2 LAST\r\n\r\nBDAT 2 LAST\r\n\r\n") + "S: 250\nS: 503\n" + alive},
		{"S-24 DATA behind a chunk", open + quoted("BDAT 2\r\n\r\nDATA\r\n") + "S: 250\nS: 503\n" + alive},
		{"S-24 BINARYMIME by DATA", "C: MAIL FROM:<s@a.example> BODY=BINARYMIME\nS: 250\nC: RCPT TO:<v@ok.example>\nS: 250\nC: DATA\nS: 503 5.5.1\n" + alive},
		{"S-13 a line that is a dot", inData + quoted("Subject: x\r\n\r\na\r\n..\r\nb\r\n.\r\n") + "S: 250\nH: .\nQ: 1\n" + alive},
		{"S-15 a first line with a dot", inData + quoted(".x: y\r\n..z\r\n.\r\n") + "S: 250\nH: x: y\n" + alive},
		{"S-17 a chunk without a line end", open + quoted("BDAT 15 LAST\r\nSubject: x\r\n\r\nx") + "S: 250\nQ: 1\n" + alive},
		{"S-25 a browser", "RAW\nS: 220\n" + quoted("GET / HTTP/1.1\r\nHost: x\r\n\r\n") + "S: 554 5.5.1\nS: closed"},
		{"S-25 a browser with commands for us", "RAW\nS: 220\n" + quoted("POST / HTTP/1.1\r\nHost: x\r\n\r\nEHLO x\r\nMAIL FROM:<s@a.example>\r\nRCPT TO:<v@ok.example>\r\nDATA\r\n\r\n.\r\n") + "S: 554 5.5.1\nS: closed\n" + nothing},
		{"S-26 a TLS handshake in clear", "RAW\nS: 220\n" + quoted("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03") + "S: 500\nS: closed"},

		// STARTTLS.
		{"T-01 commands ahead of the handshake", quoted("STARTTLS\r\nMAIL FROM:<inj@x.example>\r\nRCPT TO:<v@ok.example>\r\n") + "S: 421 4.7.0\nS: closed\n" + nothing},
		{"T-02 RSET ahead of the handshake", quoted("STARTTLS\r\nRSET\r\n") + "S: 421 4.7.0\nS: closed"},
		{"T-06 STARTTLS with a parameter", "C: STARTTLS x\nS: 501 5.5.4\n" + alive},
		{"T-07 STARTTLS twice", "C: STARTTLS\nS: 220\nTLS\nC: STARTTLS\nS: 503\nC: EHLO x\nS: 250-\nC: STARTTLS\nS: 503"},
		{"T-08 STARTTLS in a transaction", open + "C: STARTTLS\nS: 220\nTLS\nC: RCPT TO:<v@ok.example>\nS: 503\nC: DATA\nS: 503"},

		// Injection.
		{"I-02 quoted path with parameters", "C: MAIL FROM:<s@a.example>\nS: 250\nC: RCPT TO:<\"x@evil.test> NOTIFY=NEVER\"@ok.example>\nS: 250"},
		{"I-04 AUTH with a line end", "C: MAIL FROM:<s@a.example> AUTH=a+0D+0Ab@x\nS: 501 5.5.4\n" + alive},
		{"I-05 ORCPT with a line end", open + "C: RCPT TO:<w@ok.example> ORCPT=rfc822;a+0D+0ABcc:+20v@x\nS: 501 5.5.4"},
		{"I-05 ORCPT with NUL", open + "C: RCPT TO:<w@ok.example> ORCPT=rfc822;a+00\nS: 501 5.5.4"},
		{"I-05 ORCPT in small letters", open + "C: RCPT TO:<w@ok.example> ORCPT=rfc822;a+0a\nS: 501 5.5.4"},
		{"I-05 ORCPT cut short", open + "C: RCPT TO:<w@ok.example> ORCPT=rfc822;a+4\nS: 501 5.5.4\nC: RCPT TO:<w@ok.example> ORCPT=rfc822;a+ZZ\nS: 501 5.5.4"},
		{"I-07 ENVID with a line end", "C: MAIL FROM:<s@a.example> ENVID=+0D+0Ax\nS: 501 5.5.4"},
		{"I-07 values that are too long", "C: MAIL FROM:<s@a.example> ENVID=" + strings.Repeat("x", 101) + "\nS: 501 5.5.4\n" + open + "C: RCPT TO:<w@ok.example> ORCPT=rfc822;" + strings.Repeat("x", 494) + "\nS: 501 5.5.4"},
		{"I-03 quoted paths of all kinds", "C: MAIL FROM:<s@a.example>\nS: 250\n" + "C: RCPT TO:<\"foo@evil.test> ORCPT=rfc822;x\"@ok.example>\nS: 250\nC: RCPT TO:<\"a\\\" b\"@ok.example>\nS: 250\nC: RCPT TO:<\"\\\\\"@ok.example>\nS: 250\nC: RCPT TO:<\" \"@ok.example>\nS: 250\nC: RCPT TO:<\"@\"@ok.example>\nS: 250\n" +
			"C: DATA\nS: 354\nC: .\nS: 250\nR: \"foo@evil.test> ORCPT=rfc822;x\"@ok.example \"a\\\" b\"@ok.example \"\\\\\"@ok.example \" \"@ok.example \"@\"@ok.example"},
		{"I-07 parameters twice", "C: MAIL FROM:<s@a.example> RET=FULL RET=HDRS\nS: 501 5.5.4\nC: MAIL FROM:<s@a.example> ENVID=a ENVID=b\nS: 501 5.5.4\n" + open + "C: RCPT TO:<w@ok.example> NOTIFY=DELAY NOTIFY=DELAY\nS: 501 5.5.4"},
		{"I-08 names that end a comment", "C: EHLO a) by evil.test (x\nS: 501\nC: EHLO foo;rm\nS: 501\nC: EHLO " + strings.Repeat("x", 256) + "\nS: 501\nC: EHLO\nS: 501\nC: EHLO [1.2.3\nS: 501\nC: EHLO [IPv6:zz]\nS: 501\n" + alive},
		{"I-15 XCLIENT from a stranger", "C: XCLIENT ADDR=127.0.0.1\nS: 550 5.7.1\nC: MAIL FROM:<s@a.example>\nS: 250\nC: RCPT TO:<v@evil.test>\nS: 550 5.7.1"},
		{"I-15 PROXY from a stranger", "RAW\nS: 220\n" + quoted("PROXY TCP4 127.0.0.1 127.0.0.1 1 25\r\nEHLO x\r\n") + "S: 550 5.7.1\nS: closed"},
		{"L-01 shell in addresses", "C: MAIL FROM:<;sleep 66;>\nS: 501\nC: MAIL FROM:<s@a.example>\nS: 250\nC: RCPT TO:<${run{/bin/sleep 9}}@localhost>\nS: 501\nC: RCPT TO:<|/bin/sh@evil.test>\nS: 550\n" +
			"C: RCPT TO:</etc/passwd@evil.test>\nS: 550\nC: RCPT TO:<:include:/x@evil.test>\nS: 501\nC: RCPT TO:<-oQ/tmp@evil.test>\nS: 550"},

		// Exhaustion.
		{"Q-01 more recipients than there may be", "C: MAIL FROM:<s@a.example>\nS: 250\n" + hundred() + strings.Repeat("C: RCPT TO:<more@ok.example>\nS: 452 4.5.3\n", 50) + "C: DATA\nS: 354\nC: .\nS: 250\nR: " + hundredPaths()},
		{"Q-02 5321-7.8-a recipients that are not taken", "C: MAIL FROM:<s@a.example>\nS: 250\n" + strings.Repeat("C: RCPT TO:<v@evil.test>\nS: 550 5.7.1\n", 101) + "S: 421 4.7.0\nS: closed"},
		{"Q-03 3461-5.4-a command of 512 octets and more", quoted("NOOP "+strings.Repeat("x", 505)+"\r\n") + "S: 250\n" + quoted("NOOP "+strings.Repeat("x", 1029)+"\r\n") + "S: 250\n" + quoted("NOOP "+strings.Repeat("x", 4090)+"\r\n") + "S: 500 5.5.2\n" + alive},
		{"Q-19 long address", quoted("MAIL FROM:<a@["+strings.Repeat("x", 256<<10)+"\r\n") + "S: 421\nS: closed"},
		{"Q-07 sizes", "C: MAIL FROM:<s@a.example> SIZE=1048576\nS: 250\nC: RSET\nS: 250\nC: MAIL FROM:<s@a.example> SIZE=1048577\nS: 552 5.3.4\nC: MAIL FROM:<s@a.example> SIZE=99999999999999999999\nS: 552 5.3.4\n" +
			"C: MAIL FROM:<s@a.example> SIZE=999999999999999999999\nS: 501\nC: MAIL FROM:<s@a.example> SIZE=-1\nS: 501\nC: MAIL FROM:<s@a.example> SIZE=\nS: 501\nC: MAIL FROM:<s@a.example> SIZE=1 SIZE=1\nS: 501"},
		{"Q-05 long lines in the content", inData + "C: " + strings.Repeat("x", 2001) + "\nC: " + strings.Repeat("x", 900<<10) + "\nC: .\nS: 250\nQ: 1"},
		{"Q-05 too long a line in the content", inData + "C: " + strings.Repeat("x", 2<<20) + "\nC: .\nS: 552 5.3.4\n" + alive + nothing},
		{"Q-06 a field of very many lines", inData + quoted("X: y\r\n"+strings.Repeat(" z\r\n", 100_000)+"\r\nx\r\n.\r\n") + "S: 250\n" + alive + "Q: 1\n"},
		{"Q-06 very many fields", inData + quoted(strings.Repeat("X:y\r\n", 100_000)+"\r\nx\r\n.\r\n") + "S: 250\n" + alive + "Q: 1\n"},
		{"Q-06 a header too large", inData + quoted(strings.Repeat("X: "+strings.Repeat("y", 900)+"\r\n", 1165)+"\r\nx\r\n.\r\n") + "S: 552\n" + alive + nothing},
		{"Q-09 chunks of one octet", open + strings.Repeat(quoted("BDAT 1\r\nx")+"S: 250\n", 1000) + quoted("BDAT 1\r\nx") + "S: 421 4.7.0\nS: closed\n" + nothing},
		{"Q-11 nothing but RSET", strings.Repeat("C: RSET\nS: 250\n", 100) + "S: 421 4.7.0\nS: closed"},
		{"Q-11 nothing but NOOP", strings.Repeat("C: NOOP\nS: 250\n", 100) + "S: 421 4.7.0\nS: closed"},
		{"Q-11 nothing but VRFY", strings.Repeat("C: VRFY x\nS: 252\n", 100) + "S: 421 4.7.0\nS: closed"},
		{"Q-11 nothing but HELP", strings.Repeat("C: HELP NOOP\nS: 214\n", 100) + "S: 421 4.7.0\nS: closed"},
		{"Q-11 nothing but EHLO", strings.Repeat("C: EHLO x\nS: 250-\n", 100) + "S: 421 4.7.0\nS: closed"},
		{"A-04 exchanges that go wrong", "C: AUTH PLAIN\nS: 334\nC: *\nS: 501 5.7.0\nC: AUTH PLAIN ====\nS: 501 5.5.2\nC: AUTH FOO\nS: 504 5.5.4\n" + alive},
		{"A-06 AUTH where it may not stand", "C: MAIL FROM:<s@a.example>\nS: 250\nC: AUTH PLAIN AHUAcA==\nS: 503 5.5.1\nC: RSET\nS: 250\nC: AUTH PLAIN AHUAcA==\nS: 235\nC: AUTH PLAIN AHUAcA==\nS: 503 5.5.1"},
		{"A-08 one cancelled login after another", strings.Repeat("C: AUTH PLAIN\nS: 334\nC: *\nS: 501\n", 21) + "S: 421 4.7.0\nS: closed"},
		{"Q-12 unknown commands", strings.Repeat("C: FOO\nS: 500 5.5.1\n", 21) + "S: 421 4.7.0\nS: closed"},
		{"A-02 one failed login after another", strings.Repeat("C: AUTH PLAIN AHUAcQ==\nS: 535 5.7.8\n", 5) + "S: 421 4.7.0\nS: closed"},
	} {
		t.Run(tc.name, func(t *testing.T) { play(t, true, "127.0.0.3", tc.lines) })
	}
}

// None of these is relayed, whatever the sender and the name of the client are.
func TestOpenRelay(t *testing.T) {
	const denied, bad = "550 5.7.1", "501 5.1."
	for _, tc := range []struct{ name, path, want string }{
		{"O-01 5321-3.6.2-a 5321-7.9-a 2505-a a stranger's recipient", "<v@evil.test>", denied},
		{"O-01 a name below ours", "<v@sub.ok.example>", denied}, {"O-01 a name beside ours", "<v@notok.example>", denied}, {"O-01 our domain as a local part", "<ok.example@evil.test>", denied},
		{"O-02 a route in the local part", "<v%evil.test@relay.example>", denied}, {"O-02 the same to an address", "<v%evil.test@[127.0.0.1]>", denied},
		{"O-03 5321-2.3.11-a a mailbox like any other", "<v%evil.test@ok.example>", "250"},
		{"O-04 a bang path", "<evil.test!v>", bad}, {"O-04 a bang path by us", "<evil.test!v@relay.example>", denied}, {"O-04 a long one", "<ok.example!evil.test!v@relay.example>", denied},
		{"O-05 a source route", "<@relay.example:v@evil.test>", denied}, {"O-05 two of them", "<@ok.example,@relay.example:v@evil.test>", denied},
		{"O-06 a quoted address", `<"v@evil.test"@relay.example>`, denied}, {"O-06 a quoted mailbox", `<"v@evil.test"@ok.example>`, "250"}, {"O-06 with a percent sign", `<"v%evil.test"@ok.example>`, "250"},
		{"O-08 an address", "<v@[192.0.2.1]>", denied}, {"O-08 of IPv6", "<v@[IPv6:2001:db8::1]>", denied}, {"O-08 of IPv4 in it", "<v@[IPv6:::ffff:127.0.0.1]>", denied}, {"O-08 our own", "<v@[127.0.0.1]>", denied},
		{"O-09 a bare address", "<v@127.0.0.1>", bad}, {"O-09 as a number", "<v@2130706433>", bad}, {"O-09 in hexadecimal", "<v@0x7f.1>", bad}, {"O-09 cut short", "<v@[127.1]>", bad},
		{"O-10 a dot at the end", "<v@evil.test.>", bad}, {"O-10 behind ours", "<v@ok.example.>", bad}, {"O-10 two of them", "<v@ok.example..>", bad},
		{"O-12 capitals", "<v@OK.EXAMPLE>", "250"},
		{"O-13 a blank", "<v@ok.example >", "501"}, {"O-13 a list", "<v@ok.example,w@evil.test>", "501"}, {"O-13 two paths", "<v@ok.example> <w@evil.test>", "501"}, {"O-13 no bracket", "v@ok.example>evil.test", "501"},
		{"O-14 an ideographic dot", "<v@ok\u3002example>", "553 5.6.7"}, {"O-14 wide letters", "<v@\uff4f\uff4b.example>", "553 5.6.7"}, {"O-14 a Cyrillic letter", "<v@ok.ex\u0430mple>", "553 5.6.7"}, {"O-14 bad punycode", "<v@xn--zzzzzz---.example>", bad},
		{"O-15 no domain", "<v>", bad}, {"O-15 nothing", "<>", bad}, {"O-15 no local part", "<@ok.example>", "501"}, {"O-15 postmaster", "<postmaster>", "250"}, {"O-15 our postmaster", "<Postmaster@relay.example>", "250"},
	} {
		for _, from := range []string{"<>", "<x@ok.example>", "<x@relay.example>"} {
			t.Run(tc.name+", from "+from, func(t *testing.T) {
				play(t, true, "127.0.0.3", "C: EHLO localhost\nS: 250-\nC: MAIL FROM:"+from+"\nS: 250\nC: RCPT TO:"+tc.path+"\nS: "+tc.want)
			})
		}
	}
	for _, tc := range []struct{ name, lines string }{
		{"O-13 NUL in the domain", "C: MAIL FROM:<s@a.example>\nS: 250\n" + quoted("RCPT TO:<v@ok.example\x00.evil.test>\r\n") + "S: 500"},
		{"O-14 names that look alike, with SMTPUTF8", "C: MAIL FROM:<s@a.example> SMTPUTF8\nS: 250\nC: RCPT TO:<v@ok\u3002example>\nS: 250\nC: RCPT TO:<v@ok.ex\u0430mple>\nS: 550 5.7.1\nC: RCPT TO:<v@ok\u200d.example>\nS: 501"},
		{"O-17 recipients forgotten", open + "C: RSET\nS: 250\nC: DATA\nS: 503\n" + open + "C: EHLO x\nS: 250-\nC: DATA\nS: 503"},
		{"O-21 one of two", "C: \"MAIL FROM:<s@a.example>\\r\\nRCPT TO:<v@ok.example>\\r\\nRCPT TO:<v@evil.test>\\r\\nDATA\\r\\n\"\nS: 250\nS: 250\nS: 550 5.7.1\nS: 354\nC: .\nS: 250\nQ: 1"},
		{"O-20 questions", "C: VRFY v\nS: 252\nC: EXPN list\nS: 502\nC: ETRN evil.test\nS: 502\nC: TURN\nS: 502"},
		{"O-18 failed login", "C: AUTH PLAIN AHUAcQ==\nS: 535\nC: MAIL FROM:<s@a.example>\nS: 250\nC: RCPT TO:<v@evil.test>\nS: 550 5.7.1"},
		{"O-18 a login lasts beyond RSET", "C: AUTH PLAIN AHUAcA==\nS: 235\nC: MAIL FROM:<s@a.example>\nS: 250\nC: RSET\nS: 250\nC: MAIL FROM:<s@a.example>\nS: 250\nC: RCPT TO:<v@ok.example>\nS: 250"},
		{"O-18 login and STARTTLS", "C: AUTH PLAIN AHUAcA==\nS: 235\nC: STARTTLS\nS: 220\nTLS\nC: EHLO x\nS: 250-\nC: MAIL FROM:<s@a.example>\nS: 250\nC: RCPT TO:<v@evil.test>\nS: 550 5.7.1"},
	} {
		t.Run(tc.name, func(t *testing.T) { play(t, true, "127.0.0.3", tc.lines) })
	}
}

// I-01 5321-4.1.2-a: no control character in a name or in either part of a path.
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

// I-12: what a client says makes one record of the log each, and never two.
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
