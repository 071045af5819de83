package smtpserver

import (
	"bufio"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
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
		"EHLO x\nMAIL FROM:<a@b>\n", "GET / HTTP/1.1\r\n", "\x16\x03\x01\x00\x01",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		m := &memory{}
		server := New(Options{Hostname: "relay.example", Backend: m, MaxSize: 1 << 12})
		ours, theirs := net.Pipe()
		ours = &halfClosed{Conn: ours, left: int64(len(sent))}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			newSession(server, ours, netip.Addr{}).serve()
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
