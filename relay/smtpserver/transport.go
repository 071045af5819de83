package smtpserver

import (
	"net"
	"net/netip"
)

// transport is a connection as the session sees it: with the addresses that a
// proxy told of, and with what was read behind the proxy's words.
type transport struct {
	net.Conn
	remote, local net.Addr // nil for those of Conn
	ahead         []byte
	slot          *slot // of the TLS handshake that is under way
}

// RemoteAddr returns the client's address.
func (t *transport) RemoteAddr() net.Addr {
	if t.remote != nil {
		return t.remote
	}
	return t.Conn.RemoteAddr()
}

// LocalAddr returns the address that the client connected to.
func (t *transport) LocalAddr() net.Addr {
	if t.local != nil {
		return t.local
	}
	return t.Conn.LocalAddr()
}

func (t *transport) Read(p []byte) (int, error) {
	if t.slot != nil {
		return t.slot.without(t.read, p)
	}
	return t.read(p)
}

func (t *transport) Write(p []byte) (int, error) {
	if t.slot != nil {
		return t.slot.without(t.Conn.Write, p)
	}
	return t.Conn.Write(p)
}

func (t *transport) read(p []byte) (int, error) {
	if len(t.ahead) == 0 {
		return t.Conn.Read(p)
	}
	n := copy(p, t.ahead)
	if t.ahead = t.ahead[n:]; len(t.ahead) == 0 {
		t.ahead = nil
	}
	return n, nil
}

// CloseWrite ends our side of the connection.
func (t *transport) CloseWrite() error {
	if c, ok := t.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// remoteAddr returns the client's address, without port and zone.
func remoteAddr(nc net.Conn) netip.Addr {
	if tcp, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}
