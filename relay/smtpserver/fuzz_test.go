package smtpserver

import (
	"bufio"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"
)

// FuzzSession gives a session whatever a client may send. It must end when the
// client does, answer in replies only, and take no message that it was not
// sent in a transaction.
func FuzzSession(f *testing.F) {
	for _, s := range []string{
		"EHLO x\r\n" + envelope + "DATA\r\nx\r\n.\r\nQUIT\r\n",
		"EHLO x\r\n" + envelope + "BDAT 5\r\nHelloBDAT 2 LAST\r\n\r\nNOOP\r\n",
		"HELO x\r\nMAIL FROM:<>\r\nRSET\r\nVRFY x\r\nHELP\r\nSTARTTLS\r\n",
		"EHLO x\r\n" + envelope + "BDAT 2\r\nhiRSET\r\n" + envelope + "DATA\r\n..\r\n.\r\n",
		"EHLO x\r\nMAIL FROM:<\"a\\\"b\"@[1.2.3.4]> SIZE=1 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=x\r\n",
		"EHLO x\r\nAUTH PLAIN AHUAcA==\r\n" + envelope + "DATA\r\n.\r\nQUIT\r\n",
		"EHLO x\r\nAUTH TWO\r\nMQ==\r\n\r\nAUTH TWO\r\n*\r\nAUTH FINAL =\r\n\r\nNOOP\r\n",
		"EHLO x\r\nMAIL FROM:<s@a> BY=-1;NT MT-PRIORITY=-9 HOLDFOR=5 BODY=BINARYMIME AUTH=<> REQUIRETLS\r\nRCPT TO:<r@b> NOTIFY=NEVER ORCPT=utf-8;x\r\nBDAT 2 LAST\r\n\n\r",
		"XCLIENT ADDR=IPV6:::1 NAME=x LOGIN=a+20b HELO=h PROTO=ESMTP\r\n" + envelope + "BDAT 1 LAST\r\nx",
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\nEHLO x\r\n", "\r\n\r\n\x00\r\nQUIT\n",
		"EHLO x\r\nVRFY <a@b> SMTPUTF8\r\nEXPN list@ok.example\r\nETRN @ok.example\r\nHELP ETRN\r\n",
		"EHLO x\nMAIL FROM:<a@b>\n", "GET / HTTP/1.1\r\n", "\x16\x03\x01\x00\x01",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		m := &memory{mechanisms: mechanisms()}
		server := New(Options{
			Hostname: "relay.example", Backend: m, MaxSize: 1 << 12, Auth: AuthOptional, AuthInClear: true, XClientFrom: everybody,
			Extensions: Extensions{BinaryMIME: true, RequireTLS: true, DeliverBy: true, Priority: true, HoldMax: time.Hour},
		})
		ours, theirs := net.Pipe()
		ours = &halfClosed{Conn: ours, left: int64(len(sent))}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			newSession(server, ours, netip.IPv6Unspecified()).serve()
		}()
		go theirs.Write(sent) // which fails when the session ends early
		r := bufio.NewReader(theirs)
		for {
			line, err := r.ReadString('\n')
			if err == io.EOF {
				break
			}
			if err != nil || len(line) < 5 || !strings.Contains("2345", line[:1]) || !strings.HasSuffix(line, "\r\n") ||
				strings.Trim(strings.TrimSuffix(line, "\r\n"), replyText) != "" {
				t.Fatalf("reply %q, %v", line, err)
			}
		}
		<-ended
		for _, msg := range m.all() {
			if len(msg.to) == 0 {
				t.Errorf("a message without a recipient was taken: %+v", msg)
			}
		}
	})
}

var everybody = []netip.Prefix{netip.MustParsePrefix("::/0")}

const replyText = " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~"

// halfClosed is a connection whose client sends so much and then closes its
// sending side.
type halfClosed struct {
	net.Conn
	left int64
}

func (c *halfClosed) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	n, err := c.Conn.Read(p)
	c.left -= int64(n)
	return n, err
}

// Parameters that are taken can be written down and read by others.
func FuzzParameters(f *testing.F) {
	for _, s := range []string{
		" SIZE=10 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=a+2Bb", " BY=-5;NT MT-PRIORITY=3 HOLDFOR=60", " HOLDUNTIL=2030-01-01T00:00:00Z", " AUTH=<>", " AUTH=a+40b",
		" NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+40b", " ORCPT=utf-8;\u00e5@x", " A=B=C", " =", "x", " SIZE= ",
	} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, text string, utf8 bool) {
		params, err := parseParams(text)
		if err != nil {
			return
		}
		server := New(Options{Hostname: "relay.example", Backend: &memory{}, Auth: AuthOptional, AuthInClear: true,
			Extensions: Extensions{BinaryMIME: true, DeliverBy: true, Priority: true, HoldMax: time.Hour}})
		s := newSession(server, nil, netip.Addr{})
		s.extended, s.backend = true, &authSession{memorySession{memory: &memory{mechanisms: mechanisms()}}}
		if m, refusal := s.mailParams(params); refusal == nil {
			if strings.Trim(m.EnvelopeID, replyText) != "" || m.Size < 0 || m.Auth != nil && strings.ContainsAny(*m.Auth, "\r\n\x00") {
				t.Errorf("%q gives %+v", text, m)
			}
			if by := m.more.DeliverBy; by != nil && by.Mode == gosmtp.DeliverByReturn && by.Time <= 0 {
				t.Errorf("%q gives %+v", text, by)
			}
		}
		if o, raw, refusal := rcptOptions(params, utf8); refusal == nil {
			if strings.ContainsAny(raw+o.OriginalRecipient, "\r\n\x00") || len(raw) > 500 || !utf8 && strings.Trim(raw, replyText) != "" {
				t.Errorf("%q gives %+v, %q", text, o, raw)
			}
		}
	})
}
