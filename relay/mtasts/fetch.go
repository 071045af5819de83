package mtasts

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"time"
)

const (
	fetchTimeout = time.Minute // RFC 8461 §3.3 suggests one minute
	maxSize      = 64 << 10    // and 64 KiB
)

// fetch gets the policy of a domain from its policy host (RFC 8461 §3.3).
func (s *Store) fetch(ctx context.Context, domain string) (Policy, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	client := http.Client{
		// A redirect would lead to a host that the certificate is not about.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		// Without a proxy, whatever the environment says, and without a connection
		// that outlives the answer.
		Transport: &http.Transport{
			DialContext: s.dial, DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxSize,
			TLSClientConfig: &tls.Config{RootCAs: s.o.Roots, MinVersion: tls.VersionTLS12},
		},
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://mta-sts."+domain+"/.well-known/mta-sts.txt", nil)
	if err != nil {
		return Policy{}, err
	}
	answer, err := client.Do(request)
	if err != nil {
		return Policy{}, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return Policy{}, fmt.Errorf("the policy host answers %d", answer.StatusCode)
	}
	if kind, _, err := mime.ParseMediaType(answer.Header.Get("Content-Type")); err != nil || kind != "text/plain" {
		return Policy{}, fmt.Errorf("the policy is of the type %.40q, not text/plain", answer.Header.Get("Content-Type"))
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxSize+1))
	switch {
	case err != nil:
		return Policy{}, fmt.Errorf("read the policy: %w", err)
	case len(text) > maxSize:
		return Policy{}, errors.New("the policy is larger than 64 KiB")
	}
	p, age, err := parse(string(text))
	if err != nil {
		return Policy{}, fmt.Errorf("the policy cannot be understood: %w", err)
	}
	p.Fetched = time.Now().UTC()
	p.Expires = p.Fetched.Add(age)
	return p, nil
}

// dial connects to the policy host, at one of the addresses that it may have.
func (s *Store) dial(ctx context.Context, _, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	all, err := s.o.Addresses(ctx, host)
	if err != nil {
		return nil, err
	}
	err = errors.New("it has no address")
	for _, a := range all {
		var c net.Conn
		if c, err = s.o.Dial(ctx, netip.AddrPortFrom(a, 443)); err == nil {
			return c, nil
		}
	}
	return nil, fmt.Errorf("connect to %s: %w", host, err)
}
