package resolver

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

// Options says how a [Resolver] works. The zero value is usable.
type Options struct {
	// Servers are the DNS servers, each an "ip" or "ip:port", in the order in
	// which they are asked. Default: the nameservers of ResolvConf, port 53.
	Servers []string

	// TrustAD are servers besides those on loopback that validate DNSSEC and to
	// which the path is secure, so that their AD bit is believed (RFC 4035
	// §3.2.3). Default: none.
	TrustAD []netip.Addr

	// ResolvConf is the file that names the servers when Servers is empty. It is
	// read again when it changes. Default: "/etc/resolv.conf". A file that is
	// missing or names none means 127.0.0.1:53, as resolv.conf(5) has it.
	ResolvConf string

	// HostsFile is the file of names with fixed addresses. It is read again when
	// it changes. Default: "/etc/hosts". A file that is missing names none.
	HostsFile string

	// Hostname is our own name. A mail host of that name is us: it and every host
	// that is no better are left out. Default: empty, no host is us by name.
	Hostname string

	// Own returns the addresses on which we take mail, public ones in front of a
	// NAT too; it is called for each look-up of hosts. A mail host with one of
	// these addresses is us. An entry with port zero counts on any port,
	// otherwise it must be Port. Default: nil, no host is us by address, and the
	// addresses of MX hosts are not looked up in advance.
	Own func() []netip.AddrPort

	// Port is the TCP port on which mail hosts are tried. Default: 25.
	Port uint16

	// Timeout bounds one try at one server, TCP included. Default: 5 s.
	Timeout time.Duration

	// Attempts is the number of rounds over the servers. Default: 2.
	Attempts int

	// MaxHosts is the number of mail hosts kept for a domain, the best first. At
	// most 100 records are looked at in any case. Default: 10.
	MaxHosts int

	// MaxAddresses is the number of addresses kept for a host. When both families
	// exist and it is at least 2, both are among them. Default: 5.
	MaxAddresses int

	// CacheSize is the number of answers remembered; the one that was not used
	// for the longest time makes room. Those of over 4 KiB are not remembered.
	// Default: 10,000.
	CacheSize int

	// Observe, when set, is told the outcome of each try at a server: the type
	// asked for ("MX", "A", "AAAA", "CNAME", "TLSA", "TXT"), the result ("ok", "nxdomain", "nodata",
	// "servfail", "timeout", "error") and how long it took. It must be safe for
	// concurrent use. Default: nil.
	Observe func(qtype, result string, d time.Duration)

	// Panicked, when set, is told of a fault of ours in the look-up of a name,
	// while the stack is still there; the look-up has failed for now. Default: nil.
	Panicked func(name string, fault any)

	// Exchange sends query to server ("ip:port") over network ("udp" or "tcp")
	// and returns the reply to that very question. It ends with ctx. Tests in
	// virtual time set it, as sockets have no place there. Default: real sockets.
	Exchange func(ctx context.Context, network, server string, query *dns.Msg) (*dns.Msg, error)

	// Shuffle puts hosts of equal preference in random order, by the contract of
	// rand.Shuffle. It must be safe for concurrent use. Default: rand.Shuffle.
	Shuffle func(n int, swap func(i, j int))
}

// withDefaults returns o with every unset field at its default.
func (o Options) withDefaults() Options {
	orString := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	orInt := func(field *int, value int) {
		if *field <= 0 {
			*field = value
		}
	}
	orString(&o.ResolvConf, "/etc/resolv.conf")
	orString(&o.HostsFile, "/etc/hosts")
	orInt(&o.Attempts, 2)
	orInt(&o.MaxHosts, 10)
	orInt(&o.MaxAddresses, 5)
	orInt(&o.CacheSize, 10_000)
	if o.Port == 0 {
		o.Port = 25
	}
	if o.Timeout <= 0 {
		o.Timeout = 5 * time.Second
	}
	if o.Observe == nil {
		o.Observe = func(string, string, time.Duration) {}
	}
	if o.Panicked == nil {
		o.Panicked = func(string, any) {}
	}
	if o.Exchange == nil {
		o.Exchange = exchange
	}
	if o.Shuffle == nil {
		o.Shuffle = rand.Shuffle
	}
	return o
}
