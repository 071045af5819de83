package configs

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// validation gathers what is wrong with a configuration that has been read.
type validation struct {
	config             *Config
	files              files
	places             places
	broken             map[string]bool
	problems, warnings []Problem
}

// all checks every key, in the order of the file.
func (v *validation) all() {
	v.identity()
	v.tls()
	v.listeners()
	v.relay()
	v.lists("deny", v.config.Deny)
	v.lists("allow", v.config.Allow)
	v.logins()
	v.dkim()
	v.limits()
	v.queue()
	v.classes()
	v.routes()
	v.replies()
	v.paces()
	v.delivery()
	v.endpoint()
	v.oneOf("log.format", v.config.Log.Format, FormatAuto, FormatText, FormatJSON)
	v.oneOf("log.level", v.config.Log.Level, LevelDebug, LevelInfo, LevelWarn, LevelError)
}

// fail notes that a key is wrong.
func (v *validation) fail(path, format string, args ...any) {
	v.suggest(path, "", format, args...)
}

// suggest notes that a key is wrong, and what was probably meant.
func (v *validation) suggest(path, suggestion, format string, args ...any) {
	if !v.isBroken(path) {
		text := path + ": " + fmt.Sprintf(format, args...)
		v.problems = append(v.problems, v.places.find(path).problem(path, text, suggestion))
	}
}

// warn notes that a key is suspicious.
func (v *validation) warn(path, format string, args ...any) {
	text := path + ": " + fmt.Sprintf(format, args...)
	v.warnings = append(v.warnings, v.places.find(path).problem(path, text, ""))
}

// check notes the error of a key, if there is one.
func (v *validation) check(path string, err error) bool {
	if err != nil {
		v.fail(path, "%v", err)
	}
	return err == nil
}

// isBroken tells a key whose value could not even be read, or whose table could
// not: that has been said already.
func (v *validation) isBroken(path string) bool {
	for {
		if v.broken[path] {
			return true
		}
		cut := strings.LastIndexAny(path, ".[")
		if cut < 0 {
			return false
		}
		path = path[:cut]
	}
}

// oneOf checks a key that takes one of some words.
func (v *validation) oneOf(path, value string, words ...string) {
	if !slices.Contains(words, value) {
		v.suggest(path, nearest(value, words), "%q is not one of %s", value, strings.Join(words, ", "))
	}
}

// atLeast checks the lower bound of a number, a size or a duration.
func atLeast[T int | Size | Duration](v *validation, path string, value, least T) bool {
	if value < least {
		v.fail(path, "must be at least %v, not %v", least, value)
	}
	return value >= least
}

// identity checks who we are and where we live.
func (v *validation) identity() {
	c := v.config
	switch err := checkHostname(c.Hostname); {
	case err != nil:
		better, _ := betterDomain(c.Hostname)
		v.suggest("hostname", better, "%v", err)
	case !strings.Contains(c.Hostname, ".") || strings.HasPrefix(c.Hostname, "localhost."):
		// RFC 5321 §2.3.5: only resolvable, fully qualified names are permitted.
		v.warn("hostname", "%q is not fully qualified, and other hosts may refuse our mail for it", c.Hostname)
	}
	switch {
	case c.DataDir == "":
		v.fail("data_dir", "must be set; there is no default without $STATE_DIRECTORY, $XDG_STATE_HOME or a home directory")
	case !strings.HasPrefix(c.DataDir, "/"):
		v.warn("data_dir", "%q depends on the directory in which waypost is started", c.DataDir)
	}
	atLeast(v, "shutdown_timeout", c.ShutdownTimeout, second)
}

// maxHold is the longest that FUTURERELEASE can say, nine digits of seconds
// (RFC 4865 §4), in whole years.
const maxHold = 31 * 365 * 24 * hour

// limits checks what clients may use.
func (v *validation) limits() {
	l := v.config.Limits
	if atLeast(v, "limits.message_size", l.MessageSize, 1) && l.MessageSize < 64<<10 {
		// RFC 5321 §4.5.3.1.7: a server must take at least 64 KiB.
		v.warn("limits.message_size", "%v is less than the 64KiB that every server has to take", l.MessageSize)
	}
	if atLeast(v, "limits.recipients", l.Recipients, 1) && l.Recipients < 100 {
		// RFC 5321 §4.5.3.1.8: a server must take at least 100 recipients.
		v.warn("limits.recipients", "%d is less than the 100 that every server has to take", l.Recipients)
	}
	for _, r := range l.Rates() {
		_, _, err := ParseRate(r.Value)
		v.check("limits."+r.Key, err)
	}
	atLeast(v, "limits.connections", l.Connections, 1)
	atLeast(v, "limits.connections_per_address", l.ConnectionsPerAddress, 1)
	atLeast(v, "limits.connections_per_network", l.ConnectionsPerNetwork, 0)
	v.prefixLength("limits.ipv4_prefix", l.IPv4Prefix, 32)
	v.prefixLength("limits.ipv6_prefix", l.IPv6Prefix, 64)
	if atLeast(v, "limits.idle_timeout", l.IdleTimeout, second) && l.IdleTimeout < 5*minute {
		// RFC 5321 §4.5.3.2.7: a server should wait at least 5 minutes.
		v.warn("limits.idle_timeout", "%v is less than the 5m that a server should wait", l.IdleTimeout)
	}
	if atLeast(v, "limits.greet_delay", l.GreetDelay, 0) && l.GreetDelay > minute {
		// RFC 5321 §4.5.3.2.1 has clients wait for 5 minutes, and many do not.
		v.warn("limits.greet_delay", "%v is longer than many clients wait", l.GreetDelay)
	}
	if atLeast(v, "limits.hops", l.Hops, 1) && l.Hops < 100 {
		// RFC 5321 §6.3: the limit should be large, at least 100.
		v.warn("limits.hops", "%d is less than the 100 that a limit on hops should have", l.Hops)
	}
	atLeast(v, "limits.own_hops", l.OwnHops, 1)
	atLeast(v, "limits.min_rate", l.MinRate, 0)
	atLeast(v, "limits.session_messages", l.SessionMessages, 0)
	if atLeast(v, "limits.hold_max", l.HoldMax, 0) && l.HoldMax > maxHold {
		v.fail("limits.hold_max", "must be at most %v, not %v", maxHold, l.HoldMax)
	}
	if atLeast(v, "limits.deliver_by_min", l.DeliverByMin, 0) && l.DeliverByMin > maxHold {
		v.fail("limits.deliver_by_min", "must be at most %v, not %v", maxHold, l.DeliverByMin)
	}
}

