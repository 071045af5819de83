package outbound

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"waypost/queue"
	"waypost/relay/relaytest"
	"waypost/relay/route"
	"waypost/relay/smtp"
)

// TestBinaryConverted: binary content goes as it is where it is taken, and
// encoded elsewhere.
//
// 3030-f 6152-b: no octet is lost, and none is sent to who does not take it.
func TestBinaryConverted(t *testing.T) {
	content := "MIME-Version: 1.0\r\nContent-Type: image/x\r\nContent-Transfer-Encoding: binary\r\n\r\na\nb\x00\xff"
	m, _ := message(t, queue.Envelope{EightBit: true, Binary: true}, content)
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		whole := n.sink(t, "192.0.2.1", relaytest.WithExtensions("CHUNKING", "BINARYMIME", "8BITMIME", "PIPELINING"))
		o := start(t, n, two(), nil)
		delivered(t, deliver(t, t.Context(), o, m, "r@b.example"))
		if got := whole.Messages()[0]; string(got.Content) != content {
			t.Errorf("%q", got.Content)
		}
		whole.DropAll()
		synctest.Wait()
		seven := n.sink(t, "192.0.2.1")
		delivered(t, deliver(t, t.Context(), o, m, "r@b.example"))
		if got := string(seven.Messages()[0].Content); !strings.Contains(got, "Content-Transfer-Encoding: base64\r\n") || !strings.HasSuffix(got, "YQpiAP8=\r\n") {
			t.Errorf("%q", got)
		}
	})
}

// TestAddressesWithoutSMTPUTF8: a domain has another form, a local part has
// none; others are not held up by it.
//
// 6531-c 6533-b: such addresses are written in ASCII or not at all.
func TestAddressesWithoutSMTPUTF8(t *testing.T) {
	m, _ := message(t, queue.Envelope{UTF8: true, ReversePath: smtp.Path{Local: "s", Domain: "b\u00fccher.example"}}, short)
	odd, _ := message(t, queue.Envelope{UTF8: true, ReversePath: smtp.Path{Local: "\u00fc", Domain: "a.example"}}, short)
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		s := n.sink(t, "192.0.2.1", relaytest.WithExtensions("PIPELINING", "DSN", "8BITMIME"))
		o := start(t, n, &zone{mx: map[string][]string{"b.example": {"mx1"}}, addresses: two().addresses}, nil)
		out := deliverTo(t, t.Context(), o, m, queue.Recipient{Path: path("r@b.example"), OriginalRecipient: "utf-8;\u00fc@b.example"},
			queue.Recipient{Path: path("\u00fc@b.example")})
		want(t, out.Results[0], queue.Delivered, "2.0.0", "250")
		want(t, out.Results[1], queue.Failed, "5.6.7", "SMTPUTF8")
		got := s.Messages()[0]
		if got.From != "s@xn--bcher-kva.example" || got.RcptLines[0] != `RCPT TO:<r@b.example> ORCPT=utf-8;\x{FC}@b.example` {
			t.Errorf("from %s, %s", got.From, got.RcptLines)
		}
		want(t, deliver(t, t.Context(), o, odd, "r@b.example").Results[0], queue.Failed, "5.6.7", "SMTPUTF8")
	})
}

// TestStructureRefused: what cannot be converted is not sent raw.
//
// 6152-b
func TestStructureRefused(t *testing.T) {
	m, _ := message(t, queue.Envelope{EightBit: true}, strings.Repeat("X-Long: "+strings.Repeat("x", 900)+"\r\n", 400)+"\r\n\xff\r\n")
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		s := n.sink(t, "192.0.2.1", relaytest.WithExtensions("PIPELINING"))
		r := route.Route{Via: []route.Leg{hostLeg("smart")}}
		o := start(t, n, &zone{addresses: map[string][]string{"smart": {"192.0.2.1"}}}, via(r))
		want(t, deliver(t, t.Context(), o, m, "r@b.example").Results[0], queue.Failed, "5.6.3", "structure")
		if s.Count() != 0 {
			t.Error("it was sent")
		}
	})
}

