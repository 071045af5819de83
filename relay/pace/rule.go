package pace

import (
	"strings"
	"time"

	"waypost/relay/smtp"
)

// Rate is how much may be sent within a time.
type Rate struct {
	Max int64
	Per time.Duration
}

// Bounds are what holds for a site.
type Bounds struct {
	// MinConnections and MaxConnections bound the window. 0 is 1, and 20.
	MinConnections, MaxConnections int
	// MessagesPerConnection is how many messages one connection carries; 0 is
	// 1000.
	MessagesPerConnection int
	// RecipientsPerMessage is how many recipients one transaction has at most; 0
	// leaves that to the host.
	RecipientsPerMessage int
	// Messages and Recipients bound what is sent within a time. A message that
	// has begun goes to all of its recipients.
	Messages, Recipients []Rate
}

// defaultMessages is how many messages a connection carries, so that load moves
// when a next hop adds hosts.
const defaultMessages = 1000

func (b Bounds) withDefaults() Bounds {
	if b.MaxConnections == 0 {
		b.MaxConnections = 20
	}
	if b.MinConnections = max(b.MinConnections, 1); b.MinConnections > b.MaxConnections {
		b.MinConnections = b.MaxConnections
	}
	if b.MessagesPerConnection == 0 {
		b.MessagesPerConnection = defaultMessages
	}
	return b
}

// Rule sets the bounds of some sites. Of the conditions, each one that is set must
// hold.
type Rule struct {
	// Name stands in metrics and explanations.
	Name string
	// Domains are recipients' domains whose mail goes by MX, and Hosts the hosts
	// of next hops: "example.org", or ".example.org" for it and all below.
	Domains, Hosts []string
	// Leg is the leg whose own rule this is, as [Hop.Leg]; empty is any leg that
	// has none.
	Leg string
	// Each says that each site that matches has the bounds to itself. Without it
	// all of them are one site.
	Each bool
	Bounds
}

// Hop is where an attempt leads.
type Hop struct {
	// Domain is the recipient's domain where the hosts are found by MX; else "".
	Domain string
	// Hosts are the names of the most preferred hosts.
	Hosts []string
	// Name is what the site is called without a rule.
	Name string
	// Leg is the leg by which it leads there, where that has a rule of its own.
	Leg string
}

func (r *Rule) matches(h Hop) bool {
	if r.Leg != h.Leg {
		return false
	}
	if len(r.Domains) > 0 && (h.Domain == "" || !under(r.Domains, h.Domain)) {
		return false
	}
	return len(r.Hosts) == 0 || len(h.Hosts) > 0 && under(r.Hosts, h.Hosts[0])
}

// under reports whether a name is one of a list, or below one.
func under(list []string, name string) bool {
	for _, pattern := range list {
		if strings.EqualFold(pattern, name) || pattern[0] == '.' && smtp.HasSuffixFold("."+name, pattern) {
			return true
		}
	}
	return false
}
