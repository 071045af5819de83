package configs

import (
	"net/netip"
)

// maxWeight is the largest weight of a leg, as in SRV records (RFC 2782).
const maxWeight = 65535

// terms checks how mail is handed over, whatever the next hops.
func (v *validation) terms(path string, r Route) {
	v.oneOf(path+".tls", r.TLS, TLSNone, TLSOpportunistic, TLSRequired, TLSVerified, TLSDANE)
	v.pins(path, r)
	v.secrets(path, r)
	v.sources(path+".source_addresses", r.SourceAddresses)
	if r.Hello != "" {
		v.check(path+".hello", checkHostname(r.Hello))
	}
}

// legs checks the next hops of a route.
func (v *validation) legs(path string, r Route) {
	if len(r.Via) == 0 {
		v.fail(path+".via", `must have at least one next hop, such as "smtp://10.0.0.5:25" or "mx:"`)
	}
	for i := range r.Via {
		at := index(path+".via", i)
		hop, err := ParseVia(r.Via[i].To)
		v.weight(at+".weight", r.Via, i)
		if !v.check(at, err) {
			continue
		}
		if hop.Scheme == ViaDiscard || hop.Scheme == ViaReject {
			if i < len(r.Via)-1 {
				v.fail(index(path+".via", i+1), "is never reached, because %q takes everything", hop)
			}
			if l := &r.Via[i]; l.OwnLogin() || l.OwnTLS() || l.OwnLimits() || l.Weight != 0 || l.Hello != "" || len(l.SourceAddresses) > 0 {
				v.fail(at, "%q leads to no host, and has no settings", hop)
			}
			continue
		}
		v.leg(path, r, i, hop)
	}
}

// weight checks the share of a leg.
func (v *validation) weight(path string, all []Leg, i int) {
	v.within(path, all[i].Weight, 0, maxWeight)
	weighs := func(i int) bool { return i >= 0 && i < len(all) && all[i].Weight > 0 }
	if weighs(i) && !weighs(i-1) && !weighs(i+1) {
		v.warn(path, "has no effect, because no next hop beside it has one")
	}
}

// leg checks one next hop with what holds there: its own settings, and those of the
// route.
func (v *validation) leg(path string, r Route, i int, hop Via) {
	own, at, merged := &r.Via[i], index(path+".via", i), r.At(i)
	login, tls := path, path
	if own.OwnLogin() {
		login = at
		v.secrets(at, merged)
	}
	if own.TLS != "" {
		tls = at
		v.oneOf(at+".tls", own.TLS, TLSNone, TLSOpportunistic, TLSRequired, TLSVerified, TLSDANE)
	}
	if own.OwnTLS() {
		v.pins(at, merged)
	}
	v.sources(at+".source_addresses", own.SourceAddresses)
	if own.Hello != "" {
		v.check(at+".hello", checkHostname(own.Hello))
	}
	v.hopTLS(tls+".tls", merged.TLS, hop)
	v.credentials(login, tls, merged, hop)
	if own.OwnLimits() {
		limits := own.Limits(at)
		v.paceBounds(at, limits)
		v.rates(at+".message_rate", limits.MessageRate)
		v.rates(at+".recipient_rate", limits.RecipientRate)
	}
}

func (v *validation) hopTLS(path, mode string, hop Via) {
	_, err := netip.ParseAddr(hop.Host)
	if mode == TLSDANE && (hop.Path != "" || hop.Host != "" && err == nil) {
		v.fail(path, "%q needs a host's name, which %q has not", mode, hop)
	}
	if hop.Scheme == ViaSMTPS && mode == TLSNone {
		v.fail(path, "%q contradicts %q", mode, hop)
	}
}

// credentials checks that a login is shown to nobody but the next hop.
func (v *validation) credentials(login, tls string, r Route, hop Via) {
	switch {
	case r.Username == "":
	case hop.Scheme == ViaMX:
		v.fail(login+".username", `a login cannot be used with "mx:", where any host may answer`)
	case hop.Scheme != ViaSMTPS && !hop.IsLoopback() && (r.TLS == TLSNone || r.TLS == TLSOpportunistic):
		v.fail(tls+".tls", "%q would send the password unprotected to %s; use %q, or %q", r.TLS, hop.Host, TLSVerified, TLSRequired)
	}
}
