package relay

import "net"

// listen listens on an address: on the socket that whoever started us has opened
// there, or on a new one.
func (r *Relay) listen(address string) (*net.TCPListener, error) {
	want, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, err
	}
	for i, ln := range r.given {
		if ln != nil && sameAddress(ln.Addr().(*net.TCPAddr), want) {
			r.given[i] = nil
			return ln, nil
		}
	}
	return net.ListenTCP("tcp", want)
}

// sameAddress reports whether a socket serves an address. One socket can be all
// addresses of both families.
func sameAddress(have, want *net.TCPAddr) bool {
	if have.Port != want.Port {
		return false
	}
	everywhere := want.IP == nil || want.IP.IsUnspecified()
	return have.IP.Equal(want.IP) || everywhere && have.IP.IsUnspecified()
}

// closeGiven closes the sockets that no listener has taken.
func (r *Relay) closeGiven() {
	for i, ln := range r.given {
		if ln != nil {
			r.given[i] = nil
			r.log.Warn("no listener is configured for a socket of the service manager", "address", ln.Addr().String())
			ln.Close()
		}
	}
}
