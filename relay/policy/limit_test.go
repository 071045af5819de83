package policy

import (
	"net/netip"
	"testing"
	"time"
)

func TestLists(t *testing.T) {
	rules := &Rules{
		Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		Deny: Lists{Clients: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, Senders: []string{".spam.example", "<>"},
			Recipients: []string{"trap@ok.example"}},
		Allow: Lists{Clients: []netip.Prefix{netip.MustParsePrefix("10.1.1.1/32")}, Senders: []string{"good@spam.example"}},
	}
	for _, tc := range []struct {
		client, sender, recipient string
		sends, relays             int // the code of the refusal
	}{
		{"10.0.0.1", "<a@ok.example>", "<b@far.example>", 0, 0},
		{"10.1.0.1", "<a@ok.example>", "<b@far.example>", 554, 0},
		{"10.1.1.1", "<a@ok.example>", "<b@far.example>", 0, 0},
		{"::ffff:10.1.0.1", "<a@ok.example>", "<b@far.example>", 554, 0},
		{"10.0.0.1", "<a@x.spam.example>", "<b@far.example>", 550, 0},
		{"10.0.0.1", "<good@spam.example>", "<b@far.example>", 0, 0},
		{"10.0.0.1", "<>", "<trap@ok.example>", 550, 550},
		// To be allowed opens no relay.
		{"192.0.2.1", "<good@spam.example>", "<b@far.example>", 0, 550},
	} {
		client := Client{Addr: netip.MustParseAddr(tc.client)}
		if d := rules.Sender(client, path(t, tc.sender)); d.Reply.Code != tc.sends || d.Allowed != (tc.sends == 0) {
			t.Errorf("%s from %s: %+v", tc.sender, tc.client, d)
		}
		if d := rules.Relay(client, path(t, tc.recipient)); d.Reply.Code != tc.relays || d.Allowed != (tc.relays == 0) {
			t.Errorf("%s from %s: %+v", tc.recipient, tc.client, d)
		}
	}
}

// what counts, and for whom.
func TestLimits(t *testing.T) {
	limits := []Limit{
		{Subject: ByClient, Unit: Messages, Max: 3, Window: time.Minute, Key: "limits.messages_per_client"},
		{Subject: ByLogin, Unit: Recipients, Max: 2, Window: time.Minute, Key: "limits.recipients_per_login"},
		{Subject: BySender, Unit: Bytes, Max: 100, Window: time.Minute, Key: "limits.bytes_per_sender"},
	}
	rules := &Rules{Limiter: NewLimiter(limits, nil), Allow: Lists{Clients: []netip.Prefix{netip.MustParsePrefix("192.0.2.9/32")}}}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	one, two := Client{Addr: netip.MustParseAddr("2001:db8::1"), Login: "u"}, Client{Addr: netip.MustParseAddr("2001:db8::2")}
	exempt := Client{Addr: netip.MustParseAddr("192.0.2.9")}
	sender := path(t, "<a@ok.example>")
	for i, want := range []int{0, 0, 0, 450} {
		client := []Client{one, two}[i%2] // of one /64
		if d := rules.Take(client, sender, Messages, 1, now); d.Reply.Code != want || want != 0 && d.Reason != "limits.messages_per_client 3 in 1m0s" {
			t.Errorf("message %d: %+v", i+1, d)
		}
		if d := rules.Take(exempt, sender, Messages, 1, now); !d.Allowed {
			t.Errorf("message %d of one who has no limits: %+v", i+1, d)
		}
	}
	for i, want := range []int{0, 0, 452} {
		if d := rules.Take(one, sender, Recipients, 1, now); d.Reply.Code != want {
			t.Errorf("recipient %d: %+v", i+1, d)
		}
		if d := rules.Take(two, sender, Recipients, 1, now); !d.Allowed {
			t.Errorf("recipient %d of one without a login: %+v", i+1, d)
		}
	}
	if d := rules.Room(one, sender, Bytes, 101, now); d.Allowed {
		t.Errorf("%+v", d)
	}
	rules.Count(one, sender, Bytes, 60, now)
	if d := rules.Room(one, path(t, "<A@OK.example>"), Bytes, 41, now); d.Allowed {
		t.Errorf("%+v", d)
	}
	if d := rules.Room(one, sender, Bytes, 40, now); !d.Allowed {
		t.Errorf("%+v", d)
	}
	// Another limit on the same goes on from the same count.
	limits[0].Max = 5
	rules.Limiter = NewLimiter(limits, rules.Limiter)
	for i, want := range []int{0, 0, 450} {
		if d := rules.Take(one, sender, Messages, 1, now); d.Reply.Code != want {
			t.Errorf("message %d after the limit was raised: %+v", i+4, d)
		}
	}
	if d := rules.Take(one, sender, Messages, 1, now.Add(3*time.Minute)); !d.Allowed {
		t.Errorf("after some time: %+v", d)
	}
}

