// Package reply says what the refusals of hosts mean for the next attempt, where
// they mean more than their code does: that a message is wanted some minutes
// later, that a host takes no more mail from us for a while, that a 5yz is no
// verdict on the message. It is pure: what follows from that is done elsewhere.
package reply

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"waypost/relay/smtp"
)

// Action is what a refusal comes to for its recipients.
type Action uint8

// The actions. The zero value leaves it at what the code says.
const (
	// AsSaid: 4yz is temporary and 5yz is permanent (RFC 5321 §4.2.1).
	AsSaid Action = iota
	// Defer takes a 5yz for temporary.
	Defer
	// Bounce takes a 4yz for permanent.
	Bounce
	// NextLeg tries the next leg of the route. Without one it is AsSaid.
	NextLeg
)

// String returns the action as it is configured; "" for AsSaid.
func (a Action) String() string { return [...]string{"", "defer", "bounce", "next_leg"}[a] }

// Refusal is what is judged.
type Refusal struct {
	smtp.Reply
	// Host is the name of the host that said it, and Domain that of the
	// recipient.
	Host, Domain string
}

// Rule is a kind of refusal, and what it means. Of the conditions, each one that
// is set must hold.
type Rule struct {
	// Name stands in logs and metrics.
	Name string
	// Codes are reply codes or enhanced codes, of which one must match; see
	// [MatchCode]. Empty matches every 4yz and 5yz.
	Codes []string
	// Text is looked for in the whole reply, on one line with its codes; nil
	// matches all.
	Text *regexp.Regexp
	// Domains are recipients' domains and Hosts the hosts that reply, each
	// "example.org", or ".example.org" for it and all below; empty matches all.
	Domains, Hosts []string

	// Action says what becomes of the recipients.
	Action Action
	// RetryAfter is the wait before the next attempt; 0 leaves that to the retry
	// list.
	RetryAfter time.Duration
	// Retries is after how many attempts RetryAfter means nothing any more; 0 is
	// never.
	Retries int
	// Pause is how long nothing more is sent to the destination; 0 is not at
	// all.
	Pause time.Duration
	// Slow makes the window of the site smaller.
	Slow bool
	// heed has a wait that the host asks for take the place of RetryAfter.
	heed bool
}

// MatchAny reports whether one of some patterns has a reply; see [MatchCode].
func MatchAny(patterns []string, r smtp.Reply) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return MatchCode(p, r) })
}

// MatchCode reports whether a pattern has a reply's code, as in "450", "45x" or
// "4xx", or its enhanced code, as in "4.7.1" or "4.7.x".
func MatchCode(pattern string, r smtp.Reply) bool {
	text := strconv.Itoa(r.Code)
	if strings.Contains(pattern, ".") {
		return matchEnhanced(pattern, r.Enhanced)
	}
	if len(pattern) != len(text) {
		return false
	}
	for i := range len(text) {
		if pattern[i] != 'x' && pattern[i] != text[i] {
			return false
		}
	}
	return true
}

func matchEnhanced(pattern string, code smtp.EnhancedCode) bool {
	parts := strings.Split(pattern, ".")
	if len(parts) != len(code) || code == (smtp.EnhancedCode{}) {
		return false
	}
	for i, part := range parts {
		if part != "x" && part != strconv.Itoa(code[i]) {
			return false
		}
	}
	return true
}

// matches reports whether r is of this kind.
func (rule *Rule) matches(r *Refusal, text string) bool {
	return (len(rule.Codes) == 0 || MatchAny(rule.Codes, r.Reply)) && rule.ForDomain(r.Domain) && under(rule.Hosts, r.Host) &&
		(rule.Text == nil || rule.Text.MatchString(text))
}

// ForDomain reports whether the rule is for recipients in a domain.
func (rule *Rule) ForDomain(domain string) bool { return under(rule.Domains, domain) }

// under reports whether a name is one of a list, or below one.
func under(list []string, name string) bool {
	for _, pattern := range list {
		if strings.EqualFold(pattern, name) || pattern != "" && pattern[0] == '.' && smtp.HasSuffixFold("."+name, pattern) {
			return true
		}
	}
	return len(list) == 0
}

// Wait returns how long to wait with the next attempt after a reply of this kind,
// when so many attempts were made before; 0 leaves it to the retry list.
func (rule *Rule) Wait(r smtp.Reply, attempts int) time.Duration {
	if rule.Retries > 0 && attempts >= rule.Retries {
		return 0
	}
	if rule.heed {
		if asked := asked(r.String()); asked > 0 {
			return asked
		}
	}
	return rule.RetryAfter
}

// String tells what the rule does: "retry after 5m0s, pause 1h0m0s".
func (rule *Rule) String() string {
	var parts []string
	if rule.Action != AsSaid {
		parts = append(parts, strings.ReplaceAll(rule.Action.String(), "_", " "))
	}
	if rule.RetryAfter > 0 {
		text := "retry after " + rule.RetryAfter.String()
		if rule.Retries > 0 {
			text += fmt.Sprintf(" for %d attempts", rule.Retries)
		}
		parts = append(parts, text)
	}
	if rule.Pause > 0 {
		parts = append(parts, "pause the destination for "+rule.Pause.String())
	}
	if rule.Slow {
		parts = append(parts, "slow down")
	}
	return strings.Join(parts, ", ")
}

// Rules are asked in their order, and the first that matches counts.
type Rules []*Rule

// Match returns the rule for a refusal; nil when there is none.
func (all Rules) Match(r *Refusal) *Rule {
	if !r.Temporary() && !r.Permanent() {
		return nil
	}
	text := r.String()
	for _, rule := range all {
		if rule.matches(r, text) {
			return rule
		}
	}
	return nil
}

// askedWait is a wait that a host names: "try again in 300 seconds".
var askedWait = regexp.MustCompile(`(?i)(?:again|retry|come back|resend|wait).{0,24}?\b(\d{1,5})\s*(s|sec|seconds?|m|min|minutes?|h|hours?)\b`)

// Bounds of a wait that a host asks for.
const (
	minAsked = time.Minute
	maxAsked = 4 * time.Hour
)

func asked(text string) time.Duration {
	m := askedWait.FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	n, err := strconv.Atoi(m[1])
	if err != nil || n == 0 {
		return 0
	}
	unit := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour}[m[2][0]|0x20]
	return min(max(time.Duration(n)*unit, minAsked), maxAsked)
}
