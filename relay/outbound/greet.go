package outbound

import (
	"context"
	"crypto/x509"
	"errors"
	"sync"
	"time"
)

// Greeting is what came of greeting a host: EHLO, TLS as its protection asks for,
// and QUIT. Nobody logs in, and no mail is named.
type Greeting struct {
	// Host is the host that answered, "name[address]:port"; "" when none did.
	Host string
	// Extensions are the keywords that it offers, under TLS where there is some.
	Extensions []string
	// TLS is how the session was protected; "" is not at all.
	TLS string
	// Certificate is the host's own; nil without TLS.
	Certificate *x509.Certificate
	// Took is how long it took until mail could have been sent.
	Took time.Duration
	// Err says what is wrong; nil when mail could have been sent.
	Err error
}

// maxGreeted is how many hosts of a leg are greeted.
const maxGreeted = maxTries

// greet greets the hosts of a leg beside each other. They are not counted in the
// pace of their site.
func (a *attempt) greet(ctx context.Context, h hop, leg *PlannedLeg) {
	var greeting sync.WaitGroup
	for i := range leg.Hosts[:min(len(leg.Hosts), maxGreeted)] {
		host := &leg.Hosts[i]
		if host.Err == nil {
			to := h
			to.protection = host.Protection
			greeting.Go(func() { host.Greeting = a.outbound.greet(ctx, to, host) })
		}
	}
	greeting.Wait()
}

func (o *Outbound) greet(ctx context.Context, h hop, host *PlannedHost) *Greeting {
	begin := time.Now()
	race := o.race(ctx, host.Name, host.Targets)
	if race.conn == nil {
		return &Greeting{Err: errors.Join(race.errs...), Took: time.Since(begin)}
	}
	g := &Greeting{Host: race.to.name(host.Name)}
	s, err := o.connect(ctx, h, host.Name, race.to, race.conn)
	if g.Took = time.Since(begin); err != nil {
		g.Err = err
		return g
	}
	defer s.ended()
	defer s.client.Quit()
	extensions := s.client.Extensions()
	g.Extensions, g.TLS = extensions.Names(), s.tls
	if state, ok := s.client.TLSState(); ok && len(state.PeerCertificates) > 0 {
		g.Certificate = state.PeerCertificates[0]
	}
	return g
}
