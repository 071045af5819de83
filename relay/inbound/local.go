package inbound

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/relay/smtp"
)

// Local is a message that a user of this host left for us, without a session.
type Local struct {
	// User names who left it, for reports.
	User string
	// From is the reverse-path without its angle brackets, and To are the
	// forward-paths.
	From string
	To   []string
	// Notify, Return, EnvelopeID and UTF8 are what MAIL and RCPT would have
	// said.
	Notify             smtp.Notify
	Return, EnvelopeID string
	UTF8               bool
}

// TakeLocal puts such a message into the queue. It is judged as one that came
// over loopback. The error is an *smtp.SMTPError of go-smtp.
func (b *Backend) TakeLocal(m Local, content io.Reader) error {
	s := &session{backend: b, conn: localConn{}, local: true, client: netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	defer s.Logout()
	mail := &gosmtp.MailOptions{UTF8: m.UTF8, Return: gosmtp.DSNReturn(m.Return), EnvelopeID: m.EnvelopeID}
	if err := s.Mail(m.From, mail); err != nil {
		return fmt.Errorf("sender: %w", err)
	}
	s.tx.envelope.Client = m.User
	var rcpt gosmtp.RcptOptions
	for word := range strings.SplitSeq(m.Notify.String(), ",") {
		rcpt.Notify = append(rcpt.Notify, gosmtp.DSNNotify(word))
	}
	for _, to := range m.To {
		if err := s.Rcpt(to, &rcpt); err != nil {
			return fmt.Errorf("recipient: %w", err)
		}
	}
	err := s.Data(content)
	if reply, ok := errors.AsType[*gosmtp.SMTPError](err); ok && reply.Code/100 == 2 {
		return nil
	}
	return err
}

// localConn stands for the session that there was not.
type localConn struct{}

// Hostname is what the trace field calls the client.
func (localConn) Hostname() string { return "localhost" }

// Conn has addresses and nothing else.
func (localConn) Conn() net.Conn { return localSocket{} }

// TLSConnectionState says that there is none.
func (localConn) TLSConnectionState() (tls.ConnectionState, bool) {
	return tls.ConnectionState{}, false
}

// localSocket has an address on both sides: itself.
type localSocket struct{ net.Conn }

func (s localSocket) LocalAddr() net.Addr  { return s }
func (s localSocket) RemoteAddr() net.Addr { return s }

// Network and String make it its own address, which stands as the listener in
// the envelope.
func (localSocket) Network() string { return "drop" }
func (localSocket) String() string  { return "drop directory" }
