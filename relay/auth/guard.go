package auth

import (
	"net/netip"
	"time"

	"waypost/relay/rate"
)

// What those who guess passwords get.
const (
	// maxFailures is how many failures an address, or a login, may have
	// within window before nothing is checked any more.
	maxFailures = 100
	window      = time.Hour
	// firstDelay is how long the answer to a first failure takes; it doubles
	// with each further one of that address, up to lastDelay.
	firstDelay, lastDelay = 250 * time.Millisecond, 8 * time.Second
	// maxKeys bounds how many addresses and logins are remembered.
	maxKeys = 20_000
	// trustTime is how long an address from which a login succeeded is not
	// locked out for what others do to that login.
	trustTime = 30 * 24 * time.Hour
)

// guard counts failures.
type guard struct {
	addresses, logins *rate.Table
	proven            *rate.Table // pairs of login and address that succeeded
	// delays waits; fuzzing has no time for it.
	delays func(time.Duration)
}

func newGuard() *guard {
	return &guard{rate.NewTable(window, maxKeys), rate.NewTable(window, maxKeys), rate.NewTable(trustTime, maxKeys), time.Sleep}
}

// admits reports whether a login may be tried from an address. An address with
// too many failures may not. A login with too many may not from where it never
// succeeded: its owner is not locked out by those who guess.
func (g *guard) admits(client netip.Addr, login string, now time.Time) bool {
	key := neighbourhood(client)
	if g.addresses.Count(key, now) >= maxFailures {
		return false
	}
	return g.logins.Count(login, now) < maxFailures || g.proven.Count(login+"\x00"+key, now) > 0
}

// failed counts a failure and returns how long its answer takes.
func (g *guard) failed(client netip.Addr, login string, now time.Time) time.Duration {
	n := g.addresses.Add(neighbourhood(client), 1, now)
	if login != "" {
		g.logins.Add(login, 1, now)
	}
	delay := firstDelay
	for ; n > 1 && delay < lastDelay; n-- {
		delay *= 2
	}
	return min(delay, lastDelay)
}

// succeeded remembers where a login belongs.
func (g *guard) succeeded(client netip.Addr, login string, now time.Time) {
	g.proven.Add(login+"\x00"+neighbourhood(client), 1, now)
}

// neighbourhood is what one client can be expected to have of addresses: one of
// IPv4, 2⁶⁴ of IPv6.
func neighbourhood(client netip.Addr) string {
	client = client.Unmap().WithZone("")
	if client.Is6() {
		if p, err := client.Prefix(64); err == nil {
			return p.String()
		}
	}
	return client.String()
}
