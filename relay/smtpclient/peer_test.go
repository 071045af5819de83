package smtpclient_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"waypost/relay/relaytest"
	"waypost/relay/smtp"
	"waypost/relay/smtpclient"
)

// inbox is a backend of go-smtp that keeps what it gets.
type inbox struct {
	mu       sync.Mutex
	from     []string
	options  []gosmtp.MailOptions
	to       []string
	rcpts    []gosmtp.RcptOptions
	contents [][]byte
	users    []string
}

func (b *inbox) NewSession(*gosmtp.Conn) (gosmtp.Session, error) { return b, nil }
func (b *inbox) Reset()                                          {}
func (b *inbox) Logout() error                                   { return nil }
func (b *inbox) AuthMechanisms() []string                        { return []string{sasl.Plain} }

func (b *inbox) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, username, password string) error {
		if password != "secret" {
			return gosmtp.ErrAuthFailed
		}
		b.users = append(b.users, username)
		return nil
	}), nil
}

func (b *inbox) Mail(from string, o *gosmtp.MailOptions) error {
	b.from, b.options = append(b.from, from), append(b.options, *o)
	return nil
}

func (b *inbox) Rcpt(to string, o *gosmtp.RcptOptions) error {
	if to == "nobody@d.example" {
		return &gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 1, 1}, Message: "nobody here"}
	}
	b.to, b.rcpts = append(b.to, to), append(b.rcpts, *o)
	return nil
}

func (b *inbox) Data(r io.Reader) error {
	content, err := io.ReadAll(r)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.contents = append(b.contents, content)
	return err
}

// An independent server understands what is sent, in clear and under TLS.
func TestIndependentServer(t *testing.T) {
	ca := relaytest.NewCA(t)
	for _, secure := range []bool{false, true} {
		backend := &inbox{}
		server := gosmtp.NewServer(backend)
		server.Domain, server.EnableDSN, server.EnableSMTPUTF8, server.AllowInsecureAuth = "peer.example", true, true, true
		server.MaxMessageBytes = 10 << 20
		if secure {
			server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{ca.Leaf("sink.example")}}
		}
		ln, err := net.Listen("tcp", "127.0.0.5:0")
		if err != nil {
			t.Fatal(err)
		}
		var served sync.WaitGroup
		served.Go(func() { _ = server.Serve(ln) }) // ends with an error that says it was closed
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		o := options()
		o.TLS, o.Username, o.Password = clientTLS(ca), "user", "secret"
		c, err := smtpclient.New(t.Context(), conn, o)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := c.TLSState(); ok != secure {
			t.Errorf("TLS %v, want %v", ok, secure)
		}
		content := append(letter(100_000), ".\r\n..\r\n\xc3\xa9 ends without a line end"...)
		for range 3 {
			tx := message(t, "a@d.example", "nobody@d.example", `"b c"@d.example`)
			tx.EightBit, tx.UTF8, tx.Size, tx.Content = true, true, int64(len(content)), bytes.NewReader(content)
			tx.Return, tx.EnvelopeID = "FULL", "id+2B1"
			tx.Recipients[0].Notify, tx.Recipients[0].OriginalRecipient = smtp.NotifyNever, "rfc822;x@y.example"
			res := sent(t, c, tx, "250 550 250")
			if got := res.Recipients[1]; got.Enhanced != (smtp.EnhancedCode{5, 1, 1}) || got.Lines[0] != "nobody here" {
				t.Errorf("reply %+v", got)
			}
			sent(t, c, message(t, "nobody@d.example"), "550")
		}
		c.Quit()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		served.Wait()
		// A chunk is what it is; before a final dot a last line has its end.
		if !c.Extensions().Chunking {
			content = append(content, "\r\n"...)
		}
		backend.check(t, content)
	}
}

func (b *inbox) check(t *testing.T, content []byte) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.contents) != 3 || len(b.to) != 6 || len(b.from) != 6 || len(b.users) != 1 {
		t.Fatalf("%d contents, %d recipients, %d senders, users %q", len(b.contents), len(b.to), len(b.from), b.users)
	}
	for _, got := range b.contents {
		equal(t, got, content)
	}
	m := b.options[0]
	if b.from[0] != "sender@relay.example" || m.Body != gosmtp.Body8BitMIME || !m.UTF8 || m.Size != int64(len(bytes.TrimSuffix(content, []byte("\r\n")))) ||
		m.Return != gosmtp.DSNReturnFull || m.EnvelopeID != "id+1" {
		t.Errorf("MAIL %q %+v", b.from[0], m)
	}
	r := b.rcpts[0]
	if b.to[1] != "b c@d.example" || len(r.Notify) != 1 || r.Notify[0] != gosmtp.DSNNotifyNever ||
		r.OriginalRecipientType != gosmtp.DSNAddressTypeRFC822 || r.OriginalRecipient != "x@y.example" {
		t.Errorf("RCPT %q %+v", b.to, r)
	}
}
