// Package inbound is the backend of the listener: what a session may do, and
// how a message enters the queue.
//
// It is a go-smtp Backend. For each transaction it checks, in order: the
// sender's path, room on the disk, each recipient's path and the relay policy,
// and then the content while it streams into the queue: line ends, size of
// the header section, number of hops, the author. Recipients that are aliases
// become those behind them, and what our own clients send is signed. A message is acknowledged when it is on
// disk, content and envelope, and not before.
//
// It does not trust the engine that drives it with anything but the framing:
// paths are parsed again and written canonically, so that the same backend is
// safe under smtp.NewServer.
package inbound

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"waypost/metrics"
	"waypost/queue"
	"waypost/relay/alias"
	"waypost/relay/dkim"
	"waypost/relay/policy"
	"waypost/relay/recipient"
	"waypost/relay/smtp"
	"waypost/relay/smtpserver"
)

// Options configures a Backend. Hostname, Queue and Rules are required.
type Options struct {
	// Hostname is our name in trace fields.
	Hostname string
	Queue    *queue.Queue
	Rules    *policy.Rules
	// Submission says that messages are new: they come from mail programs, and
	// what these leave out is added (RFC 6409 §8). Only clients that we know may
	// submit them.
	Submission bool
	// MaxRecipients is how many one message may have; 0 means 1000.
	MaxRecipients int
	// MaxHops is how many hosts a message may have passed, and MaxOwnHops how often
	// it may have been here; 0 is as for message.Limits.
	MaxHops, MaxOwnHops int
	// ETRN are the clients that may have the queue tried for a domain (RFC
	// 1985); none by default.
	ETRN []netip.Prefix
	// Classes sort messages; without any, none has a class.
	Classes policy.Classes
	// Recipients knows who can be delivered to; nil is everybody.
	Recipients Recipients
	// Authenticator knows the users; nil means that there are none.
	Authenticator Authenticator
	// Aliases say who recipients are; nil knows none.
	Aliases *alias.File
	// NamesKnown says that nobody of this host is there but Aliases has it.
	NamesKnown bool
	// Expand says that our own clients may see the members of aliases, by EXPN.
	Expand bool
	// Disclose says that whoever may send to an alias may know where it leads.
	Disclose bool
	// Reporter writes reports on aliases; nil writes none.
	Reporter Reporter
	// Signer signs the mail of clients that may send to anywhere; nil signs none.
	Signer  *dkim.Set
	Log     *slog.Logger     // nil discards
	Metrics *metrics.Metrics // nil counts into nothing
}

// Recipients decides about recipients that policy allows, and whether reports to
// a sender could be delivered. It may ask others, and takes no longer than a
// client will wait.
type Recipients interface {
	Check(ctx context.Context, q recipient.Question) policy.Decision
	// CheckSender decides about a reverse-path that is not null.
	CheckSender(ctx context.Context, sender smtp.Path) policy.Decision
	// Listed reports whether a recipient of a relayed domain is on a list of them,
	// where there is one.
	Listed(path smtp.Path) (has, known bool)
}

var _ Recipients = (*recipient.Checker)(nil)

// Authenticator knows who may log in, and how.
type Authenticator interface {
	// Mechanisms lists what the client of c may use.
	Mechanisms(c smtpserver.Conn) []string
	// Begin begins an exchange by one of these. When it has succeeded,
	// authenticated is called with the login, once, before Next returns done.
	// What Next refuses is an *smtp.SMTPError; any other error is a fault of
	// ours.
	Begin(c smtpserver.Conn, mechanism string, authenticated func(login string)) (sasl.Server, error)
}

// Backend begins sessions.
type Backend struct {
	Options
	starting sync.Mutex // held while a client's ETRN is under way
}

var _ smtpserver.Backend = (*Backend)(nil)

// New returns a backend.
func New(o Options) *Backend {
	if o.MaxRecipients == 0 {
		o.MaxRecipients = 1000
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = metrics.New(nil)
	}
	return &Backend{Options: o}
}

// NewSession begins a session of go-smtp's own server. It cannot tell EHLO
// from HELO, so it takes the former for granted.
func (b *Backend) NewSession(c *gosmtp.Conn) (gosmtp.Session, error) { return b.BeginSession(c) }

// BeginSession begins a session of whichever engine.
func (b *Backend) BeginSession(c smtpserver.Conn) (gosmtp.Session, error) {
	s := &session{backend: b, conn: c, client: clientAddr(c.Conn())}
	if i, ok := c.(smtpserver.IntroducedConn); ok {
		s.clientName, s.login = i.ClientName(), i.Login()
	}
	return s, nil
}

// extended reports whether the client said EHLO, as far as the engine tells.
func (s *session) extended() bool {
	e, ok := s.conn.(smtpserver.ExtendedConn)
	return !ok || e.Extended()
}

// AuthMechanisms lists how the client may log in.
func (s *session) AuthMechanisms() []string {
	if s.backend.Authenticator == nil {
		return nil
	}
	return s.backend.Authenticator.Mechanisms(s.conn)
}

// Auth begins an exchange.
func (s *session) Auth(mechanism string) (sasl.Server, error) {
	if s.backend.Authenticator == nil {
		return nil, gosmtp.ErrAuthUnsupported
	}
	return s.backend.Authenticator.Begin(s.conn, mechanism, func(login string) { s.login = login })
}

func clientAddr(c net.Conn) netip.Addr {
	if tcp, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// refuse counts a refusal and makes its reply.
func (b *Backend) refuse(reason string, code int, enhanced gosmtp.EnhancedCode, text string) *gosmtp.SMTPError {
	b.Metrics.Refused.WithLabelValues(reason).Inc()
	return &gosmtp.SMTPError{Code: code, EnhancedCode: enhanced, Message: text}
}

// reportName is how the client stands in reports: "name ([address])".
func (s *session) reportName() string {
	name := s.conn.Hostname()
	if s.client.IsValid() && !strings.HasPrefix(name, "[") {
		name += " (" + smtp.Literal(s.client) + ")"
	}
	return name
}
