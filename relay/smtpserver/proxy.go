package smtpserver

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"waypost/metrics"
)

const (
	// proxyTimeout is how long a proxy may take for its header, which it has
	// at hand before it connects.
	proxyTimeout = 5 * time.Second
	// maxProxyV1 is the longest header of version 1, with its CRLF.
	maxProxyV1 = 107
	// maxProxyV2 is the longest header of version 2 that is taken. With all
	// that proxies add, a certificate included, it is not so long.
	maxProxyV2 = 4096
)

const (
	proxyV1        = "PROXY "
	proxyV2        = "\r\n\r\n\x00\r\nQUIT\n"
	proxyV2Fixed   = len(proxyV2) + 4
	proxyV2Command = len(proxyV2)
)

var (
	errProxyShort  = errors.New("PROXY header is not complete")
	errProxyHeader = errors.New("bad PROXY header")
)

// proxyHeader is what a proxy tells of a connection. Both addresses are zero
// where it speaks for itself.
type proxyHeader struct{ client, local netip.AddrPort }

// parseProxy reads a header of the PROXY protocol, version 1 or 2, at the start
// of b, and returns its length. errProxyShort means that it may go on.
func parseProxy(b []byte) (h proxyHeader, n int, err error) {
	switch {
	case bytes.HasPrefix(b, []byte(proxyV1)):
		return parseProxyV1(b)
	case bytes.HasPrefix(b, []byte(proxyV2)):
		return parseProxyV2(b)
	case strings.HasPrefix(proxyV1, string(b)), strings.HasPrefix(proxyV2, string(b)):
		return h, 0, errProxyShort
	}
	return h, 0, errProxyHeader
}

func parseProxyV1(b []byte) (h proxyHeader, n int, err error) {
	end := bytes.Index(b[:min(len(b), maxProxyV1)], []byte("\r\n"))
	if end < 0 {
		if len(b) < maxProxyV1 {
			return h, 0, errProxyShort
		}
		return h, 0, errProxyHeader
	}
	words := strings.Split(string(b[:end]), " ")
	if words[1] == "UNKNOWN" {
		return h, end + 2, nil // whatever else it says
	}
	if len(words) != 6 || words[1] != "TCP4" && words[1] != "TCP6" {
		return h, 0, errProxyHeader
	}
	six := words[1] == "TCP6"
	var okClient, okLocal bool
	h.client, okClient = proxyAddress(words[2], words[4], six)
	h.local, okLocal = proxyAddress(words[3], words[5], six)
	if !okClient || !okLocal {
		return proxyHeader{}, 0, errProxyHeader
	}
	return h, end + 2, nil
}

func proxyAddress(address, port string, six bool) (netip.AddrPort, bool) {
	a, err := netip.ParseAddr(address)
	p, errPort := strconv.ParseUint(port, 10, 16)
	return netip.AddrPortFrom(a.Unmap(), uint16(p)), err == nil && errPort == nil && a.Is6() == six && a.Zone() == ""
}

func parseProxyV2(b []byte) (h proxyHeader, n int, err error) {
	if len(b) < proxyV2Fixed {
		return h, 0, errProxyShort
	}
	command, family := b[proxyV2Command], b[proxyV2Command+1]
	size := int(binary.BigEndian.Uint16(b[proxyV2Command+2:]))
	n = proxyV2Fixed + size
	switch {
	case command != 0x20 && command != 0x21 || n > maxProxyV2:
		return h, 0, errProxyHeader
	case len(b) < n:
		return h, 0, errProxyShort
	case command == 0x20 || family == 0:
		return h, n, nil // LOCAL: the proxy for itself
	}
	// Only TCP can have been proxied to here. What follows the addresses is
	// of no use to us.
	data, width := b[proxyV2Fixed:n], map[byte]int{0x11: 4, 0x21: 16}[family]
	if width == 0 || len(data) < 2*width+4 {
		return h, 0, errProxyHeader
	}
	client, _ := netip.AddrFromSlice(data[:width])
	local, _ := netip.AddrFromSlice(data[width : 2*width])
	ports := data[2*width:]
	h.client = netip.AddrPortFrom(client.Unmap(), binary.BigEndian.Uint16(ports))
	h.local = netip.AddrPortFrom(local.Unmap(), binary.BigEndian.Uint16(ports[2:]))
	return h, n, nil
}

// readProxyHeader reads the header that a proxy sends ahead of everything, and
// lets the session go on with the addresses in it.
func (s *session) readProxyHeader() error {
	s.nc.SetReadDeadline(time.Now().Add(proxyTimeout))
	b := make([]byte, 0, maxProxyV2)
	for {
		n, err := s.nc.Conn.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		header, size, bad := parseProxy(b)
		switch {
		case bad == nil:
			s.proxied(header)
			s.nc.ahead = bytes.Clone(b[size:])
			return nil
		case bad != errProxyShort || len(b) == cap(b):
			return errProxyHeader
		case err != nil:
			return err
		}
	}
}

func (s *session) proxied(h proxyHeader) {
	if !h.client.IsValid() {
		return
	}
	s.nc.remote, s.nc.local = net.TCPAddrFromAddrPort(h.client), net.TCPAddrFromAddrPort(h.local)
	s.behind, s.addr, s.peer = h, h.client.Addr(), h.client.Addr()
}

// strayProxyHeader reports whether a client that may not sends such a header:
// its first line, and what is behind it.
func strayProxyHeader(line, behind []byte) bool {
	rest := proxyV2[2:]
	return bytes.HasPrefix(line, []byte(proxyV1)) ||
		len(line) == 0 && len(behind) > 2 && (bytes.HasPrefix(behind, []byte(rest)) || strings.HasPrefix(rest, string(behind)))
}

// refuseProxyHeader ends the session of such a client.
func (s *session) refuseProxyHeader() error {
	s.server.Log.Warn("PROXY header from an address that may not send one", "client", s.addr.String())
	return s.dismiss(550, code{5, 7, 1}, "PROXY protocol is not accepted from your address", metrics.RefusedProtocol)
}
