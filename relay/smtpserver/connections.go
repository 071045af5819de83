package smtpserver

import (
	"net/netip"
	"runtime"
	"sync"

	"waypost/metrics"
)

// ConnectionLimits bound what is open at once. Zero values are the defaults.
type ConnectionLimits struct {
	// Total is how many connections there may be; 0 means 1000.
	Total int
	// PerAddress is how many of them may come from one address, which of IPv6 is
	// a network of 64 bits: whoever has one has all addresses in it. 0 means
	// 100.
	PerAddress int
	// PerNetwork is how many may come from one network; 0 is no bound. Networks
	// have so many bits of an IPv4 address, and so many of an IPv6 one; 0 means
	// 24 and 48.
	PerNetwork             int
	IPv4Prefix, IPv6Prefix int
}

func (l ConnectionLimits) withDefaults() ConnectionLimits {
	set := func(n *int, to int) {
		if *n == 0 {
			*n = to
		}
	}
	set(&l.Total, 1000)
	set(&l.PerAddress, 100)
	set(&l.IPv4Prefix, 24)
	set(&l.IPv6Prefix, 48)
	return l
}

// Connections counts what is open at once, over all the servers that share it.
type Connections struct {
	mu     sync.Mutex
	limits ConnectionLimits
	open   int
	from   map[netip.Prefix]int // addresses, and networks where they are bounded
	// handshakes has room for the TLS handshakes that may compute at once: one
	// processor is left to the sessions that have their handshake behind them.
	handshakes chan struct{}
}

// claim is what one connection is counted for besides itself. Its zero value is
// nothing. It stays what it was when limits change.
type claim struct{ address, network netip.Prefix }

// NewConnections returns a count of nothing.
func NewConnections(limits ConnectionLimits) *Connections {
	return &Connections{
		limits: limits.withDefaults(), from: map[netip.Prefix]int{},
		handshakes: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1)),
	}
}

// Bound sets new limits. Nobody who is connected has to leave.
func (c *Connections) Bound(limits ConnectionLimits) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limits = limits.withDefaults()
}

// prefix returns the network of an address.
func prefix(addr netip.Addr, ipv4, ipv6 int) netip.Prefix {
	addr, bits := addr.Unmap().WithZone(""), ipv6
	if addr.Is4() {
		bits = ipv4
	}
	p, _ := addr.Prefix(bits) // invalid for an invalid address
	return p
}

// enter counts a connection, or returns the reason why it may not be: one of
// the metrics' words.
func (c *Connections) enter() (reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open >= c.limits.Total {
		return metrics.OverLimit
	}
	c.open++
	return ""
}

// claim counts a connection for its client, as enter does.
func (c *Connections) claim(addr netip.Addr) (of claim, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := &c.limits
	of.address = prefix(addr, 32, 64)
	if c.from[of.address] >= l.PerAddress {
		return claim{}, metrics.OverAddressLimit
	}
	if l.PerNetwork > 0 {
		of.network = prefix(addr, l.IPv4Prefix, l.IPv6Prefix)
		// One as long as an address has its own number.
		if of.network == of.address {
			of.network = netip.Prefix{}
			if c.from[of.address] >= l.PerNetwork {
				return claim{}, metrics.OverNetworkLimit
			}
		} else if c.from[of.network] >= l.PerNetwork {
			return claim{}, metrics.OverNetworkLimit
		}
	}
	c.count(of, 1)
	return of, ""
}

// leave takes back enter, and claim.
func (c *Connections) leave(of claim) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open--
	c.count(of, -1)
}

func (c *Connections) count(of claim, n int) {
	for _, p := range []netip.Prefix{of.address, of.network} {
		if !p.IsValid() {
			continue
		}
		if c.from[p] += n; c.from[p] == 0 {
			delete(c.from, p)
		}
	}
}
