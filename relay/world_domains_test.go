package relay

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"waypost/configs"
	"waypost/metrics"
	"waypost/relay/relaytest"
	"waypost/resolver/dnstest"
)

// Hosts of TestWorld, by the last number of their address.
const (
	good     = 5
	spare    = 6
	down     = 7 // nothing listens
	says554  = 8
	says421  = 9
	closes   = 10
	resets   = 11
	crowd    = 12 // stands behind hundreds of names
	internal = 13 // not among the networks that mail may reach
)

// domain is one domain of TestWorld. Its name stands in its records as @.
type domain struct {
	name string
	// shows are the numbers in CONFORMANCE.md that it is about.
	shows string
	zone  string // records, separated by semicolons
	// rcpt replaces the recipient, r@name.example.
	rcpt string
	// behave scripts the DNS for these names.
	behave map[string]dnstest.Behaviour
	// What comes of the mail: the host that gets it, or the status of the
	// report, or that of the deferral.
	to       int
	bounce   string
	deferred string
	text     string // in the report, or in the queue
}

func domains() []domain {
	servfail := dnstest.Behaviour{Rcode: dns.RcodeServerFailure}
	return []domain{
		{name: "plain", shows: "5321-5.1-g 1123-5.2.1-a", zone: "@ MX 10 mx.@; mx.@ A $5", to: good},
		{name: "preference", shows: "5321-5.1-g", zone: "@ MX 20 mx2.@; @ MX 10 mx1.@; mx2.@ A $6; mx1.@ A $5", to: good},
		{name: "addresses", shows: "5321-5.1-g 1123-5.3.4-a", zone: "@ MX 10 mx.@; mx.@ A $7; mx.@ A $6", to: spare},
		{name: "first-refuses", shows: "1123-5.3.4-a", zone: "@ MX 10 mx1.@; @ MX 20 mx2.@; mx1.@ A $7; mx2.@ A $6", to: spare},
		{name: "first-says-554", zone: "@ MX 10 mx1.@; @ MX 20 mx2.@; mx1.@ A $8; mx2.@ A $6", to: spare},
		{name: "first-says-421", zone: "@ MX 10 mx1.@; @ MX 20 mx2.@; mx1.@ A $9; mx2.@ A $6", to: spare},
		{name: "first-closes", zone: "@ MX 10 mx1.@; @ MX 20 mx2.@; mx1.@ A $10; mx2.@ A $6", to: spare},
		{name: "first-resets", zone: "@ MX 10 mx1.@; @ MX 20 mx2.@; mx1.@ A $11; mx2.@ A $6", to: spare},
		{name: "first-unknown", zone: "@ MX 10 mx1.@; @ MX 20 mx2.@; mx2.@ A $6", to: spare},
		{name: "first-servfail", shows: "N-08", zone: "@ MX 10 mx1.@; @ MX 20 mx2.@; mx2.@ A $6",
			behave: map[string]dnstest.Behaviour{"mx1.@": servfail}, to: spare},
		{name: "first-internal", shows: "N-02", zone: "@ MX 10 mx1.@; @ MX 20 mx2.@; mx1.@ A $13; mx2.@ A $6", to: spare},
		{name: "implicit", shows: "5321-5.1-d N-07", zone: "@ A $5", to: good},
		{name: "mx-alias", shows: "2181-10.3-a", zone: "@ MX 10 mx.@; mx.@ CNAME host.@; host.@ A $5", to: good},
		{name: "alias", shows: "5321-5.1-b", zone: "@ CNAME else.@; else.@ MX 10 mx.@; mx.@ A $5", to: good},
		{name: "alias-implicit", zone: "@ CNAME else.@; else.@ A $5", to: good},
		{name: "null-among-others", shows: "7505-c N-06", zone: "@ MX 0 .; @ MX 10 mx.@; mx.@ A $5", to: good},
		{name: "upper", shows: "5321-2.4-a", zone: "@ MX 10 MX.@; mx.@ A $5", rcpt: "r@UPPER.Example", to: good},
		{name: "xn--bcher-kva", zone: "@ MX 10 mx.@; mx.@ A $5", to: good},
		{name: "truncated", zone: "@ MX 10 mx.@; mx.@ A $5", behave: map[string]dnstest.Behaviour{"@": {Truncate: true}}, to: good},
		{name: "literal", rcpt: "r@[127.7.1.5]", to: good},
		{name: "before-us", shows: "5321-5.1-h", zone: "@ MX 10 mx1.@; @ MX 20 relay.example; @ MX 30 mx3.@; mx1.@ A $5; mx3.@ A $6", to: good},

		{name: "null-mx", shows: "7505-a N-06", zone: "@ MX 0 .; @ A $5", bounce: "5.1.10", text: "takes no mail"},
		{name: "nowhere", shows: "5321-5.1-c N-07", bounce: "5.1.2", text: "no such domain"},
		{name: "alias-to-nowhere", zone: "@ CNAME else.@", bounce: "5.1.2", text: "no such domain"},
		{name: "text-only", shows: "N-07", zone: "@ TXT hello", bounce: "5.4.4", text: "no usable address"},
		{name: "hosts-unknown", shows: "5321-5.1-e", zone: "@ MX 10 mx1.@; @ MX 20 mx2.@; mx2.@ TXT hello; @ A $5", bounce: "5.4.4", text: "no usable address"},
		{name: "mx-is-address", shows: "5321-5.1-f", zone: "@ MX 10 127.7.1.5", bounce: "5.4.4", text: "no usable address"},
		{name: "internal", shows: "N-02", zone: "@ MX 10 mx.@; mx.@ A $13", bounce: "5.4.4", text: "private"},
		{name: "internal-literal", rcpt: "r@[127.7.1.13]", bounce: "5.4.4", text: "private"},
		{name: "us-alone", shows: "5321-5.1-h D-11", zone: "@ MX 10 relay.example", bounce: "5.4.6", text: "loops back"},
		{name: "us-equal", zone: "@ MX 10 mx.@; @ MX 10 relay.example; mx.@ A $5", bounce: "5.4.6", text: "loops back"},
		{name: "us-better", shows: "5321-5.1-h D-11", zone: "@ MX 10 relay.example; @ MX 20 mx.@; mx.@ A $5", bounce: "5.4.6", text: "loops back"},

		{name: "servfail", shows: "5321-5.1-c N-07", zone: "@ MX 10 mx.@; mx.@ A $5", behave: map[string]dnstest.Behaviour{"@": servfail}, deferred: "4.4.3", text: "servfail.example"},
		{name: "refused", shows: "N-07", zone: "@ MX 10 mx.@; mx.@ A $5", behave: map[string]dnstest.Behaviour{"@": {Rcode: dns.RcodeRefused}}, deferred: "4.4.3", text: "refused.example"},
		{name: "lame", zone: "@ MX 10 mx.@; mx.@ A $5", behave: map[string]dnstest.Behaviour{"@": {Lame: true}}, deferred: "4.4.3", text: "lame.example"},
		{name: "no-tcp", zone: "@ MX 10 mx.@; mx.@ A $5", behave: map[string]dnstest.Behaviour{"@": {Truncate: true, RefuseTCP: true}}, deferred: "4.4.3", text: "no-tcp.example"},
		{name: "hosts-servfail", shows: "5321-5.1-e N-08", zone: "@ MX 10 mx1.@; @ MX 20 mx2.@; @ A $5", behave: map[string]dnstest.Behaviour{"mx1.@": servfail},
			deferred: "4.4.3", text: "mx1.hosts-servfail.example"},
		{name: "alias-loop", shows: "N-05", zone: "@ CNAME else.@; else.@ CNAME @", deferred: "4.4.3", text: "aliases"},
		{name: "all-down", zone: "@ MX 10 mx1.@; @ MX 20 mx2.@; mx1.@ A $7; mx2.@ A $7", deferred: "4.4.1", text: "refused"},
		{name: "all-say-554", zone: "@ MX 10 mx.@; mx.@ A $8", deferred: "4.7.1", text: "554 5.7.1 go away"},
		{name: "behind-us", zone: "@ MX 10 mx1.@; @ MX 20 relay.example; @ MX 30 mx3.@; mx1.@ A $7; mx3.@ A $5", deferred: "4.4.1", text: "refused"},
		{name: "crowd", shows: "N-01", zone: many(500), deferred: "4.7.1", text: "554 5.7.1 full"},
	}
}

