package route

import (
	"net"
	"strconv"
)

// LegKind is what a leg does with mail.
type LegKind uint8

// The kinds of legs.
const (
	// MX gives it to the mail hosts of a domain.
	MX LegKind = iota
	// Host gives it to one named host, a smarthost or a mailbox server.
	Host
	// Discard forgets it, as if it had been delivered.
	Discard
	// Reject refuses it.
	Reject
)

// Leg is one way for mail to leave.
type Leg struct {
	Kind LegKind
	// Domain is whose mail hosts a leg of kind MX leads to; empty means the
	// recipient's.
	Domain string
	// Host is a name or an address, without brackets; Port is its TCP port.
	// Both are for kind Host.
	Host string
	Port uint16
	// Socket is the path of a Unix socket, in place of Host and Port.
	Socket string
	// LMTP says that the host speaks LMTP (RFC 2033).
	LMTP bool
	// ImplicitTLS says that the connection begins with TLS (RFC 8314 §3).
	ImplicitTLS bool
	// Text is what a leg of kind Reject says.
	Text string

	// Weight is the share of messages that begin with this leg, in proportion to
	// that of the neighbours that have one, too. 0 is none: the leg is tried when
	// its turn comes.
	Weight int
	// Terms are the leg's own; nil is those of the route.
	Terms *Terms
	// Pace names the rule about pace that is this leg's own; empty is none.
	Pace string
}

// String returns the leg as it is configured: "mx:" or "smtp://host:port".
func (l Leg) String() string {
	switch l.Kind {
	case MX:
		return "mx:" + l.Domain
	case Discard:
		return "discard:"
	case Reject:
		return "reject:" + l.Text
	}
	if l.Socket != "" {
		return "lmtp+unix://" + l.Socket
	}
	scheme := "smtp://"
	switch {
	case l.LMTP:
		scheme = "lmtp://"
	case l.ImplicitTLS:
		scheme = "smtps://"
	}
	return scheme + net.JoinHostPort(l.Host, strconv.Itoa(int(l.Port)))
}

// Remote reports whether the leg leads to another host: the others end here.
func (l Leg) Remote() bool { return l.Kind == MX || l.Kind == Host }

// plain reports whether l is what happens without a route.
func (l Leg) plain() bool { return l == Leg{Kind: MX} }

// ownDomain reports whether where the leg leads depends on the recipient.
func (l Leg) ownDomain() bool { return l.Kind == MX && l.Domain == "" }
