package policy

import (
	"net/netip"
	"testing"

	"waypost/relay/smtp"
)

func TestRelay(t *testing.T) {
	rules := &Rules{
		Hostname: "relay.example",
		Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32"), netip.MustParsePrefix("2001:db8::/32")},
		Domains:  []string{"ok.example", ".below.example"},
	}
	stranger, friend := "127.0.0.3", "127.0.0.2"
	for _, tc := range []struct {
		client, path string
		want         bool
	}{
		{friend, "<v@evil.test>", true},
		{"::ffff:127.0.0.2", "<v@evil.test>", true},
		{"2001:db8::7", "<v@evil.test>", true},
		{stranger, "<v@evil.test>", false},
		{stranger, "<v@ok.example>", true},
		{stranger, "<v@OK.EXAMPLE>", true},
		{stranger, "<v@ok。example>", true},
		{stranger, "<v@sub.ok.example>", false},
		{stranger, "<v@notok.example>", false},
		{stranger, "<v@a.below.example>", true},
		{stranger, "<v@below.example>", true},
		{stranger, "<v@notbelow.example>", false},
		{stranger, "<v@ok.ex\u0430mple>", false}, // a Cyrillic letter
		{stranger, "<v%evil.test@relay.example>", false},
		{stranger, "<v%evil.test@ok.example>", true}, // an opaque mailbox there
		{stranger, "<ok.example!evil.test!v@relay.example>", false},
		{stranger, "<@ok.example,@relay.example:v@evil.test>", false},
		{stranger, `<"v@evil.test"@relay.example>`, false},
		{stranger, `<"v@ok.example"@evil.test>`, false},
		{stranger, `<"v@evil.test"@ok.example>`, true},
		{stranger, "<v@[192.0.2.1]>", false},
		{stranger, "<v@[127.0.0.1]>", false},
		{stranger, "<v@[IPv6:::ffff:127.0.0.1]>", false},
		{stranger, "<postmaster>", true},
		{stranger, "<Postmaster@relay.example>", true},
		{stranger, "<abuse@relay.example>", false},
		{stranger, "<postmaster@evil.test>", false},
	} {
		path, rest, err := smtp.ParsePath(tc.path, true)
		if err != nil || rest != "" {
			t.Errorf("%s does not parse: %v", tc.path, err)
			continue
		}
		if d := rules.Relay(netip.MustParseAddr(tc.client), path); d.Allowed != tc.want {
			t.Errorf("%s from %s: %+v, want %v", tc.path, tc.client, d, tc.want)
		}
	}
}
