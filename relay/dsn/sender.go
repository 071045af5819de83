package dsn

import (
	"mime"

	"waypost/relay/message"
	"waypost/relay/smtp"
)

// appendTo appends To: the reverse-path of the message. One that may not
// stand there is not lost, since the envelope has it in any case: the field
// shows an internationalised one that the report may not carry as an empty
// group with the address in its encoded name (the way of RFC 6857), and
// nothing of one that no parser ever returned.
func (c *composer) appendTo(b []byte) []byte {
	s, sound := c.sender()
	f := message.NewField(b, "To")
	switch {
	case !sound && message.IsASCII(s):
		f.Word("undisclosed-recipients:;")
	case !sound || !c.report.UTF8 && !message.IsASCII(s):
		// Base64, because RFC 2047 §5 lets few marks stand in a phrase.
		f.Text(mime.BEncoding.Encode("utf-8", "Sender: "+cut(smtp.Printable(s), maxShown)) + ":;")
	default:
		f.Word("<" + s + ">")
	}
	return f.End()
}

// sender returns the address that the report goes to, and whether it is one
// that a parser may have returned.
func (c *composer) sender() (address string, sound bool) {
	to := c.report.To
	if to.Domain == "" {
		// Bare "postmaster" is ours (RFC 5321 §4.5.1).
		to.Domain = c.host
	}
	s := to.String()
	return s, smtp.Printable(s) == s && smtp.CheckDomain(to.Domain) == nil && len(s) <= maxShown
}

// toEightBit reports whether To is in UTF-8.
func (c *composer) toEightBit() bool {
	s, sound := c.sender()
	return sound && c.report.UTF8 && !message.IsASCII(s)
}
