package policy

import (
	"net/netip"
	"testing"

	"waypost/relay/smtp"
)

// 2505-a: by address, login, certificate and recipient.
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
		if d := rules.Relay(Client{Addr: netip.MustParseAddr(tc.client)}, path); d.Allowed != tc.want {
			t.Errorf("%s from %s: %+v, want %v", tc.path, tc.client, d, tc.want)
		}
	}
}

func path(t *testing.T, s string) smtp.Path {
	t.Helper()
	p, rest, err := smtp.ParsePath(s, true)
	if err != nil || rest != "" {
		t.Fatalf("%s does not parse: %v", s, err)
	}
	return p
}

func TestLoginsRelay(t *testing.T) {
	rules := &Rules{Hostname: "relay.example", Domains: []string{"ok.example"}, LoginsMayRelay: true,
		Place: func(key string) string { return "at " + key }}
	stranger, user := Client{Addr: netip.MustParseAddr("192.0.2.1")}, Client{Addr: netip.MustParseAddr("192.0.2.1"), Login: "u"}
	evil := path(t, "<v@evil.test>")
	if d := rules.Relay(user, evil); !d.Allowed || d.Place != "at relay.logins_may_relay" {
		t.Errorf("%+v", d)
	}
	if d := rules.Relay(stranger, evil); d.Allowed || d.Reply.Code != 550 {
		t.Errorf("%+v", d)
	}
	if d := rules.Relay(stranger, path(t, "<v@ok.example>")); !d.Allowed || d.Place != "at relay.domains[0]" {
		t.Errorf("%+v", d)
	}
	rules.LoginsMayRelay = false
	if d := rules.Relay(user, evil); d.Allowed {
		t.Errorf("%+v", d)
	}
}

// 6409-6.1-a A-11: whose address it is.
func TestSender(t *testing.T) {
	rules := &Rules{Logins: []Login{
		{Name: "*", Senders: []string{"{login}", "shared@ok.example"}},
		{Name: "app", Senders: []string{".app.example", "ok.example"}},
		{Name: "none"},
	}}
	for _, tc := range []struct {
		login, sender string
		want          bool
	}{
		{"", "<anyone@evil.test>", true},
		{"a@ok.example", "<a@ok.example>", true},
		{"a@ok.example", "<A@OK.example>", true},
		{"a@ok.example", "<b@ok.example>", false},
		{"a@ok.example", "<shared@ok.example>", true},
		{"a@ok.example", "<>", true},
		{"app", "<x@app.example>", true},
		{"app", "<x@a.app.example>", true},
		{"app", "<x@ok.example>", true},
		{"app", "<x@a.ok.example>", false},
		{"app", "<shared@else.example>", false},
		{"app", `<"x@ok.example"@evil.test>`, false},
		{"none", "<none@ok.example>", false},
		{"none", "<>", true},
		{"*", "<x@evil.test>", false},
	} {
		d := rules.Sender(Client{Login: tc.login}, path(t, tc.sender))
		if d.Allowed != tc.want || !d.Allowed && d.Reply.Code != 553 {
			t.Errorf("%s as %s: %+v", tc.login, tc.sender, d)
		}
	}
	if d := (&Rules{}).Sender(Client{Login: "u"}, path(t, "<x@evil.test>")); !d.Allowed {
		t.Errorf("without rules: %+v", d)
	}
}

func TestAuthor(t *testing.T) {
	rules := &Rules{Logins: []Login{
		{Name: "*", Senders: []string{"{login}", "shared@ok.example"}, CheckFrom: true},
		{Name: "free", Senders: []string{"{login}"}},
	}}
	for _, tc := range []struct {
		login   string
		authors []string
		want    bool
	}{
		{"", []string{"<x@evil.test>"}, true},
		{"free", []string{"<x@evil.test>"}, true},
		{"a@ok.example", []string{"<A@ok.example>"}, true},
		{"a@ok.example", []string{"<a@ok.example>", "<shared@ok.example>"}, true},
		{"a@ok.example", []string{"<a@ok.example>", "<b@ok.example>"}, false},
		{"a@ok.example", []string{"<>"}, false},
		{"a@ok.example", nil, false},
	} {
		client := Client{Login: tc.login}
		var all []smtp.Path
		for _, a := range tc.authors {
			all = append(all, path(t, a))
		}
		d := rules.Author(client, all)
		if d.Allowed != tc.want || !d.Allowed && (d.Reply.Code != 550 || !rules.ChecksAuthor(client)) {
			t.Errorf("%q as %q: %+v", tc.login, tc.authors, d)
		}
	}
	if rules.ChecksAuthor(Client{}) || rules.ChecksAuthor(Client{Login: "free"}) {
		t.Error("who wrote it matters where nobody asked")
	}
}

func TestCertificatesRelay(t *testing.T) {
	rules := &Rules{Certificates: []string{"app.example", ".cluster.example", "ops@ok.example"}}
	for name, want := range map[string]bool{
		"app.example": true, "APP.example": true, "x.app.example": false, "a.cluster.example": true, "a.b.cluster.example": true,
		"cluster.example": false, "notcluster.example": false, "ops@ok.example": true, "x@a.cluster.example": false, "": false,
	} {
		d := rules.Relay(Client{Certificates: []string{"other.example", name}}, path(t, "<v@evil.test>"))
		if d.Allowed != want {
			t.Errorf("%q: %+v", name, d)
		}
	}
}