func TestNobodyIsTrustedBehindAGateway(t *testing.T) {
	bridge, neighbour := netip.MustParseAddr("172.17.0.1"), netip.MustParseAddr("172.17.0.5")
	rules := &Rules{Networks: []netip.Prefix{netip.MustParsePrefix("172.17.0.0/16")}, Domains: []string{"ok.example"}, Gateways: []netip.Addr{bridge}, LoginsMayRelay: true}
	far, ok := path(t, "<v@far.example>"), path(t, "<v@ok.example>")
	if d := rules.Relay(Client{Addr: bridge}, far); d.Allowed || !d.Gateway || d.Reply.Code != 550 {
		t.Errorf("%+v", d)
	}
	if d := rules.Relay(Client{Addr: neighbour}, far); !d.Allowed {
		t.Errorf("%+v", d)
	}
	if d := rules.Relay(Client{Addr: bridge}, ok); !d.Allowed {
		t.Errorf("%+v", d)
	}
	if d := rules.Relay(Client{Addr: bridge, Login: "u"}, far); !d.Allowed {
		t.Errorf("%+v", d)
	}
	if rules.Trusted(Client{Addr: bridge}) || !rules.Trusted(Client{Addr: neighbour}) {
		t.Error("Trusted says otherwise")
	}
	rules.Networks = nil
	if d := rules.Relay(Client{Addr: bridge}, far); d.Gateway {
		t.Errorf("nobody would have trusted it: %+v", d)
	}
}

// Every subject is limited in every unit, for itself alone, and the window slides:
// when half of the next one is over, half of what was counted has gone.
func TestEveryLimitSlides(t *testing.T) {
	one := Client{Addr: netip.MustParseAddr("192.0.2.1"), Login: "one"}
	other := Client{Addr: netip.MustParseAddr("192.0.2.2"), Login: "other"}
	codes := map[Unit]int{Messages: 450, Recipients: 452, Bytes: 452}
	for _, subject := range []Subject{ByClient, ByLogin, BySender} {
		for unit, code := range codes {
			rules := &Rules{Limiter: NewLimiter([]Limit{{Subject: subject, Unit: unit, Max: 10, Window: time.Minute, Key: "key"}}, nil)}
			now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			mine, theirs := path(t, "<one@a.example>"), path(t, "<other@a.example>")
			take := func(n int64, want int) {
				t.Helper()
				if d := rules.Take(one, mine, unit, n, now); d.Reply.Code != want || d.Allowed != (want == 0) {
					t.Errorf("subject %d, unit %d, %d more: %+v, want %d", subject, unit, n, d, want)
				}
			}
			take(10, 0)
			take(1, code)
			if d := rules.Take(other, theirs, unit, 10, now); !d.Allowed {
				t.Errorf("subject %d, unit %d: somebody else: %+v", subject, unit, d)
			}
			now = now.Add(90 * time.Second)
			take(6, code)
			take(5, 0)
			take(1, code)
			now = now.Add(2 * time.Minute)
			take(10, 0)
		}
	}
}
