package smtpserver

import (
	"net/netip"
	"sync"

	"waypost/metrics"
)

// Connections counts what is open at once, over all the servers that share it.
type Connections struct {
	max, perAddress int

	mu        sync.Mutex
	open      int
	addresses map[netip.Addr]int
}

// NewConnections bounds the number of connections, and of those from one
// address. 0 means 1000 and 100.
func NewConnections(most, perAddress int) *Connections {
	if most == 0 {
		most = 1000
	}
	if perAddress == 0 {
		perAddress = 100
	}
	return &Connections{max: most, perAddress: perAddress, addresses: map[netip.Addr]int{}}
}

// clientKey is the address for which a connection is counted: IPv6 hands out
// networks of 64 bits, and whoever has one has all addresses in it.
func clientKey(addr netip.Addr) netip.Addr {
	if addr.Is6() && !addr.Is4In6() {
		network, _ := addr.Prefix(64)
		return network.Addr()
	}
	return addr
}

// Bound sets new bounds, as for NewConnections. Nobody who is connected has to
// leave.
func (c *Connections) Bound(most, perAddress int) {
	fresh := NewConnections(most, perAddress)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.max, c.perAddress = fresh.max, fresh.perAddress
}

// enter counts a connection, or returns the reason why it may not be: one of
// the metrics' words.
func (c *Connections) enter() (reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open >= c.max {
		return metrics.OverLimit
	}
	c.open++
	return ""
}

// claim counts a connection for its client's address, as enter does.
func (c *Connections) claim(addr netip.Addr) (reason string) {
	addr = clientKey(addr)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.addresses[addr] >= c.perAddress {
		return metrics.OverAddressLimit
	}
	c.addresses[addr]++
	return ""
}

// leave takes back enter, and claim for a valid address.
func (c *Connections) leave(claimed netip.Addr) {
	claimed = clientKey(claimed)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open--
	if !claimed.IsValid() {
		return
	}
	if c.addresses[claimed]--; c.addresses[claimed] == 0 {
		delete(c.addresses, claimed)
	}
}
