package smtpclient_test

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"

	"waypost/relay/smtpclient"
)

// A host that refuses content before it has seen the end, and again there, ends the
// session: the next message would be refused by the second of these replies.
func TestReplyBeforeTheDot(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	spoken := make(chan struct{})
	go func() {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		io.WriteString(nc, "220 host\r\n")
		lines := bufio.NewScanner(nc)
		for lines.Scan() {
			switch verb, _, _ := strings.Cut(lines.Text(), " "); verb {
			case "DATA":
				io.WriteString(nc, "354 go on\r\n")
			case "refused":
				io.WriteString(nc, "552 5.3.4 too much already\r\n")
				close(spoken)
			case "more":
			case ".":
				io.WriteString(nc, "552 5.3.4 too much\r\n")
			default:
				io.WriteString(nc, "250 yes\r\n")
			}
		}
	}()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := smtpclient.New(t.Context(), nc, options())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	tx := message(t, "a@d.example")
	first, rest := strings.NewReader("refused here\r\n"+strings.Repeat("more\r\n", 20_000)), strings.NewReader("more\r\n")
	tx.Content, tx.Size = io.MultiReader(first, after{spoken, rest}), 0
	res := sent(t, c, tx, "552")
	if got := strings.Join(res.Recipients[0].Lines, ""); got != "too much already" || c.Reusable() {
		t.Errorf("%q; the session goes on: %v", got, c.Reusable())
	}
}

// after reads once something has happened.
type after struct {
	what <-chan struct{}
	io.Reader
}

func (r after) Read(p []byte) (int, error) {
	<-r.what
	return r.Reader.Read(p)
}
