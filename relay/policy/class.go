package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"waypost/relay/smtp"
)

// Class is a rule that puts messages into a message class. What is set must
// all match; without anything it matches every message.
type Class struct {
	// Name is the class's name.
	Name string
	// Key is where the rule is configured, such as "class[0]".
	Key string
	// From are the senders and To the recipients, of which each must match
	// one; see [Match].
	From, To []string
	// Logins are the identities that clients proved.
	Logins []string
	// Networks are the clients.
	Networks []netip.Prefix
	// Headers are header fields of which the message must have one: a name,
	// or "name: value".
	Headers []string
	// MinPriority and MaxPriority bound the message's priority (RFC 6710).
	MinPriority, MaxPriority int
}

// Mail is what a message is sorted by. Its zero value is a message of nobody
// for nobody.
type Mail struct {
	Sender     smtp.Path
	Recipients []smtp.Path
	Client     Client
	Priority   int
	// Fields are the header fields that HeaderNames asks for.
	Fields []Field
}

// Field is one field of a message's header section.
type Field struct{ Name, Value string }

// Classes are asked in order; the first that matches wins.
type Classes []Class

// Sort returns the class of a message and the rule that put it there; both are
// empty when it is in no class.
func (all Classes) Sort(m *Mail) (class, rule string) {
	for i := range all {
		if why, ok := all[i].match(m); ok {
			return all[i].Name, smtp.Printable(strings.TrimSpace(all[i].Key + " " + strings.Join(why, ", ")))
		}
	}
	return "", ""
}

// HeaderNames returns the names of the header fields that the rules look at,
// in lower case.
func (all Classes) HeaderNames() (names []string) {
	for i := range all {
		for _, h := range all[i].Headers {
			name, _, _ := strings.Cut(strings.ToLower(h), ":")
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// match reports whether a rule matches, and by what.
func (c *Class) match(m *Mail) (why []string, ok bool) {
	for _, condition := range []func(*Mail) (string, bool){c.matchSender, c.matchRecipients, c.matchClient, c.matchHeader, c.matchPriority} {
		reason, ok := condition(m)
		if !ok {
			return nil, false
		}
		if reason != "" {
			why = append(why, reason)
		}
	}
	return why, true
}

func (c *Class) matchSender(m *Mail) (string, bool) {
	if len(c.From) == 0 {
		return "", true
	}
	i := slices.IndexFunc(c.From, func(p string) bool { return Match(p, m.Sender) })
	if i < 0 {
		return "", false
	}
	return "from " + c.From[i], true
}

func (c *Class) matchRecipients(m *Mail) (reason string, ok bool) {
	if len(c.To) == 0 {
		return "", true
	}
	for _, r := range m.Recipients {
		i := slices.IndexFunc(c.To, func(p string) bool { return Match(p, r) })
		if i < 0 {
			return "", false
		}
		reason = "to " + c.To[i]
	}
	return reason, reason != ""
}

func (c *Class) matchClient(m *Mail) (reason string, ok bool) {
	if len(c.Logins) > 0 {
		if m.Client.Login == "" || !slices.Contains(c.Logins, m.Client.Login) {
			return "", false
		}
		reason = "login"
	}
	if len(c.Networks) > 0 {
		i := slices.IndexFunc(c.Networks, func(n netip.Prefix) bool { return n.Contains(m.Client.Addr.Unmap()) })
		if i < 0 {
			return "", false
		}
		reason = strings.TrimSpace(reason + " network " + c.Networks[i].String())
	}
	return reason, true
}

func (c *Class) matchHeader(m *Mail) (string, bool) {
	if len(c.Headers) == 0 {
		return "", true
	}
	for _, h := range c.Headers {
		name, value, valued := strings.Cut(h, ":")
		value = strings.TrimSpace(value)
		for _, f := range m.Fields {
			if strings.EqualFold(f.Name, name) && (!valued || strings.EqualFold(strings.TrimSpace(f.Value), value)) {
				return "header " + h, true
			}
		}
	}
	return "", false
}

func (c *Class) matchPriority(m *Mail) (string, bool) {
	if m.Priority < c.MinPriority || m.Priority > c.MaxPriority {
		return "", false
	}
	if c.MinPriority <= -9 && c.MaxPriority >= 9 {
		return "", true
	}
	return fmt.Sprintf("priority %d", m.Priority), true
}
