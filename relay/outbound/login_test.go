package outbound

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"waypost/queue"
	"waypost/relay/account"
	"waypost/relay/relaytest"
	"waypost/relay/route"
)

// smart is a route through one smarthost, with an account.
func smart(t *testing.T, n *network, a *account.Account, ca *relaytest.CA, legs ...route.Leg) *Outbound {
	t.Helper()
	r := route.Route{To: "*", Via: append([]route.Leg{hostLeg("smart.example")}, legs...), Terms: route.Terms{TLS: route.Required, Account: "a"}}
	z := two()
	z.addresses["smart.example"] = []string{"192.0.2.9"}
	return start(t, n, z, func(o *Options) {
		o.Routes, o.TLS, o.Accounts = route.NewTable([]route.Route{r}), trusting(ca), map[string]*account.Account{"a": a}
	})
}

// TestLoginHeld: credentials that were refused are not shown again and again.
// The mail waits, and goes out as soon as there are others.
func TestLoginHeld(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	ca := relaytest.NewCA(t)
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		s := n.sink(t, "192.0.2.9", relaytest.WithCertificate(ca.Leaf("smart.example")), relaytest.WithAuth("user", "secret"))
		password, missing := "old", false
		o := smart(t, n, account.New(account.Options{Username: "user", PasswordFile: "f", Read: func(string) (string, error) {
			if missing {
				return "", errors.New("the file is gone")
			}
			return password, nil
		}}), ca)
		failing := func(want float64) {
			t.Helper()
			if got := testutil.ToFloat64(o.Metrics.OutboundLoginsFailing); got != want {
				t.Errorf("%v next hops with a failing login, want %v", got, want)
			}
		}
		for range 3 {
			out := deliver(t, t.Context(), o, m, "r@b.example")
			want(t, out.Results[0], queue.Deferred, "4.7.8", "535")
			if !out.Unreachable {
				t.Error("others behind it are tried")
			}
		}
		if s.Connections() != 1 {
			t.Errorf("the credentials were shown %d times", s.Connections())
		}
		failing(1)
		time.Sleep(holdLogin)
		deliver(t, t.Context(), o, m, "r@b.example")
		if s.Connections() != 2 {
			t.Errorf("after a while they were shown %d times", s.Connections())
		}
		password = "secret"
		delivered(t, deliver(t, t.Context(), o, m, "r@b.example"))
		failing(0)
		s.DropAll()
		synctest.Wait()
		missing = true
		want(t, deliver(t, t.Context(), o, m, "r@b.example").Results[0], queue.Deferred, "4.7.0", "the file is gone")
		failing(1)
	})
}

// TestLoginFailsOver: with another leg the mail does not wait.
func TestLoginFailsOver(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	ca := relaytest.NewCA(t)
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		n.sink(t, "192.0.2.9", relaytest.WithCertificate(ca.Leaf("smart.example")), relaytest.WithAuth("user", "secret"))
		next := n.sink(t, "192.0.2.1", relaytest.WithCertificate(ca.Leaf("mx1")), relaytest.WithAuth("user", "wrong"))
		o := smart(t, n, account.New(account.Options{Username: "user", PasswordFile: "f", Read: func(string) (string, error) { return "wrong", nil }}),
			ca, route.Leg{Kind: route.Host, Host: "mx1", Port: 25})
		for range 5 {
			delivered(t, deliver(t, t.Context(), o, m, "r@b.example"))
		}
		if next.Count() != 5 {
			t.Errorf("%d messages", next.Count())
		}
	})
}

// TestTokenRenewed: a token that a host refuses before its time is replaced, and
// nobody's mail notices.
func TestTokenRenewed(t *testing.T) {
	m, _ := message(t, queue.Envelope{}, short)
	ca := relaytest.NewCA(t)
	var asked atomic.Int64
	var token atomic.Value
	token.Store("first")
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token.Load(), "expires_in": 3600}) // the client may have gone
	}))
	defer provider.Close()
	s := relaytest.NewSink(t, "127.0.0.1:0", relaytest.WithCertificate(ca.Leaf("smart.example")),
		relaytest.WithAuth("user", "first"), relaytest.WithMechanisms("XOAUTH2"))
	n := &network{}
	n.put("192.0.2.9", func(context.Context) (net.Conn, error) { return net.Dial("tcp", s.Address()) })
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	o := smart(t, n, account.New(account.Options{Username: "user", Client: client, OAuth: &account.OAuth{TokenURL: provider.URL, ClientID: "id"}}), ca)
	delivered(t, deliver(t, t.Context(), o, m, "r@b.example"))
	s.DropAll()
	s.WaitIdle()
	s.SetPassword("second")
	token.Store("second")
	delivered(t, deliver(t, t.Context(), o, m, "r@b.example"))
	if asked.Load() != 2 || s.Count() != 2 || s.Connections() != 3 {
		t.Errorf("asked %d times, %d messages over %d connections", asked.Load(), s.Count(), s.Connections())
	}
	s.DropAll()
	s.WaitIdle()
	s.SetPassword("third")
	out := deliver(t, t.Context(), o, m, "r@b.example")
	if r := out.Results[0]; r.State != queue.Deferred || !strings.Contains(r.Text(), "535") {
		t.Errorf("%v", r)
	}
	if testutil.ToFloat64(o.Metrics.OutboundLoginsFailing) != 1 {
		t.Error("a token that is refused anew is not told")
	}
	// Under other routes it is found out anew.
	o.SetRoutes(route.NewTable(nil), nil)
	if got := testutil.ToFloat64(o.Metrics.OutboundLoginsFailing); got != 0 {
		t.Errorf("%v logins fail under other routes", got)
	}
}
