package reply

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"waypost/relay/smtp"
)

// parse makes a reply of what stands on the wire.
func parse(t *testing.T, s string) smtp.Reply {
	t.Helper()
	code, text, ok := strings.Cut(s, " ")
	if !ok || len(code) != 3 {
		t.Fatalf("%q is no reply", s)
	}
	r := smtp.Reply{Code: int(code[0]-'0')*100 + int(code[1]-'0')*10 + int(code[2]-'0')}
	if enhanced, rest, ok := smtp.ParseEnhanced(text); ok {
		r.Enhanced, text = enhanced, rest
	}
	r.Lines = []string{text}
	return r
}

// TestBuiltin: what hosts say, as large providers and common servers word it.
func TestBuiltin(t *testing.T) {
	for _, row := range []struct {
		reply, rule string
		wait        time.Duration
	}{
		{"451 4.7.1 Greylisting in action, please come back later", "greylisting", 5 * time.Minute},
		{"450 4.2.0 <r@b.example>: Recipient address rejected: Greylisted, see http://postgrey.example/", "greylisting", 5 * time.Minute},
		{"451 4.7.1 Graylisted, please try again in 180 seconds", "greylisting", 3 * time.Minute},
		{"451 Greylisted, retry in 1 second", "greylisting", time.Minute},
		{"451 Greylisted, retry after 90000 minutes", "greylisting", 4 * time.Hour},
		{"421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints", "reputation", time.Hour},
		{"421 4.7.28 Gmail has detected an unusual rate of mail originating from your IP address: low IP reputation", "reputation", time.Hour},
		{"451 4.7.1 Service unavailable; client [192.0.2.1] blocked using zen.spamhaus.example", "reputation", time.Hour},
		{"450 4.7.1 Your IP address has been blacklisted", "reputation", time.Hour},
		{"454 Throttling failure: Daily message quota exceeded", "daily-limit", time.Hour},
		{"421 4.7.0 Too many connections from your host", "too-many-connections", 5 * time.Minute},
		{"421 4.3.2 Concurrent sessions limit reached", "too-many-connections", 5 * time.Minute},
		{"421 4.7.0 maximum number of concurrent SMTP connections exceeded", "too-many-connections", 5 * time.Minute},
		{"450 4.7.1 Error: too much mail from 192.0.2.1; too many messages", "rate-limit", 15 * time.Minute},
		{"451 4.7.500 Server busy. Please try again later from [192.0.2.1]. Rate limited", "rate-limit", 15 * time.Minute},
		{"452 4.2.2 mailbox full", "mailbox-full", 0},
		{"452 4.2.2 The email account that you tried to reach is over quota", "mailbox-full", 0},
		{"452 r@b.example mailbox is full", "mailbox-full", 0},
		{"451 4.3.0 try again in 5 minutes", "", 0},
		{"450 4.1.1 <r@b.example>: Recipient address rejected: unverified address", "", 0},
		{"452 4.3.1 Insufficient system storage", "", 0},
		{"550 5.7.1 Greylisted for ever", "", 0},
		{"552 5.2.2 mailbox full", "", 0},
		{"250 2.0.0 not greylisted", "", 0},
	} {
		r := parse(t, row.reply)
		rule := Builtin().Match(&Refusal{Reply: r, Host: "mx.b.example", Domain: "b.example"})
		switch {
		case rule == nil && row.rule != "":
			t.Errorf("%s: no rule, want %s", row.reply, row.rule)
		case rule != nil && (rule.Name != row.rule || rule.Wait(r, 0) != row.wait):
			t.Errorf("%s: %s after %v, want %q after %v", row.reply, rule.Name, rule.Wait(r, 0), row.rule, row.wait)
		}
	}
	seen := map[string]bool{}
	for _, rule := range Builtin() {
		if seen[rule.Name] || rule.Text == nil || !slices.Equal(rule.Codes, temporary) {
			t.Errorf("the rule %q", rule.Name)
		}
		seen[rule.Name] = true
	}
}

// TestConditions: each one that is set must hold, and the first match counts.
func TestConditions(t *testing.T) {
	rules := Rules{
		{Name: "host", Hosts: []string{".mx.example"}, Codes: []string{"55x"}},
		{Name: "domain", Domains: []string{"b.example", ".c.example"}, Codes: []string{"4.7.x", "451"}, Text: regexp.MustCompile("slow")},
		{Name: "enhanced", Codes: []string{"5.7.1"}},
		{Name: "all", Domains: []string{"d.example"}},
	}
	for _, row := range []struct{ reply, host, domain, want string }{
		{"550 5.1.1 no", "a.MX.example", "b.example", "host"},
		{"550 5.1.1 no", "mx.example", "b.example", "host"},
		{"550 5.1.1 no", "amx.example", "b.example", ""},
		{"550 5.7.1 no", "amx.example", "b.example", "enhanced"},
		{"554 5.7.10 no", "amx.example", "b.example", ""},
		{"451 slow", "h", "B.example", "domain"},
		{"450 4.7.9 go slow", "h", "x.c.example", "domain"},
		{"450 4.7.9 go fast", "h", "c.example", ""},
		{"450 slow", "h", "c.example", ""},
		{"450 slow", "h", "d.example", "all"},
		{"354 slow", "h", "d.example", ""},
	} {
		got := ""
		if rule := rules.Match(&Refusal{Reply: parse(t, row.reply), Host: row.host, Domain: row.domain}); rule != nil {
			got = rule.Name
		}
		if got != row.want {
			t.Errorf("%q of %s for %s: %q, want %q", row.reply, row.host, row.domain, got, row.want)
		}
	}
}

func TestWaitEnds(t *testing.T) {
	rule := &Rule{RetryAfter: time.Minute, Retries: 3}
	for attempts, want := range []time.Duration{time.Minute, time.Minute, time.Minute, 0} {
		if got := rule.Wait(smtp.Reply{}, attempts); got != want {
			t.Errorf("%v after %d attempts, want %v", got, attempts, want)
		}
	}
	rule.Retries = 0
	if got := rule.Wait(parse(t, "450 try again in 3 minutes"), 1000); got != time.Minute {
		t.Errorf("%v: what the configuration says counts", got)
	}
}

func TestString(t *testing.T) {
	for want, rule := range map[string]*Rule{
		"": {}, "bounce": {Action: Bounce}, "next leg, pause the destination for 1h0m0s": {Action: NextLeg, Pause: time.Hour},
		"slow down":                              {Slow: true},
		"defer, retry after 5m0s for 6 attempts": {Action: Defer, RetryAfter: 5 * time.Minute, Retries: 6},
	} {
		if got := rule.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
