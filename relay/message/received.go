package message

import (
	"net/netip"
	"strings"
	"time"

	"waypost/relay/smtp"
)

// maxPeerWord bounds what a stranger calls itself: the longest domain.
const maxPeerWord = 255

// Received is the trace field that a relay puts in front of what it takes
// (RFC 5321 §4.4). It records text from the peer, of which every octet that
// could end a token, a comment or the field is replaced by a question mark.
type Received struct {
	// Hello is the argument of EHLO or HELO as it was given. Empty means that
	// there was none: the client's address stands for it.
	Hello string
	// Client is the address of the peer. The zero value means that there is
	// none, as on a local socket.
	Client netip.Addr
	// ClientName is the name that the client's address resolves to and that
	// resolves back to it; empty when there is none.
	ClientName string
	// By is our own host name.
	By string
	// Protocol is how the message came, from Protocol. Empty leaves the
	// clause out.
	Protocol string
	// TLS is the version and the cipher suite of the session, with a space
	// between: "TLS1.3 TLS_AES_128_GCM_SHA256". Empty means no TLS.
	TLS string
	// ID is the queue ID; empty leaves the clause out.
	ID string
	// For is the recipient when the message has exactly one, else the zero
	// value: naming one of several would tell each about the others
	// (RFC 5321 §7.2). A path that is not ASCII is left out unless Protocol
	// is one of SMTPUTF8.
	For smtp.Path
	// Date is when the message was received, written in its own zone.
	Date time.Time
}

// Protocol returns the "with" keyword for a session (RFC 3848, and RFC 6531
// §4.3 for SMTPUTF8). extended means that EHLO was used, tls that the session
// is encrypted, auth that the client has authenticated, and utf8 that this
// transaction asked for SMTPUTF8.
func Protocol(extended, tls, auth, utf8 bool) string {
	if !extended && !auth && !utf8 {
		// HELO has no extensions, and no keyword of its own for TLS.
		return "SMTP"
	}
	p := "ESMTP"
	if utf8 {
		p = "UTF8SMTP"
	}
	if tls {
		p += "S"
	}
	if auth {
		p += "A"
	}
	return p
}

// Append appends the field to b: folded, ended by CRLF, in ASCII but for the
// recipient of an SMTPUTF8 transaction.
func (r Received) Append(b []byte) []byte {
	f := NewField(b, "Received")
	r.from(f)
	f.Fold()
	f.Word("by")
	f.Word(peerWord(r.By, "localhost"))
	if r.Protocol != "" {
		f.Word("with")
		f.Word(peerWord(r.Protocol, ""))
	}
	if r.ID != "" {
		f.Word("id")
		f.Word(peerWord(r.ID, ""))
	}
	r.recipient(f)
	r.tls(f)
	// RFC 5321 §4.4: the date follows the last clause and a semicolon.
	f.glue(";")
	f.Fold()
	f.Text(Date(r.Date))
	return f.End()
}

// from writes the peer: the name it gave, and what TCP says of it
// (RFC 5321 §4.4, From-domain and TCP-info).
func (r Received) from(f *Field) {
	literal := ""
	if r.Client.IsValid() {
		literal = smtp.Literal(r.Client)
	}
	f.Word("from")
	hello := literal
	if hello == "" {
		hello = "localhost"
	}
	f.Word(peerWord(r.Hello, hello))
	if literal == "" {
		return
	}
	if r.ClientName == "" {
		f.Word("(" + literal + ")")
		return
	}
	f.Word("(" + peerWord(r.ClientName, "unknown"))
	f.Word(literal + ")")
}

func (r Received) recipient(f *Field) {
	if r.For.IsNull() || unsafePath(r.For) {
		return
	}
	// RFC 6531 §3.7.3: only an internationalised transaction may carry UTF-8
	// in its trace.
	// A domain has another form, with which the header section stays ASCII and
	// the next hop need not offer SMTPUTF8.
	if domain, err := smtp.ASCIIDomain(r.For.Domain); err == nil && !r.For.ASCII() {
		r.For.Domain = domain
	}
	if !r.For.ASCII() && !strings.HasPrefix(r.Protocol, "UTF8") {
		return
	}
	f.Fold()
	f.Word("for")
	f.Word("<" + r.For.String() + ">")
}

// unsafePath reports whether p has octets that no parsed path has. Such a
// path is left out, since a recipient with other octets would be another one.
func unsafePath(p smtp.Path) bool {
	s := p.String()
	return len(s) > hardWidth-2 || smtp.Printable(s) != s || strings.ContainsAny(p.Domain, "<>()\"\\,; ")
}

// tls writes the clause that records the cipher suite, and the version as a
// comment behind it (RFC 8314 §4.3).
func (r Received) tls(f *Field) {
	version, suite, ok := strings.Cut(r.TLS, " ")
	if !ok {
		version, suite = "", version
	}
	if suite == "" {
		return
	}
	f.Word("tls")
	f.Word(peerWord(suite, ""))
	if version != "" {
		f.Word("(" + peerWord(version, "") + ")")
	}
}

// peerWord returns s as one token: letters, digits and what domains, address
// literals and IDs are made of. Anything else becomes a question mark, among
// it the parentheses that would end a comment. An empty s becomes other.
func peerWord(s, other string) string {
	if s == "" {
		return other
	}
	s = s[:min(len(s), maxPeerWord)]
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9',
			r == '.', r == '-', r == '_', r == ':', r == '[', r == ']':
			return r
		}
		return '?'
	}, s)
}
