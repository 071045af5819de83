package dialogue

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"
)

// heard are the lines that wait for a reader, each with who said it.
func heard(r *Reader) (all []string) {
	for len(r.Lines) > 0 {
		l := <-r.Lines
		mark := "< "
		switch {
		case l.Note:
			mark = "- "
		case l.Sent:
			mark = "> "
		}
		all = append(all, mark+l.Text)
	}
	return all
}

func TestNobodyReads(t *testing.T) {
	var none *Hub
	if none.Client(netip.Addr{}, nil) != nil || none.Host("x") != nil || New().Client(netip.Addr{}, nil) != nil || New().Host("x") != nil {
		t.Error("a session is recorded that nobody wants")
	}
	var s *Session // of which everything may be said
	s.Command(true, "x")
	s.Reply(true, "x")
	s.Secret(true)
	s.Note("x")
}

func TestChoice(t *testing.T) {
	client, host := netip.MustParseAddr("192.0.2.7"), "mx.b.test[192.0.2.9]:25"
	at := &net.TCPAddr{IP: net.ParseIP("192.0.2.1"), Port: 25} // in the form for IPv6, as a socket for both has it
	listener := func(s string) Filter { return Filter{Listeners: []netip.AddrPort{netip.MustParseAddrPort(s)}} }
	for _, test := range []struct {
		name    string
		f       Filter
		in, out bool
	}{
		{"nothing", Filter{}, false, false},
		{"client", Filter{Clients: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}, true, false},
		{"another client", Filter{Clients: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}}, false, false},
		{"listener", listener("192.0.2.1:25"), true, false},
		{"listener at any address", listener("0.0.0.0:25"), true, false},
		{"listener at any address of both kinds", listener("[::]:25"), true, false},
		{"another listener", listener("192.0.2.2:25"), false, false},
		{"another port", listener("192.0.2.1:587"), false, false},
		{"host", Filter{Destinations: []string{"MX.b.test"}}, false, true},
		{"destination of the recipient", Filter{Destinations: []string{"b.test"}}, false, true},
		{"recipient", Filter{Recipients: []string{"R@B.test"}}, true, true},
		{"domain", Filter{Recipients: []string{"@b.test"}}, true, true},
		{"another recipient", Filter{Recipients: []string{"q@b.test", "c.test"}}, false, false},
	} {
		h := New()
		r := h.Read(test.f, 100)
		in, out := h.Client(client, at), h.Host(host, "mx.b.test")
		in.Command(false, "RCPT TO:<r@b.test> NOTIFY=NEVER")
		if got := heard(r); (len(got) == 2) != test.in {
			if !(test.name == "host" && len(got) == 1) {
				t.Errorf("%s, inbound: %q", test.name, got)
			}
		}
		out.Command(true, "rcpt to:<r@b.test>\r\n")
		if got := heard(r); (len(got) > 0) != test.out {
			t.Errorf("%s, outbound: %q", test.name, got)
		}
		r.Stop()
		if h.Client(client, at) != nil {
			t.Errorf("%s: recorded when everybody has gone", test.name)
		}
	}
}

// TestWhatIsTold has everything told from the beginning, and no secret.
func TestWhatIsTold(t *testing.T) {
	h := New()
	r := h.Read(Filter{Recipients: []string{"r@b.test"}}, 100)
	plain := h.Read(Filter{Recipients: []string{"b.test"}, Pseudonyms: true}, 100)
	s := h.Client(netip.MustParseAddr("192.0.2.7"), nil)
	s.Reply(true, "220 hello")
	s.Command(false, "AUTH PLAIN AHNlY3JldAo=")
	s.Command(false, "auth LOGIN")
	s.Reply(true, "334 VXNlcm5hbWU6")
	s.Secret(false)
	s.Command(false, "MAIL FROM:<s@a.test>")
	if got := heard(r); got != nil {
		t.Errorf("told before it was wanted: %q", got)
	}
	s.Command(false, "RCPT TO:<r@b.test>")
	s.Reply(true, "250 2.1.5 <r@b.test> \xff")
	want := "- session begins\n> 220 hello\n< AUTH PLAIN ***\n< auth LOGIN\n> 334 ***\n< ***\n< MAIL FROM:<s@a.test>\n< RCPT TO:<r@b.test>\n> 250 2.1.5 <r@b.test> ?"
	if got := strings.Join(heard(r), "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	got := strings.Join(heard(plain), "\n")
	users := regexp.MustCompile(`<user-[0-9a-f]{10}@`).FindAllString(got, -1)
	if strings.Contains(got, "r@") || len(users) != 3 || users[1] != users[2] || users[0] == users[1] {
		t.Errorf("with pseudonyms: %q", got)
	}
}

// TestMasked has clients that say their password where none belongs.
func TestMasked(t *testing.T) {
	for line, want := range map[string]string{
		"AUTH PLAIN AHNlY3JldAo=":         "AUTH PLAIN ***",
		"auth\tplain\tAHNlY3JldAo=":       "auth plain ***",
		"  AUTH  PLAIN  AHNlY3JldAo= x":   "AUTH PLAIN ***",
		"AUTH PLAIN":                      "AUTH PLAIN",
		"AUTH":                            "AUTH",
		"AUTH AHNlY3JldAo=":               "AUTH ***",
		"AUTH secret":                     "AUTH ***",
		"AUTH=PLAIN AHNlY3JldAo=":         "AUTH ***",
		"Auth\x00PLAIN\x00AHNlY3JldAo=":   "Auth ***",
		"AUTH XOAUTH2 dXNlcj1yAWF1dGg9":   "AUTH XOAUTH2 ***",
		"AUTH SCRAM-SHA-256 biwsbj11c2Vy": "AUTH SCRAM-SHA-256 ***",
		"MAIL FROM:<s@a.test> AUTH=<>":    "MAIL FROM:<s@a.test> AUTH=<>",
		"dXNlcg==":                        "dXNlcg==", // no AUTH was said
		"":                                "",
	} {
		s := &Session{}
		if got := s.masked(line); got != want {
			t.Errorf("%q is told as %q, want %q", line, got, want)
		}
		if !s.auth {
			continue
		}
		for line, want := range map[string]string{"c2VjcmV0": "***", "secret word": "***", "*": "***", "=": "***", "quit": "quit", "RCPT TO:<r@b.test>": "RCPT TO:<r@b.test>"} {
			if got := s.masked(line); got != want {
				t.Errorf("then %q is told as %q, want %q", line, got, want)
			}
		}
	}
}

// TestBounds has a session that is never wanted keep little, and a slow reader
// hold nobody up.
func TestBounds(t *testing.T) {
	h := New()
	r := h.Read(Filter{Recipients: []string{"b.test"}}, 10)
	defer r.Stop()
	s := h.Client(netip.Addr{}, nil)
	for i := range 10_000 {
		s.Command(false, fmt.Sprintf("NOOP %d %s", i, strings.Repeat("x", 5000)))
	}
	if len(s.kept) != maxKept || len(s.kept[1].Text) > maxLine {
		t.Errorf("%d lines are kept, of %d octets", len(s.kept), len(s.kept[1].Text))
	}
	s.Command(false, "RCPT TO:<r@b.test>")
	if got := heard(r); len(got) != 10 || got[0] != "- earlier lines were not kept" || r.Missed() == 0 || r.Missed() != 0 {
		t.Errorf("told %q", got)
	}
}
