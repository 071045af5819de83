package relay

import (
	"net"
	"net/netip"

	"waypost/configs"
)

// ownAddresses are those at which we take mail: of the sockets that are open, and
// the others that the configuration has. A mail host at one is we ourselves.
func (r *Relay) ownAddresses(others []netip.Addr) (all []netip.AddrPort) {
	if known := r.sockets.Load(); known != nil {
		for _, at := range *known {
			all = append(all, reached(at)...)
		}
	}
	for _, addr := range others {
		all = append(all, netip.AddrPortFrom(addr, 0))
	}
	return all
}

// reached are the addresses at which others reach a socket: its own, or those of
// all interfaces.
func reached(at netip.AddrPort) (all []netip.AddrPort) {
	if !at.Addr().IsUnspecified() {
		return []netip.AddrPort{at}
	}
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		return nil // what we know by name has to do
	}
	for _, a := range interfaces {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			all = append(all, netip.AddrPortFrom(prefix.Addr().Unmap(), at.Port()))
		}
	}
	return all
}

// noteSockets remembers the addresses of the sockets that take mail from other
// hosts.
func (r *Relay) noteSockets(doors []*door) {
	var all []netip.AddrPort
	for _, d := range doors {
		if d.config.Mode == configs.ModeSubmission {
			continue // mail by MX does not come there
		}
		at := d.socket.Addr().(*net.TCPAddr).AddrPort()
		all = append(all, netip.AddrPortFrom(at.Addr().Unmap(), at.Port()))
	}
	r.sockets.Store(&all)
}
