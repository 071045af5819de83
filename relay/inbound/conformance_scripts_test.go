package inbound

import (
	"fmt"
	"strings"
)

// conformance is what the standards ask of a server, one dialogue for each
// section.
var conformance = []script{
	{"5321-2.1-a a success reply means that the message is kept", `
		C: MAIL FROM:<s@a.example>
		S: 250 2
		C: RCPT TO:<r@ok.example>
		S: 250 2
		C: DATA
		S: 354
		C: Subject: x
		Q: 0
		C: .
		S: 250 2.0.0 OK, queued as
		Q: 1`},
	{"5321-2.2.1-a EHLO without HELO and HELO without EHLO", `RAW
		S: 220
		C: HELO client.example
		S: 250
		C: EHLO client.example
		S: 250-`},
	{"5321-2.2.2-a 5321-4.1.1.1-c 1870-a keywords are registered ones, and all are there", `RAW
		S: 220
		C: EHLO client.example
		S: 250-relay.example|250-PIPELINING|250-SIZE 1048576|250-8BITMIME|250-SMTPUTF8|250-DSN|250-CHUNKING|250-ENHANCEDSTATUSCODES|250-BINARYMIME|250-STARTTLS|250-AUTH PLAIN|250-DELIVERBY|250-MT-PRIORITY|250-FUTURERELEASE 3600 || 250-Hello // its own words and its own set
		C: EHLO again.example
		S~ |250-LIMITS RCPTMAX=100|250-ETRN|250-VRFY|250 HELP || 250-Hello`},
	{"5321-2.3.5-a 5321-4.1.4-b the argument of EHLO is a name or an address literal", `RAW
		S: 220
		C: EHLO [127.0.0.1]
		S: 250-
		C: EHLO [IPv6:::1]
		S: 250-
		C: EHLO [IPv6:zz]
		S: 501 5.5.4 || 250- // it does not look
		C: EHLO
		S: 501 5.5.4 || 501 5.5.2`},
	{"5321-2.3.5-b postmaster needs no domain, in any case of letters", `
		C: MAIL FROM:<s@a.example>
		S: 250
		C: RCPT TO:<postmaster>
		S: 250 2.1.5 || 501 // its parser wants a domain
		C: RCPT TO:<POSTmaster>
		S: 250 2.1.5 || 501`},
	{"5321-2.3.8-a nothing but CRLF ends a line", `
		C: "NOOP\n"
		S: 500 5.5.2 || 250 // a bare LF will do
		C: "NOOP \rNOOP\r\n"
		S: 500 5.5.2 || 250
		C: NOOP
		S: 250`},
	{"5321-2.4-a the case of a local part is kept", `
		C: MAIL FROM:<s@a.example>
		S: 250
		C: RCPT TO:<R@ok.example>
		S: 250
		C: RCPT TO:<r@ok.example>
		S: 250
		C: DATA
		S: 354
		C: .
		S: 250
		R: R@ok.example r@ok.example`},
	{"5321-2.3.11-a what a local part means is its host's business", `
		C: MAIL FROM:<s@a.example>
		S: 250
		C: RCPT TO:<r+tag@ok.example>
		S: 250
		C: RCPT TO:<r%x.example@ok.example>
		S: 250
		C: RCPT TO:<x.example!r@ok.example>
		S: 250
		C: DATA
		S: 354
		C: .
		S: 250
		R: r+tag@ok.example r%x.example@ok.example x.example!r@ok.example`},
	{"5321-2.4-b 6531-b octets over 127 need an extension", `
		C: MAIL FROM:<grå@a.example>
		S: 553 5.6.7
		C: NOOP
		S: 250`},
	{"5321-3.1-a the greeting names us first", `RAW
		S: 220 relay.example ESMTP`},
	{"5321-3.2-a HELO has an answer of one line", `RAW
		S: 220
		C: HELO client.example
		S: 250 relay.example || 250 2.0.0 Hello // its own words`},
	{"5321-3.3-b 5321-3.3-c 5321-3.3-f MAIL begins a transaction and RSET ends it", `
		C: MAIL FROM:<s@a.example>
		S: 250 2.1.0 || 250 2.0.0 // its own codes
		C: RCPT TO:<r@ok.example>
		S: 250 2.1.5 || 250 2.0.0
		C: RSET
		S: 250 2.0.0
		C: RCPT TO:<r@ok.example>
		S: 503 5.5.1 || 502 5.5.1 // 502 for what comes out of order
		C: DATA
		S: 503 5.5.1 || 502 5.5.1`},
	{"5321-3.3-a MAIL begins with nothing of the message before", `
		C: MAIL FROM:<s@a.example> RET=HDRS ENVID=x
		S: 250
		C: RCPT TO:<r@ok.example>
		S: 250
		C: DATA
		S: 354
		C: .
		S: 250
		C: RCPT TO:<r@ok.example>
		S: 503 || 502
		C: MAIL FROM:<t@a.example>
		S: 250
		C: DATA
		S: 503 || 502
		C: RCPT TO:<q@ok.example>
		S: 250
		C: DATA
		S: 354
		C: .
		S: 250
		R: r@ok.example; q@ok.example`},
	{"5321-3.3-c DATA with no recipient is out of order", `
		C: MAIL FROM:<s@a.example>
		S: 250
		C: DATA
		S: 503 5.5.1 || 502 5.5.1`},
	{"5321-3.3-g 5321-F.2-a a source route is taken and dropped", `
		C: MAIL FROM:<@x.example,@y.example:s@a.example>
		S: 250
		C: RCPT TO:<@x.example:r@ok.example>
		S: 250
		C: RCPT TO:<@-bad:q@ok.example>
		S: 501 || 250 // it drops the route unread
		C: DATA
		S: 354
		C: .
		S: 250
		R: r@ok.example || r@ok.example q@ok.example`},
	{"5321-3.3-e odd content is no reason to refuse", `
		C: MAIL FROM:<s@a.example>
		S: 250
		C: RCPT TO:<r@ok.example>
		S: 250
		C: DATA
		S: 354
		C: no header here: at all
		C: .
		S: 250
		Q: 1`},
	{"5321-3.3-e fields of resent mail may say what they like", `
		C: MAIL FROM:<s@a.example>
		S: 250
		C: RCPT TO:<r@ok.example>
		S: 250
		C: DATA
		S: 354
		C: Resent-From: <other@else.example>
		C: Resent-Sender: nobody
		C: Resent-To: <else@else.example>
		C: MIME-Version: 7
		C: Content-Type: nonsense; boundary
		C:
		C: .
		S: 250
		H: Resent-From: <other@else.example>
		H: Content-Type: nonsense; boundary`},
	{"5321-3.5-a 5321-7.3-a VRFY does not pretend to know", `
		C: VRFY postmaster
		S: 252 2
		C: VRFY <r@ok.example>
		S: 252 2
		C: VRFY Some Body
		S: 252 2
		C: VRFY
		S: 501 5.5.4 || 252 // it does not look`},
	{"5321-3.5-a EXPN is not offered and not there", `
		C: EXPN list
		S: 502 5.5.1`},
	{"5321-3.7.2-a odd trace fields are no reason to refuse", `
		C: MAIL FROM:<s@a.example>
		S: 250
		C: RCPT TO:<r@ok.example>
		S: 250
		C: DATA
		S: 354
		C: Received: not at all what it should be
		C: Received:
		C:
		C: .
		S: 250`},
	{"5321-3.8-a an unknown command does not end the session", `
		C: FOO
		S: 500 5.5.1 || 501 5.5.2 // too short for its parser
		C: NOOP
		S: 250`},
	{"5321-4.1.1-a 5321-4.1.1.1-b verbs in any case, blanks at the end", `
		C: mAiL fRoM:<s@a.example>
		S: 250
		C: "RSET \r\n"
		S: 250 || 501 // five octets are too long for a verb alone
		C: "noop\t\r\n"
		S: 250 || 501`},
	{"5321-4.1.1-a no parameters where there are none", `
		C: MAIL FROM:<s@a.example>
		S: 250
		C: RCPT TO:<r@ok.example>
		S: 250
		C: RSET now
		S: 501 5.5.4 || - // it does not look, and the rest is another story then
		C: DATA now
		S: 501 5.5.4
		C: QUIT now
		S: 501 5.5.4
		C: DATA
		S: 354`},
	{"5321-3.3-f no mail before EHLO", `RAW
		S: 220
		C: MAIL FROM:<s@a.example>
		S: 503 5.5.1 || 502 5.5.1`},
	{"5321-4.1.1.1-b parameters in any case", `
		C: MAIL FROM:<s@a.example> size=1 Body=8bitMIME
		S: 250`},
	{"5321-4.1.1.4-b only CRLF . CRLF ends the content", `
		C: MAIL FROM:<s@a.example>
		S: 250
		C: RCPT TO:<r@ok.example>
		S: 250
		C: DATA
		S: 354
		C: "x\n.\nMAIL FROM:<evil@x>\n.\r\nRCPT TO:<v@ok.example>\r\n.\nDATA\r.\r\r\n.\r\n"
		S: 550 5.5.2 Bare CR or LF || - // it takes a bare LF for a line end
		C: NOOP
		S: 250
		Q: 0`},
	{"5321-4.1.1.5-a RSET is always taken", `RAW
		S: 220
		C: RSET
		S: 250
		C: EHLO x
		S: 250-
		C: RSET
		S: 250`},
	{"5321-4.1.1.8-a HELP", `
		C: HELP
		S: 214-2.0.0 Commands: || 502 // it has none
		C: HELP MAIL
		S: 214 2.0.0 MAIL FROM:<path> || 502
		C: HELP FOO
		S: 504 5.5.4 || 502`},
	{"5321-4.1.1.9-a NOOP ignores its parameter", `
		C: NOOP anything at all
		S: 250 2.0.0`},
	{"5321-4.1.1.10-a QUIT is answered and then the connection closed", `
		C: QUIT
		S: 221 2.0.0
		S: closed`},
	{"5321-4.1.1.11-a unknown parameters", `
		C: MAIL FROM:<s@a.example> FOO=1
		S: 555 5.5.4 || 500 // its own code
		C: MAIL FROM:<s@a.example>
		S: 250
		C: RCPT TO:<r@ok.example> FOO
		S: 555 5.5.4 || 500`},
	{"5321-4.1.2-a no control characters in paths, and only names in domains", `
		C: "MAIL FROM:<s\x01@a.example>\r\n"
		S: 500 5.5.2 || 501
		C: MAIL FROM:<s@a_b.example>
		S: 501 5.1.8 || 501 5.1.7
		C: MAIL FROM:<s@-a.example>
		S: 501 5.1.8 || 501 5.1.7
		C: MAIL FROM:<s@a..example>
		S: 501 5.1.8 || 501 5.1.7
		C: MAIL FROM:<s@a.example.>
		S: 501 5.1.8 || 501 5.1.7
		C: MAIL FROM:<"s"@a.example>
		S: 250`},
	{"5321-4.1.2-b every way to quote a local part is the same mailbox", `
		C: MAIL FROM:<s@a.example>
		S: 250
		C: RCPT TO:<r.x@ok.example>
		S: 250
		C: RCPT TO:<"r.x"@ok.example>
		S: 250
		C: RCPT TO:<"r\.\x"@ok.example>
		S: 250
		C: RCPT TO:<"a b"@ok.example>
		S: 250
		C: RCPT TO:<"a\ b"@ok.example>
		S: 250
		C: DATA
		S: 354
		C: .
		S: 250
		R: r.x@ok.example "a b"@ok.example`},
	{"5321-4.1.3-a address literals", `
		C: MAIL FROM:<s@[192.0.2.1]>
		S: 250
		C: RCPT TO:<r@[IPv6:2001:db8::1]>
		S: 250
		C: RCPT TO:<r@[192.0.2.300]>
		S: 501 5.1.2
		C: RCPT TO:<r@192.0.2.1>
		S: 501 5.1.2
		C: RCPT TO:<r@[tag:content]>
		S: 501 5.1.2`},
	{"5321-4.1.4-a 5321-4.1.4-b EHLO resets, and a bad one changes nothing", `
		C: MAIL FROM:<s@a.example>
		S: 250
		C: RCPT TO:<r@ok.example>
		S: 250
		C: EHLO (
		S: 501 5.5.4 || - // it does not look
		C: RCPT TO:<q@ok.example>
		S: 250
		C: EHLO again.example
		S: 250-
		C: DATA
		S: 503 5.5.1`},
	{"5321-4.1.4-d 1123-5.2.5-a the name need not fit the address", `
		C: EHLO mail.elsewhere.example
		S: 250-
		C: EHLO [192.0.2.99]
		S: 250-
		C: MAIL FROM:<s@a.example>
		S: 250`},
	{"5321-4.1.4-e what is taken before EHLO", `RAW
		S: 220
		C: NOOP
		S: 250
		C: HELP
		S: 214 || 502
		C: VRFY x
		S: 252
		C: EXPN x
		S: 502
		C: RSET
		S: 250`},
	{"5321-4.1.4-f no MAIL within a transaction", `
		C: MAIL FROM:<s@a.example>
		S: 250
		C: MAIL FROM:<t@a.example>
		S: 503 5.5.1
		C: RCPT TO:<r@ok.example>
		S: 250`},
	{"5321-4.2.4-a 500 for what is unknown, 502 for what is not here", `
		C: SEND FROM:<s@a.example>
		S: 502 5.5.1
		C: SOML FROM:<s@a.example>
		S: 502 5.5.1
		C: SAML FROM:<s@a.example>
		S: 502 5.5.1
		C: TURN
		S: 502 5.5.1 || - // after three errors it closes
		C: XYZZY
		S: 500 5.5.1`},
	{"5321-4.2.4-a what is offered is there", `OWN
		C: VRFY x
		S: 252
		C: HELP
		S: 214
		C: ETRN x.example
		S: 251
		C: AUTH PLAIN
		S: 334
		C: *
		S: 501
		C: BDAT 0
		S: 503
		C: STARTTLS
		S: 220`},
	{"5321-4.2-d 5321-4.5.1-a the commands that every server has, and the same code on each line of a reply", `RAW
		S: 220
		C: EHLO client.example
		S: 250-
		C: HELP
		S: 214- || 502
		C: HELO client.example
		S: 250
		C: VRFY postmaster
		S: 252
		C: NOOP
		S: 250
		C: MAIL FROM:<s@a.example>
		S: 250
		C: RCPT TO:<postmaster@ok.example>
		S: 250
		C: RCPT TO:<postmaster@relay.example>
		S: 250
		C: DATA
		S: 354
		C: .
		S: 250
		C: RSET
		S: 250
		C: QUIT
		S: 221`},
	{"5321-4.2.5-a what was answered by 4yz or 5yz is not delivered", `
		C: MAIL FROM:<s@a.example>
		S: 250
		C: RCPT TO:<r@ok.example>
		S: 250
		C: DATA
		S: 354
		C: "x\ry\r\n.\r\n"
		S: 550
		Q: 0`},
	{"5321-4.5.2-a a dot that begins a line is taken off", `
		C: MAIL FROM:<s@a.example>
		S: 250
		C: RCPT TO:<r@ok.example>
		S: 250
		C: DATA
		S: 354
		C: "Subject: x\r\n\r\n..\r\n..x\r\n.y\r\nblanks \t \r\n\x01\x7f\x80\xff\r\n.\r\n"
		S: 250
		H: "\r\n\r\n.\r\n.x\r\ny\r\nblanks \t \r\n\x01\x7f\x80\xff\r\n"
		C: NOOP
		S: 250`},
	{"5321-4.5.3.1-a the sizes that every server takes", `
		C: MAIL FROM:<` + strings.Repeat("l", 64) + `@` + strings.Repeat(strings.Repeat("d", 61)+".", 3) + `example>
		S: 250
		C: RCPT TO:<` + strings.Repeat("l", 64) + `@ok.example>
		S: 250
		C: "NOOP ` + strings.Repeat("x", 505) + `\r\n"
		S: 250
		C: DATA
		S: 354
		C: ` + strings.Repeat("x", 998) + `
		C: .
		S: 250
		H: ` + strings.Repeat("x", 998) + `
		Q: 1`},
	{"5321-4.5.3.1-a 1123-5.3.8-a a content of 64 KiB", `
		C: MAIL FROM:<s@a.example>
		S: 250
		C: RCPT TO:<r@ok.example>
		S: 250
		C: DATA
		S: 354
		C: "` + strings.Repeat(strings.Repeat("x", 62)+`\r\n`, 1024) + `.\r\n"
		S: 250
		Q: 1`},
	{"5321-4.5.3.1-a a path of 256 octets", `
		C: MAIL FROM:<l@` + strings.Repeat(strings.Repeat("d", 62)+".", 3) + strings.Repeat("e", 55) + `.example>
		S: 250
		C: RCPT TO:<r@ok.example>
		S: 250`},
	{"5321-4.4-b a relay does not look for Return-Path", `
		C: MAIL FROM:<s@a.example>
		S: 250
		C: RCPT TO:<r@ok.example>
		S: 250
		C: DATA
		S: 354
		C: Return-Path: <x@y.example>
		C: Return-Path: nonsense
		C:
		C: .
		S: 250
		H: Return-Path: <x@y.example>
		H: Return-Path: nonsense`},
	{"5321-4.2-a one reply for each command, whatever it is", `
		C: "NOOP\r\nFOO\r\n\r\nMAIL\r\nRCPT TO:<>\r\nVRFY\r\nHELP\r\nNOOP x\r\nMAIL FROM:<s@a.example>\r\n"
		S: 250 2.0.0
		S: 500 || -
		S: 500
		S: 501
		S: 503
		S: 501
		S: 214
		S: 250 2.0.0
		S: 250 2.1.0`},
	{"5321-4.5.3.1.8-a 5321-4.5.3.1.10-a a hundred recipients, and 452 for more", `
		C: MAIL FROM:<s@a.example>
		S: 250
		` + hundred() + `
		C: RCPT TO:<onemore@ok.example>
		S: 452 4.5.3
		C: DATA
		S: 354
		C: .
		S: 250
		R: ` + hundredPaths() + `
		Q: 1`},
	{"5321-6.3-a a message that loops is stopped", `
		C: MAIL FROM:<s@a.example>
		S: 250
		C: RCPT TO:<r@ok.example>
		S: 250
		C: DATA
		S: 354
		C: "` + strings.Repeat(`Received: from x by y; z\r\n`, 101) + `\r\n.\r\n"
		S: 554 5.4.6
		Q: 0`},
	{"1870-a SIZE", `
		C: MAIL FROM:<s@a.example> SIZE=1048576
		S: 250
		C: RSET
		S: 250
		C: MAIL FROM:<s@a.example> SIZE=0
		S: 250
		C: RSET
		S: 250
		C: MAIL FROM:<s@a.example> SIZE=1048577
		S: 552 5.3.4
		C: MAIL FROM:<s@a.example> SIZE=99999999999999999999
		S: 552 5.3.4 || 501 // it reads 32 bits
		C: MAIL FROM:<s@a.example> SIZE=x
		S: 501 5.5.4`},
	{"1870-d the declared size does not end the content", `
		C: MAIL FROM:<s@a.example> SIZE=5
		S: 250
		C: RCPT TO:<r@ok.example>
		S: 250
		C: DATA
		S: 354
		C: much more than five
		C: .
		S: 250
		H: much more than five`},
	{"1870-e 3461-5.4-a 4954-5-a all parameters at their longest", `
		C: MAIL FROM:<` + strings.Repeat("l", 64) + `@a.example> SIZE=00000000000000000001 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=` + strings.Repeat("x", 100) + ` AUTH=` + strings.Repeat("x", 256) + `@` + strings.Repeat(strings.Repeat("d", 60)+".", 3) + `example BY=-999999999;NT MT-PRIORITY=-9
		S: 250 || - // it has the last two on RCPT
		C: RCPT TO:<` + strings.Repeat("l", 64) + `@ok.example> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;` + strings.Repeat("x", 493) + `
		S: 250`},
	{"2034-a 3463-a an enhanced code of the same class on each line", `
		C: HELP
		S: 214-2.0.0 Commands || 502
		C: MAIL FROM:<>
		S: 250 2
		C: RCPT TO:<r@-.example>
		S: 501 5.1.2 || 501 5.1.2
		C: RSET
		S: 250 2`},
	{"2920-3.2-a replies to what comes together, in order", `
		C: "MAIL FROM:<s@a.example>\r\nRCPT TO:<r@ok.example>\r\nRCPT TO:<bad@-.example>\r\nDATA\r\n"
		S: 250
		S: 250
		S: 501
		S: 354
		C: "x\r\n.\r\nQUIT\r\n"
		S: 250
		S: 221
		S: closed
		Q: 1`},
	{"2920-3.2-a no 354 where no recipient was taken", `
		C: "MAIL FROM:<s@a.example>\r\nRCPT TO:<bad@-.example>\r\nDATA\r\n.\r\n"
		S: 250
		S: 501
		S: 503 || 502
		S: 500 || 501
		Q: 0`},
	{"6152-a 8BITMIME", `
		C: MAIL FROM:<s@a.example> BODY=7BIT
		S: 250
		C: RSET
		S: 250
		C: MAIL FROM:<s@a.example> BODY=9BIT
		S: 501 5.5.4
		C: MAIL FROM:<s@a.example> BODY=8BITMIME BODY=7BIT
		S: 501 5.5.4 || 250 // the last one counts`},
	{"6531-a 6531-b SMTPUTF8", `
		C: MAIL FROM:<grå@å.example> SMTPUTF8
		S: 250
		C: RCPT TO:<ré@å.example>
		S: 250
		C: RSET
		S: 250
		C: MAIL FROM:<s@a.example>
		S: 250
		C: RCPT TO:<ré@å.example>
		S: 553 5.6.7
		C: RSET
		S: 250
		C: VRFY ré@å.example SMTPUTF8
		S: 252
		C: MAIL FROM:<s@a.example> SMTPUTF8=1
		S: 501 5.5.4 || 250 // it does not look`},
	{"3461-4.1-a 3461-4.2-a 3461-4.3-a 3461-4.4-a 3461-4.5-a 3461-5.1-a the parameters of DSN", `
		C: MAIL FROM:<s@a.example> RET=FULL ENVID=` + strings.Repeat("+41", 33) + `
		S: 250
		C: RCPT TO:<r@ok.example> NOTIFY=SUCCESS,failure,DELAY ORCPT=rfc822;` + strings.Repeat("x", 493) + `
		S: 250
		C: RCPT TO:<q@ok.example> NOTIFY=NEVER
		S: 250
		C: RCPT TO:<p@ok.example> NOTIFY=NEVER,DELAY
		S: 501 5.5.4 || 501
		C: RCPT TO:<p@ok.example> ORCPT=rfc822;` + strings.Repeat("x", 494) + `
		S: 501 5.5.4 || 250 // it does not count
		C: RCPT TO:<p@ok.example> ORCPT=rfc822;a+0D+0Ab
		S: 501 5.5.4 || 501
		C: RCPT TO:<p@ok.example> NOTIFY=DELAY NOTIFY=DELAY
		S: 501 5.5.4 || 250 // the last one counts
		C: RSET
		S: 250
		C: MAIL FROM:<s@a.example> RET=BODY
		S: 501 5.5.4
		C: MAIL FROM:<s@a.example> ENVID=` + strings.Repeat("x", 101) + `
		S: 501 5.5.4 || 250 // it does not count`},
	{"6531-d names in greetings are A-labels", `
		C: EHLO grå.example
		S: 501 5.5.4 || 250- // it does not look
		C: EHLO xn--gr-zia.example
		S: 250-`},
	{"6533-a ORCPT in UTF-8", `
		C: MAIL FROM:<s@a.example> SMTPUTF8
		S: 250
		C: RCPT TO:<r@ok.example> ORCPT=utf-8;ré@å.example
		S: 250
		C: RCPT TO:<q@ok.example> ORCPT=utf-8;r\x{E9}@a.example
		S: 250`},
	{"3030-a 3030-c chunks", `
		C: MAIL FROM:<s@a.example>
		S: 250
		C: RCPT TO:<r@ok.example>
		S: 250
		C: "BDAT 4\r\na\r\n."
		S: 250
		C: BDAT 0
		S: 250
		C: "BDAT 2 last\r\n\r\n"
		S: 250
		Q: 1
		C: "BDAT 2 LAST\r\n\r\n"
		S: 503 || 502
		C: NOOP
		S: 250`},
	{"3030-b 3030-c 3030-d a chunk that is refused is read all the same", `
		C: "BDAT 6\r\nQUIT\r\n"
		S: 503 || 502
		C: MAIL FROM:<s@a.example>
		S: 250
		C: "BDAT 6 LAST\r\nQUIT\r\n"
		S: 503 || 502
		C: RCPT TO:<r@ok.example>
		S: 250
		C: "BDAT 1\r\nx"
		S: 250
		C: DATA
		S: 503 || 502
		C: RSET
		S: 250
		Q: 0`},
	{"3030-f BINARYMIME goes by BDAT alone", `
		C: MAIL FROM:<s@a.example> BODY=BINARYMIME
		S: 250
		C: RCPT TO:<r@ok.example>
		S: 250
		C: DATA
		S: 503 || 502
		C: "BDAT 3 LAST\r\n\n\x00\r"
		S: 250
		Q: 1`},
	{"1985-a ETRN", `OWN
		C: ETRN ok.example
		S: 251 2.0.0
		C: ETRN
		S: 501 5.5.4
		C: ETRN a b
		S: 501 5.5.4
		C: MAIL FROM:<s@a.example>
		S: 250
		C: RCPT TO:<r@ok.example>
		S: 250
		C: ETRN ok.example
		S: 503 5.5.1
		C: DATA
		S: 354
		C: .
		S: 250
		C: ETRN ok.example
		S: 250 2.0.0`},
	{"3207-a 5321-4.1.1-a STARTTLS", `
		C: STARTTLS x
		S: 501 5.5.4 || - // it takes this for STARTTLS
		C: MAIL FROM:<s@a.example>
		S: 250
		C: STARTTLS
		S: 220 2.0.0
		TLS
		C: RCPT TO:<r@ok.example>
		S: 503
		C: STARTTLS
		S: 503
		C: EHLO client.example
		S~ REQUIRETLS
		C: STARTTLS
		S: 503`},
	{"4954-4-a 4954-4-b 4954-4-d 4954-4-e 4954-5-a 4954-6-a AUTH", `
		C: AUTH
		S: 501 5.5.4 || 502 // its own codes
		C: AUTH FOO
		S: 504 5.5.4 || 504
		C: AUTH PLAIN ====
		S: 501 5.5.2 || 454 // a fault of the client is one of its own
		C: AUTH PLAIN
		S: 334 || -
		C: *
		S: 501
		C: AUTH PLAIN AHUAcQ==
		S: 535 5.7.8
		C: MAIL FROM:<s@a.example> AUTH=a+0D+0Ab@x
		S: 501 5.5.4
		C: MAIL FROM:<s@a.example> AUTH=<>
		S: 250
		C: AUTH PLAIN AHUAcA==
		S: 503 5.5.1
		C: RSET
		S: 250
		C: AUTH PLAIN AHUAcA==
		S: 235 2.7.0
		C: AUTH PLAIN AHUAcA==
		S: 503 5.5.1`},
	{"4954-4-a no AUTH after HELO", `RAW
		S: 220
		C: HELO client.example
		S: 250
		C: AUTH PLAIN AHUAcA==
		S: 503 5.5.1 || 235 // it does not look`},
	{"8689-a T-18 REQUIRETLS needs TLS", `
		C: MAIL FROM:<s@a.example> REQUIRETLS
		S: 530 5.7.10 || 250 // it does not look
		C: STARTTLS
		S: 220 || -
		TLS
		C: EHLO client.example
		S~ REQUIRETLS
		C: MAIL FROM:<s@a.example> REQUIRETLS
		S: 250`},
	{"2852-a DELIVERBY", `
		C: MAIL FROM:<s@a.example> BY=120;RT
		S: 250 || 500 // it has BY on RCPT
		C: RSET
		S: 250
		C: MAIL FROM:<s@a.example> BY=0;R
		S: 501 5.5.4 || 500
		C: MAIL FROM:<s@a.example> BY=-60;N
		S: 250 || 500`},
	{"6710-a MT-PRIORITY", `
		C: MAIL FROM:<s@a.example> MT-PRIORITY=10
		S: 501 5.5.4 || 500 // it has it on RCPT
		C: MAIL FROM:<s@a.example> MT-PRIORITY=-9
		S: 250 || 500`},
	{"4865-a FUTURERELEASE", `OWN
		C: MAIL FROM:<s@a.example> HOLDFOR=3601
		S: 554 5.5.4
		C: MAIL FROM:<s@a.example> HOLDFOR=1 HOLDUNTIL=2030-01-01T00:00:00Z
		S: 501 5.5.4
		C: MAIL FROM:<s@a.example> HOLDFOR=3600
		S: 250`},
	{"9422-a LIMITS", `OWN
		C: EHLO client.example
		S~ |250-LIMITS RCPTMAX=100|
		C: MAIL FROM:<s@a.example>
		S: 250
		` + hundred() + `
		C: RCPT TO:<onemore@ok.example>
		S: 452 4.5.3`},
}

func hundred() string {
	var b strings.Builder
	for path := range strings.FieldsSeq(hundredPaths()) {
		b.WriteString("C: RCPT TO:<" + path + ">\nS: 250\n")
	}
	return b.String()
}

func hundredPaths() string {
	var b strings.Builder
	for i := range 100 {
		fmt.Fprintf(&b, " r%d@ok.example", i)
	}
	return b.String()[1:]
}
