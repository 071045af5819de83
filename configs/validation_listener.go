package configs

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// listeners checks the addresses on which mail is taken.
func (v *validation) listeners() {
	taken := map[string]string{}
	for i, l := range v.config.Listeners {
		path := index("listener", i)
		if v.check(path+".address", checkListen(l.Address)) {
			v.notTwice(taken, path+".address", l.Address)
		}
		v.oneOf(path+".mode", l.Mode, ModeRelay, ModeSubmission)
		v.oneOf(path+".tls", l.TLS, TLSNone, TLSStartTLS, TLSRequired, TLSImplicit)
		switch l.TLS {
		case TLSStartTLS, TLSRequired, TLSImplicit:
			if v.config.TLS.Certificate == "" && v.config.TLS.Key == "" {
				v.fail(path+".tls", "%q needs tls.certificate and tls.key", l.TLS)
			}
		}
		v.clientCA(path, l)
		v.listenerAuth(path, l)
		v.introducers(path+".proxy_protocol_from", l.ProxyProtocolFrom)
		v.introducers(path+".xclient_from", l.XClientFrom)
	}
}

// listenerAuth checks how clients log in.
func (v *validation) listenerAuth(path string, l Listener) {
	v.oneOf(path+".auth", l.Auth, AuthNone, AuthOptional, AuthRequired)
	if l.Auth == AuthOptional || l.Auth == AuthRequired {
		if v.config.Relay.UsersFile == "" && l.ClientCA == "" {
			v.fail(path+".auth", "%q needs relay.users_file, or client_ca", l.Auth)
		}
		if l.TLS == TLSNone && !l.AuthWithoutTLS {
			v.fail(path+".auth", "%q needs TLS: set tls.certificate and tls.key, or auth_without_tls where nobody can listen in", l.Auth)
		}
	}
	if l.AuthWithoutTLS && l.TLS != TLSImplicit && !isLoopbackAddress(l.Address) {
		v.warn(path+".auth_without_tls", "passwords can be read on the way to %s", l.Address)
	}
}

// introducers checks who may say for whom it speaks: such a host can make a
// client of anybody, trusted networks included.
func (v *validation) introducers(path string, list []string) {
	for i, text := range list {
		path := index(path, i)
		network, ok := v.network(path, text)
		if !ok || isPrivate(network) {
			continue
		}
		switch width(network) {
		case open:
			v.fail(path, "%q would let strangers say that they are anybody else", text)
		case wide:
			v.warn(path, "%q is a large public network, and all of it may say that it is anybody else", text)
		}
	}
}

// isLoopbackAddress tells an address to listen on that only this host reaches.
func isLoopbackAddress(address string) bool {
	host, _, _ := net.SplitHostPort(address)
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// maxTop bounds the destinations that have metrics of their own.
const maxTop = 100

// endpoint checks the metrics.
func (v *validation) endpoint() {
	if n := v.config.Metrics.TopDestinations; n < 0 || n > maxTop {
		v.fail("metrics.top_destinations", "must be from 0 to %d, not %d", maxTop, n)
	}
	address := v.config.Metrics.Address
	if address == "" || !v.check("metrics.address", checkListen(address)) {
		return
	}
	taken := map[string]string{}
	for i, l := range v.config.Listeners {
		taken[l.Address] = index("listener", i) + ".address"
	}
	v.notTwice(taken, "metrics.address", address)
}

// notTwice checks that nothing else listens on an address. A port of 0 is
// another one each time.
func (v *validation) notTwice(taken map[string]string, path, address string) {
	if _, port, _ := net.SplitHostPort(address); port == "0" {
		return
	}
	if other, ok := taken[address]; ok {
		// The one to change is the one that was set.
		if v.places.find(path) == (place{}) {
			path, other = other, path
		}
		v.fail(path, "%q is also %s", address, other)
		return
	}
	taken[address] = path
}

// checkListen checks an address to listen on. Names are refused, because what
// they stand for can change, and then strangers could connect.
func checkListen(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf(`%q is not an address with a port, such as "127.0.0.1:25" or "[::1]:25"`, address)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return fmt.Errorf("%q has no port from 0 to 65535", address)
	}
	if host == "" || host == "localhost" {
		return nil
	}
	if _, err := netip.ParseAddr(host); err != nil {
		return fmt.Errorf("%q has no IP address before its port", address)
	}
	return nil
}
