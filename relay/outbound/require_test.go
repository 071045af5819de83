package outbound

import (
	"strings"
	"testing"
	"testing/synctest"

	"waypost/queue"
	"waypost/relay/pace"
	"waypost/relay/relaytest"
	"waypost/relay/route"
	"waypost/relay/smtp"
)

// TestReportRequiresTLS: a report asks for the protection of its message, and is
// not lost where that is not to be had. Other mail does not wait for it.
func TestReportRequiresTLS(t *testing.T) {
	m, _ := message(t, queue.Envelope{RequireTLS: true}, short)
	plain, _ := message(t, queue.Envelope{}, short)
	ca := relaytest.NewCA(t)
	keeps, right := relaytest.WithExtensions("REQUIRETLS"), relaytest.WithCertificate(ca.Leaf("smart"))
	for _, row := range []struct {
		name    string
		leg     route.Leg
		options []relaytest.SinkOption
		rule    relaytest.Rule
		status  string // of the first attempt, which is deferred; empty when it is delivered
		text    string
		param   bool // REQUIRETLS goes on in the end
	}{
		{name: "8689-c P-22 kept", leg: hostLeg("smart"), options: []relaytest.SinkOption{keeps, right}, param: true},
		{name: "8689-c P-22 no promise", leg: hostLeg("smart"), options: []relaytest.SinkOption{right}, status: "4.7.30", text: "REQUIRETLS"},
		{name: "8689-c P-22 no TLS", leg: hostLeg("smart"), status: "4.7.0", text: "STARTTLS"},
		{name: "8689-c P-22 TLS refused", leg: hostLeg("smart"), options: []relaytest.SinkOption{right},
			rule: relaytest.Rule{Verb: "STARTTLS", Action: relaytest.Action{Reply: "454 4.7.0 not now"}}, status: "4.7.0", text: "454"},
		{name: "8689-c P-22 hosts not authenticated", leg: mxLeg(), options: []relaytest.SinkOption{keeps, right}, status: "4.7.10", text: "authenticated", param: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				report := *m
				report.ReversePath = smtp.Path{}
				n := &network{}
				s := n.sink(t, "192.0.2.1", row.options...)
				if row.rule.Verb != "" {
					s.Add(row.rule)
				}
				z := &zone{mx: map[string][]string{"b.example": {"smart"}}, addresses: map[string][]string{"smart": {"192.0.2.1"}}}
				o := start(t, n, z, func(o *Options) {
					o.TLS, o.Routes = trusting(ca), route.NewTable([]route.Route{{To: "*", Via: []route.Leg{row.leg}}})
				})
				to := queue.Recipient{Path: path("r@b.example")}
				out := deliverTo(t, t.Context(), o, &report, to)
				if row.status != "" {
					want(t, out.Results[0], queue.Deferred, row.status, row.text)
					if out.Unreachable {
						t.Error("what one message asks for makes the destination unreachable for all")
					}
					delivered(t, deliver(t, t.Context(), o, plain, "r@b.example"))
					to.State, to.Last = queue.Deferred, out.Results[0]
					out = deliverTo(t, t.Context(), o, &report, to)
				}
				delivered(t, out)
				all := s.Messages()
				if got := all[len(all)-1].MailLine; strings.HasSuffix(got, " REQUIRETLS") != row.param {
					t.Error(got)
				}
				// Other mail than reports is not sent with less.
				if row.status != "" {
					mail := *m
					if r := deliverTo(t, t.Context(), o, &mail, to).Results[0]; r.State == queue.Delivered {
						t.Error("mail that requires TLS went without")
					}
				}
			})
		})
	}
}

// TestOthersDoNotPay: that a message asks more of TLS than a host has is no failure
// of its site, which other mail would pay for.
func TestOthersDoNotPay(t *testing.T) {
	m, _ := message(t, queue.Envelope{RequireTLS: true}, short)
	ca := relaytest.NewCA(t)
	for _, row := range []struct {
		name    string
		down    bool
		trouble bool
	}{{"no TLS", false, false}, {"no host", true, true}} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, z := &network{}, &zone{addresses: map[string][]string{"smart": {"192.0.2.1"}}}
				if !row.down {
					n.sink(t, "192.0.2.1", relaytest.WithExtensions("REQUIRETLS"))
				}
				leg := hostLeg("smart")
				o := start(t, n, z, func(o *Options) {
					via(route.Route{Via: []route.Leg{leg}})(o)
					o.TLS = trusting(ca)
				})
				pass, ok := o.Admit("smart", 0, func(string) bool { return true })
				if !ok {
					t.Fatal("not admitted")
				}
				defer pass.End()
				out := deliver(t, queue.WithPass(t.Context(), pass), o, m, "r@b.example")
				want(t, out.Results[0], queue.Deferred, map[bool]string{true: "4.4.1", false: "4.7.0"}[row.down], "")
				if got := o.Pacer.State(pace.Hop{Hosts: []string{"smart"}, Name: leg.String()}); (got.Trouble != "") != row.trouble || !got.Known {
					t.Errorf("the site has the trouble %q", got.Trouble)
				}
			})
		})
	}
}
