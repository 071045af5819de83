package route

import (
	"strings"
	"testing"

	"waypost/relay/smtp"
)

func path(t *testing.T, s string) smtp.Path {
	t.Helper()
	p, err := smtp.SplitPath(s, true)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestLookup(t *testing.T) {
	smart := func(host string) []Leg { return []Leg{{Kind: Host, Host: host, Port: 25}} }
	table := NewTable([]Route{
		{To: "vip@example.org", Via: smart("vip")},
		{To: "example.org", From: "boss@corp.test", Via: smart("boss")},
		{To: "example.org", From: "<>", Via: smart("bounces")},
		{To: "example.org", Via: smart("all")},
		{To: ".example.org", Via: smart("below")},
		{To: "strict.test", Via: []Leg{{Kind: MX}}, Terms: Terms{TLS: Verified}},
		{To: "plain.test", Via: []Leg{{Kind: MX}}},
		{To: "both.test", Via: []Leg{{Kind: Host, Host: "a", Port: 25}, {Kind: MX}}},
		{To: "user.test", Via: smart("all"), Terms: Terms{Username: "u"}},
		{To: "*", From: ".branch.test", Via: smart("2001:db8::1")},
	})
	for _, tc := range []struct{ from, to, want string }{
		{"s@x.test", "vip@example.org", "smtp://vip:25"},
		{"s@x.test", "VIP@Example.ORG", "smtp://vip:25"},
		{"boss@corp.test", "a@example.org", "smtp://boss:25"},
		{"", "a@example.org", "smtp://bounces:25"},
		{"s@x.test", "a@example.org", "smtp://all:25"},
		{"s@x.test", "a@sub.example.org", "smtp://below:25"},
		{"s@x.test", "a@notexample.org", "notexample.org"},
		{"s@x.test", "a@strict.test", "strict.test (route 6)"},
		{"s@x.test", "a@Plain.test", "plain.test"},
		{"s@x.test", "a@both.test", "smtp://a:25,mx:both.test"},
		{"s@x.test", "a@user.test", "smtp://all:25 (route 9)"},
		{"s@a.branch.test", "a@else.test", "smtp://[2001:db8::1]:25"},
		{"s@branch.test", "a@else.test", "smtp://[2001:db8::1]:25"},
		{"s@nobranch.test", "a@else.test", "else.test"},
		{"", "a@else.test", "else.test"},
		{"s@x.test", "a@[192.0.2.1]", "[192.0.2.1]"},
	} {
		parse := func(s string) smtp.Path { return path(t, s) }
		got := table.Lookup(Mail{Sender: parse(tc.from), Recipient: parse(tc.to)}).Destination(parse(tc.to), 0)
		// The queue finds the mail for a domain by this.
		if domain, _, _ := strings.Cut(got, " "); !strings.Contains(got, ":") && domain != parse(tc.to).DomainKey() {
			t.Errorf("%s waits for %q, which is neither its domain nor a next hop", tc.to, got)
		}
		if got != tc.want {
			t.Errorf("%s to %s goes to %q, want %q", tc.from, tc.to, got, tc.want)
		}
	}
}

// TestLookupByLoginAndClass: what a route leaves open matches all.
func TestLookupByLoginAndClass(t *testing.T) {
	smart := func(host string) []Leg { return []Leg{{Kind: Host, Host: host, Port: 25}} }
	table := NewTable([]Route{
		{To: "a.test", Class: "bulk", Via: smart("bulk")},
		{To: "*", Login: "app", Class: "otp", Via: smart("both")},
		{To: "*", Login: "app", Via: smart("app")},
	})
	to := smtp.Path{Local: "r", Domain: "a.test"}
	for _, tc := range []struct{ login, class, want string }{
		{"", "", "a.test"}, {"", "bulk", "smtp://bulk:25"}, {"app", "bulk", "smtp://bulk:25"}, {"app", "otp", "smtp://both:25"},
		{"app", "", "smtp://app:25"}, {"App", "", "a.test"}, {"other", "otp", "a.test"},
	} {
		if got := table.Lookup(Mail{Recipient: to, Login: tc.login, Class: tc.class}).Destination(to, 0); got != tc.want {
			t.Errorf("login %q, class %q go to %q, want %q", tc.login, tc.class, got, tc.want)
		}
	}
}
