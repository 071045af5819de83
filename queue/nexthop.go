package queue

import (
	"strings"

	"waypost/relay/smtp"
)

// nextHopID returns the ID under which the next hop has the message now, as its
// reply to the content says; empty where it says none that is known. No
// standard has a place for it, so this knows what the servers of our day write:
//
//	Postfix, waypost      2.0.0 Ok: queued as 4XyZ12abCDz
//	Exim                  OK id=1abCDe-00012f-3x
//	sendmail, OpenSMTPD   2.0.0 4AB1CD2e012345 Message accepted for delivery
//	Exchange              2.6.0 <m@h> [InternalId=123, Hostname=h] Queued mail for delivery
//	Gmail                 2.0.0 OK  1700000000 a1-20020a0-si1.2 - gsmtp
//	qmail                 ok 1700000000 qp 12345
//	KumoMTA               OK ids=0123abcd
//	Dovecot (LMTP)        2.0.0 <r@b> 6fRkBaxyz Saved
func nextHopID(r smtp.Reply) string {
	for _, line := range r.Lines {
		for _, form := range nextHopForms {
			at := indexFold(line, form.mark)
			if at < 0 {
				continue
			}
			var id string
			if form.before {
				id = lastWord(line[:at])
			} else {
				id = firstWord(line[at+len(form.mark):])
			}
			if id = strings.Trim(id, `<>[](),;."'`); id != "" {
				return id
			}
		}
	}
	return ""
}

// nextHopForms are what stands before the ID, or behind it.
var nextHopForms = []struct {
	mark   string
	before bool
}{
	{"queued as ", false},
	{"[internalid=", false},
	{"ids=", false},
	{"id=", false},
	{" message accepted", true},
	{" - gsmtp", true},
	{" qp ", false},
	{" saved", true},
}

// indexFold is strings.Index for a mark in lower case, in text of any case.
func indexFold(s, mark string) int {
	for i := 0; i+len(mark) <= len(s); i++ {
		if s[i]|0x20 == mark[0]|0x20 && strings.EqualFold(s[i:i+len(mark)], mark) {
			return i
		}
	}
	return -1
}

func firstWord(s string) string {
	if i := strings.IndexAny(s, " \t,;]"); i >= 0 {
		return s[:i]
	}
	return s
}

func lastWord(s string) string { return s[strings.LastIndexAny(s, " \t")+1:] }
