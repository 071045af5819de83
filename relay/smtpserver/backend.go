package smtpserver

import (
	"crypto/tls"
	"net"
	"time"

	gosmtp "github.com/emersion/go-smtp"
)

// Conn is what a backend may know of a connection. *smtp.Conn of go-smtp is
// one, too.
type Conn interface {
	// Hostname returns the argument of EHLO or HELO.
	Hostname() string
	// Conn returns the connection under the session, for its addresses.
	Conn() net.Conn
	// TLSConnectionState returns the state of TLS, if there is TLS.
	TLSConnectionState() (tls.ConnectionState, bool)
}

// ExtendedConn is an add-on to Conn: whether the client said EHLO.
type ExtendedConn interface {
	Conn
	// Extended is false after HELO.
	Extended() bool
}

// AuthenticatingConn is an add-on to Conn for mechanisms that bind an exchange
// to the TLS session (RFC 5929, RFC 9266). The data for tls-exporter come from
// the state that TLSConnectionState returns, by its ExportKeyingMaterial.
type AuthenticatingConn interface {
	Conn
	// ServerCertificate returns the certificate that was presented to the
	// client, in DER, for tls-server-end-point; nil without TLS.
	ServerCertificate() []byte
}

// IntroducedConn is an add-on to Conn: what a trusted host says of the client
// for which it speaks. Both are empty where nothing was said.
type IntroducedConn interface {
	Conn
	// ClientName is the name that the client's address resolves to and that
	// resolves back to it.
	ClientName() string
	// Login is as whom the client has logged in there.
	Login() string
}

// Backend is a go-smtp Backend that can also begin a session of this engine,
// whose connections are not go-smtp's.
type Backend interface {
	gosmtp.Backend
	// BeginSession is called for each EHLO and HELO, but not again once the
	// session has authenticated. An error is the reply to it. A session that
	// is go-smtp's AuthSession can authenticate.
	BeginSession(c Conn) (gosmtp.Session, error)
}

// MailParameters are those of MAIL that go-smtp's MailOptions does not have.
type MailParameters struct {
	// DeliverBy is BY (RFC 2852); nil when it was not given.
	DeliverBy *gosmtp.DeliverByOptions
	// Priority is MT-PRIORITY, -9 to 9 (RFC 6710); nil when it was not given.
	Priority *int
	// HoldUntil is when the message may leave, as HOLDFOR or HOLDUNTIL said
	// (RFC 4865); zero when neither was given.
	HoldUntil time.Time
}

// MailParametersSession is an add-on to Session: it is told of these before
// Mail.
type MailParametersSession interface {
	gosmtp.Session
	MailParameters(p MailParameters)
}

// VerifySession is an add-on to Session: it answers VRFY. Nil and a session
// without it mean that nothing is known (252). An *smtp.SMTPError is the answer,
// of success (250, 251) or not (550, 551). The mailbox is written as for Rcpt.
type VerifySession interface {
	gosmtp.Session
	Verify(mailbox string) error
}

// ExpandSession is an add-on to Session: it answers EXPN.
type ExpandSession interface {
	gosmtp.Session
	// MayExpand says whether this client has the command.
	MayExpand() bool
	// Expand returns the members of a list, as they stand in a path; none
	// means that there is no such list.
	Expand(list string) (members []string, err error)
}

// QueueSession is an add-on to Session: it answers ETRN.
type QueueSession interface {
	gosmtp.Session
	// MayStartQueue says whether this client has the command.
	MayStartQueue() bool
	// StartQueue tries what waits for a domain, given as A-labels in lower
	// case, and with below for the domains under it. waiting is false when
	// there is nothing.
	StartQueue(domain string, below bool) (waiting bool, err error)
}

// OriginalRecipientSession is an add-on to Session: it is told ORCPT as the
// client wrote it, "type;xtext", before Rcpt. It must be passed on unchanged
// (RFC 3461 §5.2.1), and RcptOptions has it decoded.
type OriginalRecipientSession interface {
	gosmtp.Session
	OriginalRecipient(raw string)
}