// TestDeliverBy: the time that is left goes on to who promises to keep it. What
// must be returned in time goes to nobody else (RFC 2852 §4).
func TestDeliverBy(t *testing.T) {
	for _, row := range []struct {
		name   string
		offer  string
		by     queue.DeliverBy // Deadline is set for each
		left   time.Duration
		lmtp   bool
		param  string
		tells  bool   // that it was relayed
		status string // of the failure
	}{
		{"2852-b returned, offered", "DELIVERBY", queue.DeliverBy{Return: true}, 2 * time.Minute, false, " BY=120;R", false, ""},
		{"traced, offered", "DELIVERBY 60", queue.DeliverBy{Return: true, Trace: true}, 2 * time.Minute, false, " BY=120;RT", true, ""},
		{"returned, too short", "DELIVERBY 180", queue.DeliverBy{Return: true}, 2 * time.Minute, false, "", false, "5.4.7"},
		{"2852-b returned, not offered", "PIPELINING", queue.DeliverBy{Return: true}, 2 * time.Minute, false, "", false, "5.4.7"},
		{"returned, too late", "DELIVERBY", queue.DeliverBy{Return: true}, -time.Minute, false, "", false, "5.4.7"},
		{"returned, to a mailbox", "PIPELINING", queue.DeliverBy{Return: true}, 2 * time.Minute, true, "", false, ""},
		{"2852-b told, not offered", "PIPELINING", queue.DeliverBy{}, 2 * time.Minute, false, "", true, ""},
		{"returned, within the second", "DELIVERBY", queue.DeliverBy{Return: true}, time.Millisecond, false, " BY=1;R", false, ""},
		{"told in a lifetime", "DELIVERBY", queue.DeliverBy{}, 40 * 365 * 24 * time.Hour, false, " BY=999999999;N", false, ""},
		{"told, late", "DELIVERBY", queue.DeliverBy{}, -time.Minute, false, " BY=-60;N", false, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			m, _ := message(t, queue.Envelope{}, short)
			synctest.Test(t, func(t *testing.T) {
				timed := *m
				timed.DeliverBy = row.by
				timed.DeliverBy.Deadline = time.Now().Add(row.left)
				n := &network{}
				options := []relaytest.SinkOption{relaytest.WithExtensions(row.offer)}
				leg := hostLeg("smart")
				if leg.LMTP = row.lmtp; row.lmtp {
					options = append(options, relaytest.WithLMTP())
				}
				s := n.sink(t, "192.0.2.1", options...)
				o := start(t, n, &zone{addresses: map[string][]string{"smart": {"192.0.2.1"}}}, via(route.Route{Via: []route.Leg{leg}}))
				out := deliver(t, t.Context(), o, &timed, "r@b.example")
				if row.status != "" {
					want(t, out.Results[0], queue.Failed, row.status, "time")
					return
				}
				delivered(t, out)
				if got := s.Messages()[0].MailLine; got != "MAIL FROM:<s@a.example>"+row.param {
					t.Error(got)
				}
				if got := out.Results[0].Relayed; got != row.tells {
					t.Errorf("relayed is told: %t", got)
				}
			})
		})
	}
}

// TestRequireTLS: such mail goes to hosts that are known to be the right ones,
// and that keep to it (RFC 8689 §4.2.1). It has connections of its own.
func TestRequireTLS(t *testing.T) {
	m, _ := message(t, queue.Envelope{RequireTLS: true}, short)
	plain, _ := message(t, queue.Envelope{}, short)
	ca, stranger := relaytest.NewCA(t), relaytest.NewCA(t)
	keeps := relaytest.WithExtensions("REQUIRETLS", "PIPELINING")
	for _, row := range []struct {
		name    string
		leg     route.Leg
		options []relaytest.SinkOption
		state   queue.State
		status  string
		text    string
	}{
		{"8689-b all is well", hostLeg("smart"), []relaytest.SinkOption{keeps, relaytest.WithCertificate(ca.Leaf("smart"))}, queue.Delivered, "2.0.0", "250"},
		{"8689-b unknown authority", hostLeg("smart"), []relaytest.SinkOption{keeps, relaytest.WithCertificate(stranger.Leaf("smart"))}, queue.Deferred, "4.7.0", "authority"},
		{"8689-b P-22 in clear", hostLeg("smart"), []relaytest.SinkOption{keeps}, queue.Deferred, "4.7.0", "STARTTLS"},
		{"8689-b P-22 no promise", hostLeg("smart"), []relaytest.SinkOption{relaytest.WithCertificate(ca.Leaf("smart"))}, queue.Failed, "5.7.30", "REQUIRETLS"},
		{"8689-b P-22 mail hosts not authenticated", mxLeg(), []relaytest.SinkOption{keeps, relaytest.WithCertificate(ca.Leaf("smart"))}, queue.Failed, "5.7.10", "authenticated"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &network{}
				s := n.sink(t, "192.0.2.1", row.options...)
				z := &zone{mx: map[string][]string{"b.example": {"smart"}}, addresses: map[string][]string{"smart": {"192.0.2.1"}}}
				o := start(t, n, z, func(o *Options) {
					o.TLS, o.Routes = trusting(ca), route.NewTable([]route.Route{{To: "*", Via: []route.Leg{row.leg}}})
				})
				delivered(t, deliver(t, t.Context(), o, plain, "r@b.example"))
				before := s.Connections()
				want(t, deliver(t, t.Context(), o, m, "r@b.example").Results[0], row.state, row.status, row.text)
				if row.state == queue.Delivered && (s.Connections() != before+1 || !strings.HasSuffix(s.Messages()[1].MailLine, " REQUIRETLS")) {
					t.Errorf("%d connections, %s", s.Connections(), s.Messages()[1].MailLine)
				}
			})
		})
	}
}

// TestPriority: it is passed on where it is taken (RFC 6710).
//
// 6710-a
func TestPriority(t *testing.T) {
	m, _ := message(t, queue.Envelope{Priority: -4}, short)
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		s := n.sink(t, "192.0.2.1", relaytest.WithExtensions("MT-PRIORITY"))
		delivered(t, deliver(t, t.Context(), start(t, n, two(), nil), m, "r@b.example"))
		if got := s.Messages()[0].MailLine; !strings.HasSuffix(got, " MT-PRIORITY=-4") {
			t.Error(got)
		}
	})
}
