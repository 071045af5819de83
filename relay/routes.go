package relay

import (
	"fmt"

	"waypost/configs"
	"waypost/relay/route"
)

// This file translates routes, which have been validated.

func routes(all []configs.Route) ([]route.Route, error) {
	var list []route.Route
	for i, c := range all {
		r := route.Route{To: c.To, From: c.From, Login: c.Login, Class: c.Class, FailOver: c.FailoverOn}
		var err error
		r.Terms, err = terms(c, accountName(i, nil))
		for j := 0; j < len(c.Via) && err == nil; j++ {
			var l route.Leg
			l, err = leg(c, i, j)
			r.Via = append(r.Via, l)
		}
		if err != nil {
			return nil, fmt.Errorf("route to %s: %w", c.To, err)
		}
		list = append(list, r)
	}
	return list, nil
}

// terms are those of a route, or of a leg whose own settings it has.
func terms(c configs.Route, account string) (route.Terms, error) {
	levels := map[string]route.TLS{
		configs.TLSNone: route.None, configs.TLSOpportunistic: route.Opportunistic,
		configs.TLSRequired: route.Required, configs.TLSVerified: route.Verified, configs.TLSDANE: route.DANE,
	}
	t := route.Terms{TLS: levels[c.TLS], Sources: addresses(c.SourceAddresses), Hello: c.Hello}
	for _, text := range c.TLSPins {
		pin, err := configs.ParsePin(text)
		if err != nil {
			return t, err
		}
		t.Pins = append(t.Pins, pin)
	}
	if c.Username != "" || c.ClientCertificate != "" {
		t.Account = account
	}
	var err error
	if c.TLSCA != "" {
		t.Roots, err = configs.ReadAuthorities(c.TLSCA)
	}
	return t, err
}

// leg is leg j of route i.
func leg(c configs.Route, i, j int) (route.Leg, error) {
	own := &c.Via[j]
	via, err := configs.ParseVia(own.To)
	if err != nil {
		return route.Leg{}, err
	}
	l := hop(via)
	l.Weight = own.Weight
	if own.OwnLimits() {
		l.Pace = legName(i, j)
	}
	if own.OwnLogin() || own.OwnTLS() || own.Hello != "" || len(own.SourceAddresses) > 0 {
		account := accountName(i, nil)
		if own.OwnLogin() {
			account = accountName(i, &j)
		}
		t, err := terms(c.At(j), account)
		if err != nil {
			return l, err
		}
		l.Terms = &t
	}
	return l, nil
}

// hop is where a next hop leads.
func hop(via configs.Via) route.Leg {
	switch via.Scheme {
	case configs.ViaMX:
		return route.Leg{Kind: route.MX, Domain: via.Host}
	case configs.ViaDiscard:
		return route.Leg{Kind: route.Discard}
	case configs.ViaReject:
		return route.Leg{Kind: route.Reject, Text: via.Text}
	}
	return route.Leg{
		Kind: route.Host, Host: via.Host, Port: uint16(via.Port), Socket: via.Path,
		LMTP:        via.Scheme == configs.ViaLMTP || via.Scheme == configs.ViaLMTPUnix,
		ImplicitTLS: via.Scheme == configs.ViaSMTPS,
	}
}