// many is a domain with hundreds of mail hosts.
func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "@ MX %d mx%d.@; mx%d.@ A $12;", i, i, i)
	}
	return b.String()
}

// TestWorld sends a message to each of some forty domains. Each ends as delivered,
// reported or waiting, and nothing in its content has changed.
//
// 5321-6.2-a 5322-3.6.6-a
func TestWorld(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "127.7.1", 0, func(_ *world, c *configs.Config) {
		// All but 127.7.1.12 and above, and that one.
		c.Delivery.AllowPrivate = []string{"127.7.1.0/29", "127.7.1.8/30", "127.7.1.12/32"}
	})
	hosts := map[int]*relaytest.Sink{}
	for _, host := range []int{good, spare, says554, says421, closes, resets, crowd, internal} {
		hosts[host] = w.sink(t, host)
	}
	hosts[says554].On("CONNECT", relaytest.Action{Reply: "554 5.7.1 go away"})
	hosts[says421].On("CONNECT", relaytest.Action{Reply: "421 4.3.2 not now", Drop: true})
	hosts[closes].On("CONNECT", relaytest.Action{Silent: true, Drop: true})
	hosts[resets].On("CONNECT", relaytest.Action{Silent: true, Reset: true})
	hosts[crowd].On("CONNECT", relaytest.Action{Reply: "554 5.7.1 full"})
	all := domains()
	t.Run("domains", func(t *testing.T) {
		for _, d := range all {
			t.Run(strings.TrimSpace(d.shows+" "+d.name), func(t *testing.T) {
				t.Parallel()
				w.in(t).visit(d, hosts)
			})
		}
	})
	delivered, bounced, deferred := tally(all)
	if got := hosts[good].Count() + hosts[spare].Count(); got != delivered {
		t.Errorf("%d messages came to hosts, want %d", got, delivered)
	}
	if got := w.home.Count(); got != bounced {
		t.Errorf("%d reports came home, want %d", got, bounced)
	}
	stats := w.queue.Stats()
	if int(stats.Messages) != deferred || int(stats.Deferred) != deferred {
		t.Errorf("%d messages in the queue, %d deferred, want %d", stats.Messages, stats.Deferred, deferred)
	}
	if n := hosts[internal].Connections(); n != 0 {
		t.Errorf("%d connections to a host that may not be reached", n)
	}
	if n := hosts[crowd].Connections(); n < 2 || n > 10 {
		t.Errorf("%d connections for a domain with hundreds of hosts", n)
	}
}