// prefixLength checks how many bits the addresses of a network share.
func (v *validation) prefixLength(path string, bits, most int) {
	if atLeast(v, path, bits, 1) && bits > most {
		v.fail(path, "must be at most %d, not %d", most, bits)
	}
}

// queue checks how long and how often delivery is tried.
func (v *validation) queue() {
	q := v.config.Queue
	if len(q.Retry) == 0 {
		v.fail("queue.retry", "must have at least one duration")
	}
	for i, wait := range q.Retry {
		atLeast(v, index("queue.retry", i), wait, second)
	}
	long := atLeast(v, "queue.lifetime", q.Lifetime, second)
	if long && len(q.Retry) > 0 && q.Retry[0] >= q.Lifetime {
		v.warn("queue.lifetime", "%v is over before the first retry, after %v", q.Lifetime, q.Retry[0])
	}
	if atLeast(v, "queue.warn_after", q.WarnAfter, 0) && long && q.WarnAfter >= q.Lifetime {
		v.warn("queue.warn_after", "%v is not before the end of queue.lifetime, so nobody is ever told of a delay", q.WarnAfter)
	}
	// Written so that it catches a value that is not a number, too.
	if !(q.Jitter >= 0 && q.Jitter < 1) {
		v.fail("queue.jitter", "must be at least 0 and less than 1, not %v", q.Jitter)
	}
	atLeast(v, "queue.min_free", q.MinFree, 0)
	h := v.config.History
	if atLeast(v, "history.size", h.Size, 0) && h.Size > 0 {
		// What one checkpoint of the queue adds must be a small part of it.
		atLeast(v, "history.size", h.Size, 64*megabyte)
	}
	atLeast(v, "history.age", h.Age, 0)
}

// delivery checks what delivery may use and reach, the resolver included.
func (v *validation) delivery() {
	for i, server := range v.config.Resolver.Servers {
		_, err := ParseServer(server)
		v.check(index("resolver.servers", i), err)
	}
	for i, server := range v.config.Resolver.TrustAD {
		if _, err := netip.ParseAddr(server); err != nil {
			v.fail(index("resolver.trust_ad", i), "%q is not the IP address of a DNS server", server)
		}
	}
	d := v.config.Delivery
	if d.SMTPPort < 1 || d.SMTPPort > 65535 {
		v.fail("delivery.smtp_port", "must be from 1 to 65535, not %d", d.SMTPPort)
	}
	for i, network := range d.AllowPrivate {
		v.network(index("delivery.allow_private", i), network)
	}
	for i, text := range d.OwnAddresses {
		if _, err := netip.ParseAddr(text); err != nil {
			v.fail(index("delivery.own_addresses", i), "%q is not an IP address", text)
		}
	}
	v.oneOf("delivery.address_family", d.AddressFamily, FamilyBoth, FamilyPreferIPv4, FamilyIPv4, FamilyIPv6)
	atLeast(v, "delivery.workers", d.Workers, 1)
	atLeast(v, "delivery.slow_workers", d.SlowWorkers, 0)
	atLeast(v, "delivery.connections_per_destination", d.ConnectionsPerDestination, 1)
	atLeast(v, "delivery.connect_timeout", d.ConnectTimeout, second)
	for _, step := range []struct {
		key          string
		given, least Duration
	}{
		{"greeting_timeout", d.GreetingTimeout, 5 * minute},
		{"hello_timeout", d.HelloTimeout, 5 * minute},
		{"mail_timeout", d.MailTimeout, 5 * minute},
		{"rcpt_timeout", d.RcptTimeout, 5 * minute},
		{"data_timeout", d.DataTimeout, 2 * minute},
		{"block_timeout", d.BlockTimeout, 3 * minute},
		{"dot_timeout", d.DotTimeout, 10 * minute},
	} {
		atLeast(v, "delivery."+step.key, step.given, second)
		if step.given >= second && step.given < step.least {
			v.warn("delivery."+step.key, "%v is less than the %v that RFC 5321 §4.5.3.2 gives other hosts, and slow ones may never get their mail", step.given, step.least)
		}
	}
}

// index is the path of an item of a list.
func index(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }
