// Package gateway finds the addresses behind which strangers hide when we run in
// a container: those of our default gateways. A published port, or a proxy that
// forwards to it, may let every client of the internet seem to come from there,
// and trust in such an address is trust in everybody.
package gateway

import (
	"bufio"
	"encoding/hex"
	"io/fs"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// InContainer reports whether the host whose root directory is given is a
// container, as Docker, Podman, containerd and LXC leave their marks.
func InContainer(root fs.FS) bool {
	for _, name := range []string{".dockerenv", "run/.containerenv"} {
		if _, err := fs.Stat(root, name); err == nil {
			return true
		}
	}
	text, err := fs.ReadFile(root, "proc/1/cgroup")
	return err == nil && regexp.MustCompile(`(?m)[/:-](docker|libpod|crio|containerd|kubepods|lxc)([/.:-]|$)`).Match(text)
}

// Addresses returns the default gateways of the network namespace whose root
// directory is given. What cannot be read has none.
func Addresses(root fs.FS) []netip.Addr { return append(gateways4(root), gateways6(root)...) }

// Flags of a route (linux/route.h).
const (
	routeUp      = 1
	routeGateway = 2
)

// gateways4 reads /proc/net/route: interface, destination, gateway, flags, …;
// addresses are hexadecimal, their octets in the order of the host, which is
// little-endian on all that we run on.
func gateways4(root fs.FS) (all []netip.Addr) {
	eachRoute(root, "proc/net/route", func(f []string) {
		if len(f) < 8 || f[1] != "00000000" || f[7] != "00000000" || !isGateway(f[3]) {
			return
		}
		if b, err := hex.DecodeString(f[2]); err == nil && len(b) == 4 {
			all = append(all, netip.AddrFrom4([4]byte{b[3], b[2], b[1], b[0]}))
		}
	})
	return all
}

// gateways6 reads /proc/net/ipv6_route: destination, prefix, source, prefix, next
// hop, metric, references, uses, flags, interface.
func gateways6(root fs.FS) (all []netip.Addr) {
	eachRoute(root, "proc/net/ipv6_route", func(f []string) {
		if len(f) < 10 || strings.Trim(f[0], "0") != "" || f[1] != "00" || !isGateway(f[8]) {
			return
		}
		if b, err := hex.DecodeString(f[4]); err == nil && len(b) == 16 {
			all = append(all, netip.AddrFrom16([16]byte(b)))
		}
	})
	return all
}

func isGateway(flags string) bool {
	n, err := strconv.ParseUint(flags, 16, 32)
	return err == nil && n&routeUp != 0 && n&routeGateway != 0
}

func eachRoute(root fs.FS, name string, do func(fields []string)) {
	f, err := root.Open(name)
	if err != nil {
		return
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		do(strings.Fields(lines.Text()))
	}
}