func tally(all []domain) (delivered, bounced, deferred int) {
	for _, d := range all {
		switch {
		case d.to != 0:
			delivered++
		case d.bounce != "":
			bounced++
		default:
			deferred++
		}
	}
	return delivered, bounced, deferred
}

// visit sends one message to a domain and checks what becomes of it.
func (w *world) visit(d domain, hosts map[int]*relaytest.Sink) {
	w.t.Helper()
	name, from := d.name+".example", d.name+"@home.example"
	for line := range strings.SplitSeq(d.zone, ";") {
		if line = strings.TrimSpace(line); line != "" {
			w.zone(strings.ReplaceAll(line, "@", name))
		}
	}
	for at, behaviour := range d.behave {
		w.dns.Set(strings.ReplaceAll(at, "@", name), behaviour)
	}
	rcpt := d.rcpt
	if rcpt == "" {
		rcpt = "r@" + name
	}
	id := w.send(from, hello, rcpt)
	switch {
	case d.to != 0:
		w.settled(id, rcpt, "sent")
		w.gone(id)
		m := arrived(w.t, hosts[d.to], rcpt)
		if got := below(w.t, m.Content); got != hello || m.From != from || len(m.To) != 1 {
			w.t.Errorf("from %q to %q: %q", m.From, m.To, got)
		}
	case d.bounce != "":
		w.settled(id, rcpt, "bounced")
		w.gone(id)
		readReport(w.t, arrived(w.t, w.home, from)).check(w.t, "failed", rcpt, d.bounce, d.text)
	default:
		w.deferred(id, rcpt, d.deferred, d.text)
	}
}

// report is a delivery status notification, taken apart.
type report struct {
	human    string   // in one line
	status   []string // the fields, one a line
	returned string
}

// readReport takes a report apart with the parsers of the standard library.
func readReport(t testing.TB, m relaytest.Message) report {
	t.Helper()
	if m.From != "" {
		t.Fatalf("a report from %q", m.From)
	}
	msg, err := mail.ReadMessage(bytes.NewReader(m.Content))
	if err != nil {
		t.Fatal(err)
	}
	kind, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Fatalf("content type %q, %v", msg.Header.Get("Content-Type"), err)
	}
	var parts []string
	for r := multipart.NewReader(msg.Body, params["boundary"]); ; {
		part, err := r.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, string(text))
	}
	if len(parts) != 3 {
		t.Fatalf("%d parts:\n%s", len(parts), m.Content)
	}
	unfolded := strings.NewReplacer("\r\n ", " ", "\r\n\t", " ").Replace(parts[1])
	return report{
		human: strings.Join(strings.Fields(parts[0]), " "), status: strings.Split(unfolded, "\r\n"), returned: parts[2],
	}
}

// check checks what a report says of one recipient.
func (r report) check(t testing.TB, action, rcpt, status, text string) {
	t.Helper()
	kind := "rfc822; "
	if strings.ContainsFunc(rcpt, func(c rune) bool { return c > 0x7f }) {
		kind = "utf-8; "
	}
	for _, field := range []string{"Final-Recipient: " + kind + rcpt, "Action: " + action, "Status: " + status} {
		if !slices.Contains(r.status, field) {
			t.Errorf("no %q in the report:\n%s", field, strings.Join(r.status, "\n"))
		}
	}
	if !strings.Contains(r.human, "<"+rcpt+">") || !strings.Contains(r.human, text) {
		t.Errorf("the report does not tell of %s, %q: %s", rcpt, text, r.human)
	}
	if !strings.Contains(r.returned, "Subject: hello") {
		t.Errorf("the report returns %q", r.returned)
	}
}

// TestWorldReportsAreNotAnswered: a report that cannot be delivered ends here.
//
// D-02 5321-4.5.4-a 1123-5.3.3-a
func TestWorldReportsAreNotAnswered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "127.7.5", 0, nil)
	id := w.send("s@nowhere.example", hello, "r@nowhere.example")
	w.settled(id, "r@nowhere.example", "bounced")
	line := w.log.wait(t, " msg=delivery ", " rcpt=s@nowhere.example ")
	if !strings.Contains(line, " status=bounced ") {
		t.Errorf("the report: %s", line)
	}
	if n := w.reports(metrics.ReportFailure); n != 1 || w.queue.Stats().Messages != 0 {
		t.Errorf("%d reports, %d messages left", n, w.queue.Stats().Messages)
	}
}
