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
	// From is the reverse-path as it is written, without its angle brackets, and
	// To are the forward-paths.
	From string
	To   []string
	// Notify, Return, EnvelopeID and UTF8 are what MAIL and RCPT would have
	// said.
	Notify             smtp.Notify
	Return, EnvelopeID string
	UTF8               bool
}

// TakeLocal puts such a message into the queue. It is judged as one that came
// over loopback, but that what cannot be known now is left to the queue. Nobody
// waits for the reply: what is refused for good is reported to the sender, as of
// mail that could not be delivered, and is no error then. The error is an
// *smtp.SMTPError of go-smtp; with a code of 500 and above there is nobody to
// tell. content is read from its beginning.
func (b *Backend) TakeLocal(m Local, content io.ReadSeeker) error {
	s := &session{backend: b, conn: localConn{}, local: true, client: netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	defer s.Logout()
	mail := &gosmtp.MailOptions{UTF8: m.UTF8, Return: gosmtp.DSNReturn(m.Return), EnvelopeID: m.EnvelopeID}
	if err := s.Mail(unquoted(m.From), mail); err != nil {
		return s.giveBack(&m, content, refusals(m.To, err), fmt.Errorf("sender: %w", err))
	}
	s.tx.envelope.Client = m.User
	taken, refused, err := s.localRecipients(&m)
	if err != nil {
		return err
	}
	if len(taken) == 0 && len(refused) > 0 {
		return s.giveBack(&m, content, refused, fmt.Errorf("recipient: %w", refused[0].Reply))
	}
	if err := s.Data(content); !isReply(err, 2) {
		return s.giveBack(&m, content, append(refused, refusals(taken, err)...), err)
	}
	return s.giveBack(&m, content, refused, nil)
}

// localRecipients adds the recipients. The error is of one that is refused for
// now.
func (s *session) localRecipients(m *Local) (taken []string, refused []Refused, err error) {
	var rcpt gosmtp.RcptOptions
	for word := range strings.SplitSeq(m.Notify.String(), ",") {
		rcpt.Notify = append(rcpt.Notify, gosmtp.DSNNotify(word))
	}
	for _, to := range m.To {
		switch err := s.Rcpt(unquoted(to), &rcpt); {
		case err == nil:
			taken = append(taken, to)
		case isReply(err, 5):
			refused = append(refused, refusals([]string{to}, err)...)
		default:
			return nil, nil, fmt.Errorf("recipient: %w", err)
		}
	}
	return taken, refused, nil
}

// unquoted returns an address that was written in the form that the session reads.
func unquoted(address string) string {
	path, err := smtp.ParseMailbox(address, true)
	if err != nil {
		return "@" // which is none, and is refused for that
	}
	return path.Unquoted()
}

// isReply reports whether an error is a reply of a class: 2, 4 or 5.
func isReply(err error, class int) bool {
	reply, ok := errors.AsType[*gosmtp.SMTPError](err)
	return ok && reply.Code/100 == class
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
