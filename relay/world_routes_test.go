package relay

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"waypost/configs"
	"waypost/metrics"
	"waypost/relay/relaytest"
)

// to returns a route for recipients, with opportunistic TLS.
func to(pattern string, via ...string) configs.Route {
	return configs.Route{To: pattern, Via: configs.Legs(via...), TLS: configs.TLSOpportunistic}
}

// hop returns a next hop on the world's port.
func (w *world) hop(host string) string { return fmt.Sprintf("smtp://%s:%d", host, w.port) }

// TestWorldRoutes: which host a message goes to, by the routes. The first that
// matches wins.
func TestWorldRoutes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "127.7.6", 0, func(w *world, c *configs.Config) {
		c.Delivery.AllowPrivate = []string{w.at(1), w.at(10)} // named next hops need no leave
		fromVIP := to("*", w.hop(w.at(8)))
		fromVIP.From = "vip@home.example"
		fromBranch := to("*", w.hop(w.at(9)))
		fromBranch.From = "branch.example"
		c.Routes = []configs.Route{
			to("home.example", "mx:"),
			to("boss@mixed.example", w.hop(w.at(5))),
			to("mixed.example", w.hop(w.at(6))),
			to("by-name.example", w.hop("smart.example")),
			to("by-address.example", w.hop(w.at(5))),
			to(".below.example", w.hop(w.at(6))),
			to("by-mx.example", "mx:"),
			to("fallback.example", w.hop(w.at(20)), w.hop(w.at(7))),
			to("mx-first.example", "mx:", w.hop(w.at(7))),
			to("bad-name.example", w.hop("smart.nowhere.example")),
			to("bad-name-first.example", w.hop("smart.nowhere.example"), w.hop(w.at(7))),
			fromVIP, fromBranch,
		}
	})
	sinks := map[int]*relaytest.Sink{}
	for _, host := range []int{5, 6, 7, 8, 9, 10} {
		sinks[host] = w.sink(t, host)
	}
	// A named host is that host, whatever MX records it has.
	w.zone("smart.example A $7", "smart.example MX 10 mx.by-mx.example", "by-mx.example MX 10 mx.by-mx.example", "mx.by-mx.example A $10",
		"other.example MX 10 mx.by-mx.example", "mx-first.example MX 10 mx.mx-first.example", "mx.mx-first.example A $10")
	for _, row := range []struct {
		rcpt, from string
		to         int // 0: deferred
	}{
		{rcpt: "r@by-name.example", to: 7},
		{rcpt: "r@by-address.example", to: 5},
		{rcpt: "r@By-Address.EXAMPLE", to: 5},
		{rcpt: "r@by-mx.example", to: 10},
		{rcpt: "r@below.example", to: 6},
		{rcpt: "r@deep.down.below.example", to: 6},
		{rcpt: "r@not-below.example", from: "vip@home.example", to: 8},
		{rcpt: "boss@mixed.example", to: 5},
		{rcpt: "r@mixed.example", to: 6},
		{rcpt: "r@fallback.example", to: 7},
		{rcpt: "r@mx-first.example", to: 10},
		{rcpt: "r@other.example", to: 10},
		{rcpt: "vip@other.example", from: "vip@home.example", to: 8},
		{rcpt: "s@other.example", from: "someone@branch.example", to: 9},
		{rcpt: "vip@by-address.example", from: "vip@home.example", to: 5},
		{rcpt: "r@bad-name-first.example", to: 7},
		{rcpt: "r@bad-name.example"},
	} {
		from := row.from
		if from == "" {
			from = "s@home.example"
		}
		id := w.send(from, hello, row.rcpt)
		if row.to == 0 {
			w.deferred(id, row.rcpt, "4.4.4", "smart.nowhere.example")
			continue
		}
		w.settled(id, row.rcpt, "sent")
		if m := arrived(t, sinks[row.to], row.rcpt); m.From != from {
			t.Errorf("%s came from %s", row.rcpt, m.From)
		}
	}
	total := 0
	for _, s := range sinks {
		total += s.Count()
	}
	if total != 16 || w.home.Count() != 0 {
		t.Errorf("%d messages came, and %d reports", total, w.home.Count())
	}
}

