package dsn

import (
	"strings"
	"unicode/utf8"

	"waypost/relay/message"
	"waypost/relay/smtp"
)

const (
	// textWidth is where the text for people wraps, in octets.
	textWidth = 76
	// maxShown bounds what one stranger's text takes of it, in octets. The
	// fields for programs have the whole.
	maxShown = 900
)

// text writes the part for people.
func (c *composer) text() {
	if c.native {
		c.part("text/plain; charset=utf-8", true)
	} else {
		c.part("text/plain; charset=us-ascii", false)
	}
	b := wrap(c.buf[:0], "", "This is the mail system at "+c.host+".")
	b = append(b, '\r', '\n')
	c.write(wrap(b, "", opening(c.report.Kind)))
	for i := range c.report.Recipients {
		c.write(c.appendRecipientText(c.buf[:0], &c.report.Recipients[i]))
	}
	c.write(c.appendClosing(c.buf[:0]))
}

func opening(k Kind) string {
	switch k {
	case Delay:
		return "Your message has not been delivered yet to the recipients below. " +
			"This is only a notice: there is no need to send it again, as delivery is still being tried."
	case Success:
		return "You asked for a report on the delivery of your message. This is what became of it."
	}
	return "Your message could not be delivered to the recipients below. " +
		"Delivery to them will not be tried again."
}

// appendRecipientText tells what became of one recipient, why, and what the
// reader can do.
func (c *composer) appendRecipientText(b []byte, rcpt *Recipient) []byte {
	const indent = "    "
	action := c.report.action(rcpt)
	b = append(b, '\r', '\n')
	b = wrapWords(b, "", "<"+readable(rcpt.Final, c.native)+">")
	if original, ok := originalField(rcpt.Original, c.native); ok {
		if _, address, _ := strings.Cut(original, "; "); address != readable(rcpt.Final, c.native) {
			b = wrap(b, indent, "Addressed at first to: "+address)
		}
	}
	switch action {
	case Relayed:
		if rcpt.Reason != "" {
			b = wrap(b, indent, "Handed on to "+remote(rcpt)+": "+shown(rcpt.Reason)+".")
			break
		}
		b = wrap(b, indent, "Handed on to "+remote(rcpt)+", which sends no reports of its own. "+
			"This is the last that this mail system can tell.")
	case Delivered:
		b = wrap(b, indent, "Delivered.")
	case Expanded:
		b = wrap(b, indent, "Passed on to the addresses that this one stands for.")
	}
	if action == Relayed || action == Delivered || action == Expanded {
		return b
	}
	b = appendCause(b, indent, rcpt)
	if action == Delayed {
		if !rcpt.WillRetryUntil.IsZero() {
			b = wrap(b, indent, "Delivery will be tried until "+message.Date(rcpt.WillRetryUntil)+".")
		}
		return b
	}
	return wrap(b, indent, "What you can do: "+advice(status(action, rcpt)))
}

// appendCause appends our own reason and the reply that decided.
func appendCause(b []byte, indent string, rcpt *Recipient) []byte {
	answered := rcpt.Diagnostic.Code != 0
	switch {
	case rcpt.Reason != "":
		b = wrap(b, indent, "Reason: "+shown(rcpt.Reason)+".")
	case !answered:
		b = wrap(b, indent, "No reason is known.")
	}
	if answered {
		b = wrap(b, indent, "The answer of "+remote(rcpt)+" was:")
		b = wrap(b, indent+indent, shown(rcpt.Diagnostic.String()))
	}
	return b
}

func (c *composer) appendClosing(b []byte) []byte {
	b = append(b, '\r', '\n')
	help := "If you need help, write to postmaster@" + c.host
	if c.report.QueueID != "" {
		help += " and name the queue ID " + shown(c.report.QueueID)
	}
	b = wrap(b, "", help+".")
	switch {
	case c.back.full:
		return wrap(b, "", "Your message is attached.")
	case c.back.mediaType != "":
		return wrap(b, "", "The header of your message is attached.")
	}
	return b
}

func remote(rcpt *Recipient) string {
	if rcpt.RemoteMTA == "" {
		return "the next mail system"
	}
	return "the host " + shown(rcpt.RemoteMTA)
}

// advice says what the reader of a failure can do, after the subject and the
// detail of its code (RFC 3463 §3).
func advice(code smtp.EnhancedCode) string {
	switch [2]int{code[1], code[2]} {
	case [2]int{1, 1}, [2]int{1, 2}, [2]int{1, 3}, [2]int{1, 10}, [2]int{5, 4}:
		return "check the address for mistakes, correct it, and send the message again."
	case [2]int{2, 1}:
		return "ask the recipient for another address; this mailbox is closed."
	case [2]int{2, 2}:
		return "try again later; the recipient's mailbox is full."
	case [2]int{2, 3}, [2]int{3, 4}:
		return "send a smaller message, or share large files in another way."
	case [2]int{6, 7}:
		return "use an address without international characters, if there is one."
	}
	switch {
	case code[1] == 7:
		return "ask the recipient, or show this report to your own postmaster; " +
			"the other side refused the message under its own rules."
	case code[1] == 4 || code[0] == 4:
		return "try again later; the other side could not take the message in time."
	}
	return "reach the recipient in another way, or show this report to your own postmaster."
}

// shown returns a stranger's text, short enough to be read.
func shown(s string) string {
	s = message.ASCII(s)
	if len(s) <= maxShown {
		return s
	}
	return cut(s, maxShown) + " [shortened]"
}

// cut returns the first n octets of s, or fewer so as not to halve a
// character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	end := n
	for end > n-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}

// wrap appends a paragraph in indented lines.
func wrap(b []byte, indent, s string) []byte { return wrapWords(b, indent, strings.Fields(s)...) }

// wrapWords appends words in indented lines. A word that no line could hold
// is broken.
func wrapWords(b []byte, indent string, words ...string) []byte {
	col := 0
	for _, word := range words {
		for len(word) > maxShown {
			head := cut(word, maxShown)
			b, col = wrapWord(b, indent, head, col)
			word = word[len(head):]
		}
		b, col = wrapWord(b, indent, word, col)
	}
	return append(b, '\r', '\n')
}

func wrapWord(b []byte, indent, word string, col int) ([]byte, int) {
	switch {
	case col == 0:
		b, col = append(b, indent...), len(indent)
	case col+1+len(word) > textWidth:
		b, col = append(append(b, '\r', '\n'), indent...), len(indent)
	default:
		b, col = append(b, ' '), col+1
	}
	return append(b, word...), col + len(word)
}
