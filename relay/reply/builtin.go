package reply

import (
	"regexp"
	"time"
)

// temporary are the codes that all built-in rules are for: what a host calls
// permanent is so, unless the configuration knows better.
var temporary = []string{"4xx"}

// builtin are the rules that hold behind those of the configuration.
var builtin = Rules{
	// RFC 6647 §5: a host that puts off whom it does not know takes the second
	// attempt, some minutes later.
	{
		Name: "greylisting", Codes: temporary, RetryAfter: 5 * time.Minute, Retries: 6, heed: true,
		Text: regexp.MustCompile(`(?i)gr[ae]y.?list|gr[ae]y listed|temporar(il)?y (deferred|rejected).{0,40}(unknown|first) `),
	},
	// Our address is in ill repute: each more message makes that worse.
	{
		Name: "reputation", Codes: temporary, RetryAfter: time.Hour, Pause: time.Hour, heed: true,
		Text: regexp.MustCompile(`(?i)\b(poor|bad|low|ip|sender|domain) reputation|reputation (of|is|score)|` +
			`(listed|found|blocked|block.?list(ed)?) (in|on|at|by|using) \S*(block|black|deny|rbl|dnsbl|spamhaus|barracuda|spamcop|abuseat|sorbs)|` +
			`(your|client|source|connecting|sending) (ip|host|server|address).{0,60}\b(block|black|deny).?listed|` +
			`deferred due to (unexpected volume|user complaints|excessive)|\[TSS?\d\d\]`),
	},
	// A limit by the day is not lifted within the hour; one by the hour is.
	{
		Name: "daily-limit", Codes: temporary, RetryAfter: time.Hour, Retries: 24, heed: true,
		Text: regexp.MustCompile(`(?i)(dail(y|ies)|per day|24.?h).{0,60}(limit|quota|exceed)|(limit|quota|exceed).{0,60}(dail(y|ies)|per day|24.?h)`),
	},
	{
		Name: "too-many-connections", Codes: temporary, RetryAfter: 5 * time.Minute, Retries: 48, Slow: true, heed: true,
		Text: regexp.MustCompile(`(?i)(too many|maximum( number of)?|exceed\w*).{0,40}(connections|sessions)|(connections?|sessions?).{0,24}(limit|exceed|refused for now)`),
	},
	{
		Name: "rate-limit", Codes: temporary, RetryAfter: 15 * time.Minute, Retries: 24, Slow: true, heed: true,
		Text: regexp.MustCompile(`(?i)too (many|much) (messages|mails?|recipients|requests)|rate.?limit|throttl|sending (limit|rate)|(limit|quota).{0,40}(per|hour|minute)`),
	},
	// Its owner has to make room, for which the usual waits are right: it is told
	// apart to be counted.
	{
		Name: "mailbox-full", Codes: temporary,
		Text: regexp.MustCompile(`(?i)\b4\.2\.2\b|(mail)?box.{0,24}\b(is )?(full|over ?quota)|over ?quota|(quota|mailbox size|storage).{0,24}exceeded|exceed\w*.{0,24}(quota|storage)`),
	},
}

// Builtin returns the rules that hold behind those of the configuration, best
// first. They are for temporary refusals alone.
func Builtin() Rules { return append(Rules(nil), builtin...) }