// TestWorldLegs: each kind of next hop, from a configuration to the mailbox.
func TestWorldLegs(t *testing.T) {
	t.Parallel()
	ca := relaytest.NewCA(t)
	box := relaytest.NewSink(t, filepath.Join(t.TempDir(), "lmtp"), relaytest.WithLMTP())
	box.Add(relaytest.Rule{Verb: "DOT", Mailbox: "full@socket.example", Action: relaytest.Action{Reply: "452 4.2.2 mailbox full"}})
	w := newWorld(t, "127.7.16", 0, func(w *world, c *configs.Config) {
		named := to("named.example", w.hop(w.at(5)))
		named.SourceAddresses, named.Hello = []string{w.at(77)}, "out.example.org"
		spill := to("spill.example", w.hop(w.at(5)), w.hop(w.at(8)))
		spill.FailoverOn = []string{"554"}
		c.Routes = []configs.Route{
			to("socket.example", "lmtp+unix://"+box.Address()),
			to("tcp.example", fmt.Sprintf("lmtp://%s:%d", w.at(6), w.port)),
			to("implicit.example", fmt.Sprintf("smtps://%s:%d", w.at(7), w.port)),
			to("gone.example", "discard:"),
			to("closed.example", "reject:5.1.1 this domain has moved"),
			to("behind.example", "mx:front.example"),
			named, spill,
		}
	})
	plain, lmtp, spare := w.sink(t, 5), w.sink(t, 6, relaytest.WithLMTP()), w.sink(t, 8)
	implicit := w.sink(t, 7, relaytest.WithImplicitTLS(ca.Leaf("x.example")))
	plain.OnRcpt("r@spill.example", "554 5.7.1 not from you")
	w.zone("front.example MX 10 mx.front.example", "mx.front.example A $5")
	for _, row := range []struct {
		rcpt string
		sink *relaytest.Sink
	}{
		{"r@socket.example", box}, {"r@tcp.example", lmtp}, {"r@implicit.example", implicit},
		{"r@behind.example", plain}, {"r@named.example", plain}, {"r@spill.example", spare},
	} {
		id := w.send("s@home.example", hello, row.rcpt)
		w.settled(id, row.rcpt, "sent")
		m := arrived(t, row.sink, row.rcpt)
		if got := below(t, m.Content); got != hello {
			t.Errorf("%s: content changed to %q", row.rcpt, got)
		}
		if named := row.rcpt == "r@named.example"; named != (m.Hello == "out.example.org") {
			t.Errorf("%s: EHLO %s", row.rcpt, m.Hello)
		}
		w.gone(id)
	}
	w.deferred(w.send("s@home.example", hello, "full@socket.example"), "full@socket.example", "4.2.2", "mailbox full")
	id := w.send("s@home.example", hello, "r@gone.example")
	w.settled(id, "r@gone.example", "sent")
	w.gone(id)
	id = w.send("s@home.example", hello, "r@closed.example")
	w.settled(id, "r@closed.example", "bounced")
	if report := string(arrived(t, w.home, "s@home.example").Content); !strings.Contains(report, "this domain has moved") ||
		!strings.Contains(report, "Status: 5.1.1") || strings.Contains(report, "Remote-MTA") {
		t.Errorf("the report is\n%s", report)
	}
}

