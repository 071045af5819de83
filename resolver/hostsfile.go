package resolver

import (
	"net/netip"
	"slices"
	"strings"
)

// parseHosts reads a file in the form of hosts(5): an address, then its names.
// What does not parse is passed over, as every reader of this file does.
func parseHosts(content []byte) map[string][]netip.Addr {
	names := make(map[string][]netip.Addr)
	for line := range strings.Lines(string(content)) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(fields[0])
		if err != nil {
			continue
		}
		for _, field := range fields[1:] {
			name, err := hostName(field)
			if err != nil || slices.Contains(names[name], addr.Unmap()) {
				continue
			}
			names[name] = append(names[name], addr.Unmap())
		}
	}
	return names
}
