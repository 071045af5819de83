package smtpserver

import (
	"crypto/tls"
	"net"

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

// Backend is a go-smtp Backend that can also begin a session of this engine,
// whose connections are not go-smtp's.
type Backend interface {
	gosmtp.Backend
	// BeginSession is called for each EHLO and HELO, but not again once the
	// session has authenticated. An error is the reply to it. A session that
	// is go-smtp's AuthSession can authenticate.
	BeginSession(c Conn) (gosmtp.Session, error)
}

// OriginalRecipientSession is an add-on to Session: it is told ORCPT as the
// client wrote it, "type;xtext", before Rcpt. It must be passed on unchanged
// (RFC 3461 §5.2.1), and RcptOptions has it decoded.
type OriginalRecipientSession interface {
	gosmtp.Session
	OriginalRecipient(raw string)
}
