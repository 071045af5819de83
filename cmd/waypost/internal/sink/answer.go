package sink

import (
	"errors"
	"fmt"
	"strings"

	"waypost/relay/smtp"
)

// Answer is how some recipients are refused.
type Answer struct {
	// Pattern is a mailbox, a domain with or without @ in front, or "*".
	Pattern string
	// Reply has a code of 400 to 599.
	Reply smtp.Reply
}

// ParseAnswer reads PATTERN=REPLY, such as "user@example.org=550 5.1.1 No such
// user". The reply needs at least its code.
func ParseAnswer(s string) (Answer, error) {
	// A local part may have an equals sign too: the one before a code counts.
	for i := range len(s) {
		if s[i] != '=' {
			continue
		}
		if reply, ok := parseReply(s[i+1:]); ok {
			a := Answer{Pattern: s[:i], Reply: reply}
			return a, a.check()
		}
	}
	return Answer{}, fmt.Errorf(`%q is not like "user@example.org=550 5.1.1 No such user"`, s)
}

func (a Answer) check() error {
	switch {
	case a.Pattern == "":
		return errors.New("there is no address before the equals sign")
	case a.Reply.Code < 400:
		return fmt.Errorf("the code %d does not refuse anything: it must be from 400 to 599", a.Reply.Code)
	}
	return nil
}

func parseReply(s string) (smtp.Reply, bool) {
	code, text, _ := strings.Cut(s, " ")
	if len(code) != 3 || code[0] < '2' || code[0] > '5' || strings.Trim(code, "0123456789") != "" {
		return smtp.Reply{}, false
	}
	enhanced, text, ok := smtp.ParseEnhanced(text)
	if !ok {
		enhanced = smtp.EnhancedCode{int(code[0] - '0'), 0, 0}
	}
	if text == "" {
		text = "Refused as asked for"
	}
	number := int(code[0]-'0')*100 + int(code[1]-'0')*10 + int(code[2]-'0')
	return smtp.NewReply(number, enhanced, smtp.Printable(text)), true
}

// fits reports whether the answer is for that recipient.
func (a Answer) fits(to smtp.Path) bool {
	if a.Pattern == "*" || strings.EqualFold(a.Pattern, to.String()) {
		return true
	}
	domain := strings.TrimPrefix(a.Pattern, "@")
	return to.Domain != "" && to.DomainKey() == smtp.Path{Domain: domain}.DomainKey()
}
