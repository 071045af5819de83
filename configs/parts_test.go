package configs

import (
	"crypto/x509"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestParseVia(t *testing.T) {
	for text, want := range map[string]Via{
		"mx:":                            {Scheme: ViaMX},
		"MX:":                            {Scheme: ViaMX},
		"smtp://10.0.0.5:2525":           {Scheme: ViaSMTP, Host: "10.0.0.5", Port: 2525},
		"smtp://mail.example.org":        {Scheme: ViaSMTP, Host: "mail.example.org", Port: 25},
		"SMTP://mail_server:587":         {Scheme: ViaSMTP, Host: "mail_server", Port: 587},
		"smtp://[2001:db8::5]":           {Scheme: ViaSMTP, Host: "2001:db8::5", Port: 25},
		"smtp://[2001:db8::5]:65535":     {Scheme: ViaSMTP, Host: "2001:db8::5", Port: 65535},
		"smtp://[::ffff:127.0.0.1]:2525": {Scheme: ViaSMTP, Host: "::ffff:127.0.0.1", Port: 2525},
		"smtp://[mail.example.org]:587":  {Scheme: ViaSMTP, Host: "mail.example.org", Port: 587},
		"smtp://[10.0.0.5]":              {Scheme: ViaSMTP, Host: "10.0.0.5", Port: 25},
		"smtp://[IPv6:2001:db8::5]":      {Scheme: ViaSMTP, Host: "2001:db8::5", Port: 25},
		"mx:example.org":                 {Scheme: ViaMX, Host: "example.org"},
		"smtps://mail.example.org":       {Scheme: ViaSMTPS, Host: "mail.example.org", Port: 465},
		"lmtp://10.0.0.5":                {Scheme: ViaLMTP, Host: "10.0.0.5", Port: 24},
		"lmtp://[::1]:2003":              {Scheme: ViaLMTP, Host: "::1", Port: 2003},
		"lmtp+unix:///run/dovecot/lmtp":  {Scheme: ViaLMTPUnix, Path: "/run/dovecot/lmtp"},
		"discard:":                       {Scheme: ViaDiscard},
		"reject:":                        {Scheme: ViaReject},
		"reject:5.1.1 ask a@b.example":   {Scheme: ViaReject, Text: "5.1.1 ask a@b.example"},
	} {
		got, err := ParseVia(text)
		if err != nil || got != want {
			t.Errorf("ParseVia(%q) = %+v, %v; want %+v", text, got, err, want)
		}
		if again, err := ParseVia(got.String()); err != nil || again != want {
			t.Errorf("%q is written %q and comes back as %+v, %v", text, got, again, err)
		}
	}
}

func TestLoopbackHops(t *testing.T) {
	for text, want := range map[string]bool{
		"smtp://127.0.0.1": true, "smtp://127.1.2.3:587": true, "smtp://[::1]:25": true, "smtp://localhost": true, "smtp://LOCALHOST": true,
		"smtp://[::ffff:127.0.0.1]": true, "smtp://10.0.0.1": false, "smtp://localhost.example.org": false, "mx:": false,
		"lmtp+unix:///run/lmtp": true, "lmtp://127.0.0.1": true, "mx:localhost": false, "discard:": false,
	} {
		hop, err := ParseVia(text)
		if err != nil || hop.IsLoopback() != want {
			t.Errorf("%s is loopback: %t (%v), want %t", text, hop.IsLoopback(), err, want)
		}
	}
}

func TestParseNetwork(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.0/8": "10.0.0.0/8", "10.1.2.3/8": "10.0.0.0/8", "10.1.2.3": "10.1.2.3/32", "::1": "::1/128", "fd00::1/8": "fd00::/8",
		"::ffff:10.1.2.3": "10.1.2.3/32", "::ffff:10.0.0.0/104": "10.0.0.0/8",
	} {
		got, err := ParseNetwork(text)
		if err != nil || got != netip.MustParsePrefix(want) {
			t.Errorf("ParseNetwork(%q) = %v, %v; want %s", text, got, err, want)
		}
	}
}

