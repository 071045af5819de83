package smtpserver

import (
	"net/netip"
	"testing"

	"waypost/metrics"
)

// Who has how many connections counts by address, and by network where that is
// wanted; what ends makes room.
func TestConnectionsByNetwork(t *testing.T) {
	for _, tc := range []struct {
		name   string
		limits ConnectionLimits
		from   []string
		want   []string // the reason for each; empty where it may
	}{
		{"by address", ConnectionLimits{PerAddress: 2}, []string{"192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"}, []string{"", "", metrics.OverAddressLimit, ""}},
		{"IPv4 in IPv6", ConnectionLimits{PerAddress: 1}, []string{"192.0.2.1", "::ffff:192.0.2.1"}, []string{"", metrics.OverAddressLimit}},
		{"IPv6 by /64", ConnectionLimits{PerAddress: 1}, []string{"2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"}, []string{"", metrics.OverAddressLimit, ""}},
		{"IPv4 by /24", ConnectionLimits{PerNetwork: 2}, []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.3.1"}, []string{"", "", metrics.OverNetworkLimit, ""}},
		{"IPv4 by /16", ConnectionLimits{PerNetwork: 1, IPv4Prefix: 16}, []string{"192.0.2.1", "192.0.3.1", "192.1.2.1"}, []string{"", metrics.OverNetworkLimit, ""}},
		{"IPv6 by /48", ConnectionLimits{PerNetwork: 1}, []string{"2001:db8:1:1::1", "2001:db8:1:2::1", "2001:db8:2:1::1"}, []string{"", metrics.OverNetworkLimit, ""}},
		{"networks of one address", ConnectionLimits{PerAddress: 5, PerNetwork: 2, IPv4Prefix: 32}, []string{"192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"}, []string{"", "", metrics.OverNetworkLimit, ""}},
		{"nobody knows whence", ConnectionLimits{PerAddress: 1, PerNetwork: 1}, []string{"", "", ""}, []string{"", "", ""}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := NewConnections(tc.limits)
			for range 2 { // the second time, all that the first one took is free again
				var open []claim
				for i, from := range tc.from {
					addr, _ := netip.ParseAddr(from)
					if reason := c.enter(); reason != "" {
						t.Fatal(reason)
					}
					of, reason := c.claim(addr)
					if reason != tc.want[i] {
						t.Errorf("%s: %q, want %q", from, reason, tc.want[i])
					}
					open = append(open, of)
				}
				c.Bound(ConnectionLimits{PerNetwork: 1, IPv4Prefix: 8}) // nobody is counted otherwise for that
				for _, of := range open {
					c.leave(of)
				}
				if c.open != 0 || len(c.from) != 0 {
					t.Errorf("%d connections are left, from %v", c.open, c.from)
				}
				c.Bound(tc.limits)
			}
		})
	}
}

// the whole listener.
//
// A flood is told to come back, and begins no session.
func TestFlood(t *testing.T) {
	server, address := start(t, &memory{}, func(o *Options) { o.Connections = NewConnections(ConnectionLimits{Total: 1}) })
	dial(t, address).ready()
	for range 500 {
		dial(t, address).expect("421 4.3.2", "closed")
	}
	if n := server.Sessions(); n != 1 {
		t.Errorf("%d sessions", n)
	}
}

// A network over its share is told so.
func TestNetworkLimit(t *testing.T) {
	_, address := start(t, &memory{}, func(o *Options) {
		o.Connections = NewConnections(ConnectionLimits{PerNetwork: 2, IPv4Prefix: 24})
	})
	from := func(host string) *client { return dialFrom(t, host, address) }
	from("127.0.9.1").expect("220")
	from("127.0.9.2").expect("220")
	from("127.0.9.3").expect("421 4.7.0", "closed")
	from("127.0.8.1").expect("220")
}
