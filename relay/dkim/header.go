package dkim

import (
	"strings"

	"waypost/relay/message"
	"waypost/relay/smtp"
)

// DefaultHeaders are the fields that are signed where they are there: those that
// say who wrote what to whom, and how it is to be read (RFC 6376 §5.4.1). Trace
// fields are not among them, because relays change them.
func DefaultHeaders() []string {
	return []string{
		"From", "Sender", "Reply-To", "To", "Cc", "Subject", "Date", "Message-ID", "In-Reply-To", "References",
		"MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Content-ID", "Content-Description",
		"Resent-Date", "Resent-From", "Resent-Sender", "Resent-To", "Resent-Cc", "Resent-Message-ID",
		"List-Id", "List-Help", "List-Unsubscribe", "List-Unsubscribe-Post", "List-Subscribe", "List-Post", "List-Owner", "List-Archive",
	}
}

// DefaultOversign are the fields that nobody may add one of: a reader would see
// the other author, subject or recipient.
func DefaultOversign() []string { return []string{"From", "Reply-To", "To", "Cc", "Subject"} }

// Bounds on the tag h=, which stands on one line of at most 998 octets.
const (
	maxEach = 10
	maxTag  = 900
)

// fieldsToSign returns the names for the tag h=: each as often as the field is
// there, and once more where none may be added. From is always first, and once
// more than it is there (RFC 6376 §5.4, §8.15).
func fieldsToSign(header []byte, k *Key) []string {
	sign, oversign := k.Headers, k.Oversign
	if sign == nil {
		sign = DefaultHeaders()
	}
	if oversign == nil {
		oversign = DefaultOversign()
	}
	there := countFields(header)
	var names []string
	size, seen := 0, map[string]bool{}
	add := func(name string, extra int) {
		key := strings.ToLower(name)
		if seen[key] {
			return
		}
		seen[key] = true
		for range min(there[key], maxEach) + extra {
			if size += len(name) + 1; size <= maxTag {
				names = append(names, name)
			}
		}
	}
	add("From", 1)
	for _, name := range oversign {
		add(name, 1)
	}
	for _, name := range sign {
		add(name, 0)
	}
	return names
}

// countFields counts the fields of a header section, by their name in lower case.
func countFields(header []byte) map[string]int {
	there := map[string]int{}
	message.EachField(header, func(name, _ string) { there[strings.ToLower(name)]++ })
	return there
}

// fromDomain returns the domain of the author: of the first address in the one
// From field, as A-labels in lower case. It is empty where there is none, or more
// than one field, of which nobody knows which one a reader is shown.
func fromDomain(header []byte) string {
	// A first line that begins with a blank would go on with the signature that
	// is put above it, and break it.
	if len(header) > 0 && (header[0] == ' ' || header[0] == '\t') {
		return ""
	}
	var from []string
	message.EachField(header, func(name, value string) {
		if strings.EqualFold(name, "From") {
			from = append(from, value)
		}
	})
	if len(from) != 1 {
		return ""
	}
	address := firstAddress(from[0])
	at := strings.LastIndexByte(address, '@')
	domain, err := smtp.ASCIIDomain(address[at+1:])
	if at < 0 || err != nil {
		return ""
	}
	return domain
}

// firstAddress returns the first address of a list. Where the list is against the
// rules, as with a comma in a name that is not quoted, it is the one in the last
// angle brackets.
func firstAddress(list string) string {
	if all, err := message.Addresses(list); err == nil && len(all) > 0 {
		return all[0]
	}
	open, end := strings.LastIndexByte(list, '<'), strings.LastIndexByte(list, '>')
	if open < 0 || end < open {
		return ""
	}
	return list[open+1 : end]
}

// isSealed reports whether the content has a signature of its own within, such as
// of S/MIME or OpenPGP, that a conversion would break (RFC 1847 §2.1).
func isSealed(header []byte) bool {
	const media = "multipart/signed"
	sealed := false
	message.EachField(header, func(name, value string) {
		sealed = sealed || strings.EqualFold(name, "Content-Type") && len(value) >= len(media) && strings.EqualFold(value[:len(media)], media)
	})
	return sealed
}