// TestWorldTLS: TLS where it can be had, and no mail in clear where it must be.
//
// T-11 T-14 3207-b
func TestWorldTLS(t *testing.T) {
	t.Parallel()
	ca := relaytest.NewCA(t)
	w := newWorld(t, "127.7.7", 0, func(w *world, c *configs.Config) {
		for _, level := range []string{configs.TLSRequired, configs.TLSVerified, configs.TLSNone} {
			for _, host := range []string{"offers", "breaks", "clear"} {
				r := to(level+"-"+host+".example", "mx:")
				r.TLS = level
				c.Routes = append(c.Routes, r)
			}
		}
	})
	certificate := relaytest.WithCertificate(ca.Leaf("other.example"))
	offers, breaks, clear := w.sink(t, 5, certificate), w.sink(t, 6, certificate), w.sink(t, 7)
	breaks.On("HANDSHAKE", relaytest.Action{Silent: true, Drop: true})
	for _, row := range []struct {
		domain   string
		sink     *relaytest.Sink
		tls      bool
		deferred string
	}{
		{domain: "offers", sink: offers, tls: true},
		{domain: "breaks", sink: breaks},
		{domain: "clear", sink: clear},
		{domain: "none-offers", sink: offers},
		{domain: "required-offers", sink: offers, tls: true},
		{domain: "required-breaks", sink: breaks, deferred: "handshake"},
		{domain: "required-clear", sink: clear, deferred: "STARTTLS is required and not offered"},
		// Nobody knows our authority, and the name is wrong too.
		{domain: "verified-offers", sink: offers, deferred: "handshake"},
		{domain: "verified-breaks", sink: breaks, deferred: "handshake"},
		{domain: "verified-clear", sink: clear, deferred: "STARTTLS is required and not offered"},
	} {
		name := row.domain + ".example"
		w.zone(name+" MX 10 mx."+name, "mx."+name+" A "+strings.TrimSuffix(row.sink.Address(), fmt.Sprintf(":%d", w.port)))
		before := count(row.sink, "MAIL")
		id := w.send("s@home.example", hello, "r@"+name)
		if row.deferred != "" {
			w.deferred(id, "r@"+name, "4.7.0", row.deferred)
			if n := count(row.sink, "MAIL") - before; n != 0 {
				t.Errorf("%s: MAIL was sent %d times", name, n)
			}
			continue
		}
		w.settled(id, "r@"+name, "sent")
		if m := arrived(t, row.sink, "r@"+name); m.TLS != row.tls {
			t.Errorf("%s: under TLS: %v", name, m.TLS)
		}
	}
	if n := testutil.ToFloat64(w.metrics.TLSHandshakes.WithLabelValues(metrics.DirectionOut, metrics.TLSFailed)); n != 4 {
		t.Errorf("%v failed handshakes counted", n)
	}
}

// TestWorldLogin: a smarthost takes mail after a login. A wrong password
// defers the mail, and is never told.
func TestWorldLogin(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "127.7.8", 0, func(w *world, c *configs.Config) {
		for i, password := range []string{"right-secret", "wrong-secret"} {
			file := filepath.Join(t.TempDir(), "password")
			if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			r := to([]string{"right.example", "wrong.example"}[i], w.hop(w.at(5)))
			r.Username, r.PasswordFile = "relay", file
			c.Routes = append(c.Routes, r)
		}
		c.Routes = append(c.Routes, to("anonymous.example", w.hop(w.at(5))))
	})
	smart := w.sink(t, 5, relaytest.WithAuth("relay", "right-secret"))
	id := w.send("s@home.example", hello, "r@right.example")
	w.settled(id, "r@right.example", "sent")
	if m := arrived(t, smart, "r@right.example"); m.User != "relay" {
		t.Errorf("came from user %q", m.User)
	}
	id = w.send("s@home.example", hello, "r@wrong.example")
	w.deferred(id, "r@wrong.example", "4.7.8", "535 5.7.8")
	// Without a login of its own, mail must not go over another's session.
	id = w.send("s@home.example", hello, "r@anonymous.example")
	w.settled(id, "r@anonymous.example", "bounced")
	arrived(t, w.home, "s@home.example")
	if smart.Count() != 1 || w.home.Count() != 1 {
		t.Errorf("%d messages and %d reports came", smart.Count(), w.home.Count())
	}
	if w.log.has("secret") {
		t.Error("a password stands in the log")
	}
}
