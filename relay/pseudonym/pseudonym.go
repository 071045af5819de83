// Package pseudonym replaces the local parts of addresses by names that say nothing
// of whose they are: the same one by the same, so that one person's mail can be
// followed, and nobody can be found by it. The names are made with a secret that no
// process keeps, so they are others after a restart.
//
// It finds addresses, and does not understand messages: what is no address in its
// form stays as it is.
package pseudonym

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
)

// Maker makes pseudonyms. It is safe for concurrent use.
type Maker struct{ secret []byte }

// New returns a Maker with a secret of its own.
func New() *Maker {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // it never fails
	return &Maker{secret}
}

// address is a mailbox with its local part, quoted or not, wherever it stands.
var address = regexp.MustCompile(`("(?:[^"\\]|\\.)*"|[^\s<>@"(),:;=\[\]]+)@([\pL\pN\[])`)

// Text replaces the local parts of all addresses in a text.
func (m *Maker) Text(text string) string {
	if !strings.Contains(text, "@") {
		return text
	}
	return address.ReplaceAllStringFunc(text, func(found string) string {
		at := strings.LastIndexByte(found, '@')
		return m.name(found[:at]) + found[at:]
	})
}

// name is the pseudonym of a local part, in any case.
func (m *Maker) name(local string) string {
	mac := hmac.New(sha256.New, m.secret)
	mac.Write([]byte(strings.ToLower(strings.Trim(local, `"`))))
	return "user-" + hex.EncodeToString(mac.Sum(nil)[:5])
}