func TestParseServer(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.53": "192.0.2.53:53", "192.0.2.53:5353": "192.0.2.53:5353", "2001:db8::53": "[2001:db8::53]:53",
		"[2001:db8::53]:5353": "[2001:db8::53]:5353", "fe80::1%eth0": "[fe80::1%eth0]:53",
	} {
		got, err := ParseServer(text)
		if err != nil || got.String() != want {
			t.Errorf("ParseServer(%q) = %v, %v; want %s", text, got, err, want)
		}
	}
}

func TestNearest(t *testing.T) {
	keys := newSchema().keys
	for wrong, want := range map[string]string{
		"relay.netwoks": "relay.networks", "hostnam": "hostname", "host_name": "hostname", "lifetime": "queue.lifetime",
		"queue.message_size": "limits.message_size", "limits.max_recipients": "limits.recipients", "zzz": "", "": "",
		"listener.cert": "", "log.levels": "log.level", "datadir": "data_dir",
	} {
		if got := nearest(wrong, keys); got != want {
			t.Errorf("the nearest to %q is %q, want %q", wrong, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "abc", 0}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}, {"ab", "ba", 2},
	} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestProblemText(t *testing.T) {
	for want, p := range map[string]Problem{
		`waypost.toml:12:3: unknown key "relay.netwoks" (did you mean "relay.networks"?)`: {File: "waypost.toml", Row: 12, Column: 3, Text: `unknown key "relay.netwoks"`, Suggestion: "relay.networks"},
		`WAYPOST_X: unknown environment variable`:                                         {File: "WAYPOST_X", Text: "unknown environment variable"},
		`hostname: is wrong`: {Key: "hostname", Text: "hostname: is wrong"},
	} {
		if got := p.String(); got != want {
			t.Errorf("%+v is written %q, want %q", p, got, want)
		}
	}
}

// TestTableOfALastTable has a problem name the table that it is in.
func TestTableOfALastTable(t *testing.T) {
	d := newDraft(Config{})
	if !d.read("waypost.toml", []byte("[[route]]\n[[route]]\n[route.xxxxxxxx]\nname = 'x'\n")) {
		t.Fatal("not TOML")
	}
	want := Problem{File: "waypost.toml", Row: 3, Column: 2, Key: "route[1].xxxxxxxx", Text: `unknown table "route.xxxxxxxx"`}
	if len(d.problems) != 1 || d.problems[0] != want {
		t.Errorf("problems %+v, want %+v", d.problems, want)
	}
}

// TestExpiryIsSeenAhead has two weeks to renew a certificate.
func TestExpiryIsSeenAhead(t *testing.T) {
	end := time.Date(2026, 6, 30, 0, 0, 0, 0, time.UTC)
	leaf := &x509.Certificate{NotBefore: end.AddDate(0, -3, 0), NotAfter: end}
	for before, want := range map[time.Duration]string{
		15 * 24 * time.Hour: "", 13 * 24 * time.Hour: "expires soon, on 2026-06-30", -time.Hour: "expired on", 200 * 24 * time.Hour: "not valid before",
	} {
		v := validation{}
		v.validity("tls.certificate", "tls.crt", leaf, end.Add(-before))
		got := ""
		for _, w := range v.warnings {
			got += w.Text
		}
		if (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%v before the end: %q, want %q", before, got, want)
		}
	}
}

func TestPlace(t *testing.T) {
	c := must(t, "[relay]\nnetworks = [\n'10.0.0.1',\n'10.0.0.2']\n", "WAYPOST_RELAY_DOMAINS=a.example,b.example")
	for path, want := range map[string]string{
		"relay.networks[1]": "waypost.toml:4", "relay.networks": "waypost.toml:2", "relay.domains[1]": "WAYPOST_RELAY_DOMAINS",
		"relay.users_file": "waypost.toml:1", "hostname": "", "queue.retry[0]": "",
	} {
		if got := c.Place(path); got != want {
			t.Errorf("%s is at %q, want %q", path, got, want)
		}
	}
}
