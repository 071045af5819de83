package resolver

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// silence is how long a server that did not answer is asked after the others.
const silence = 30 * time.Second

// servers are the DNS servers to ask, and which of them were silent of late.
// Without that, a dead first server would cost its time-out in every look-up.
type servers struct {
	fixed []string
	conf  *watched[[]string] // used when fixed is empty

	mu     sync.Mutex
	silent map[string]time.Time // server → until when it comes last
}

func newServers(fixed []string, resolvConf string) *servers {
	s := &servers{conf: watch(resolvConf, parseResolvConf), silent: make(map[string]time.Time)}
	for _, server := range fixed {
		s.fixed = append(s.fixed, withPort(server))
	}
	return s
}

// order returns the servers in the order in which to ask them: as configured,
// with those that were silent last.
func (s *servers) order() []string {
	list := s.fixed
	if len(list) == 0 {
		list = s.conf.get()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.silent) == 0 {
		return list
	}
	now := time.Now()
	first, last := make([]string, 0, len(list)), []string(nil)
	for _, server := range list {
		if now.Before(s.silent[server]) {
			last = append(last, server)
		} else {
			first = append(first, server)
		}
	}
	return append(first, last...)
}

// note remembers whether a server answered, with whatever code, or was silent.
func (s *servers) note(server string, answered bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if answered {
		delete(s.silent, server)
	} else {
		s.silent[server] = time.Now().Add(silence)
	}
}

// parseResolvConf returns the nameservers of a file in the form of resolv.conf(5).
func parseResolvConf(content []byte) []string {
	// The reader cannot fail, and a line too long for the parser ends the file.
	conf, err := dns.ClientConfigFromReader(bytes.NewReader(content))
	var list []string
	if err == nil {
		for _, server := range conf.Servers {
			if _, err := netip.ParseAddr(server); err == nil {
				list = append(list, withPort(server))
			}
		}
	}
	if len(list) == 0 {
		return []string{"127.0.0.1:53"}
	}
	return list
}

// withPort returns "ip:53" for an "ip". Anything else stays as it is.
func withPort(server string) string {
	if addr, err := netip.ParseAddr(server); err == nil {
		return net.JoinHostPort(addr.String(), "53")
	}
	return server
}

// validates reports whether the AD bit of a server's replies may be believed.
// RFC 7672 §2.1.1: only where the path to the validating server is secure, which
// is so on loopback, and where whoever runs us says so. Docker's forwarder at 127.0.0.11 passes on what others say,
// so it is not believed.
func validates(server string, trusted []netip.Addr) bool {
	ap, err := netip.ParseAddrPort(server)
	if err != nil {
		return false
	}
	addr := ap.Addr().Unmap()
	return slices.Contains(trusted, addr) || addr.IsLoopback() && addr != netip.AddrFrom4([4]byte{127, 0, 0, 11})
}
