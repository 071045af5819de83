package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"waypost/relay/relaytest"
	"waypost/relay/watch"
)

// write writes a pair and returns its files.
func write(t testing.TB, dir string, c tls.Certificate) Pair {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	p := Pair{filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")}
	save(t, p.Certificate, "CERTIFICATE", c.Certificate[0])
	save(t, p.Key, "PRIVATE KEY", der)
	return p
}

func save(t testing.TB, name, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// connect returns what each side knows of a handshake, or the client's error
// and the server's.
func connect(server, client *tls.Config) (seen, known tls.ConnectionState, clientErr, serverErr error) {
	left, right := net.Pipe()
	defer left.Close()
	defer right.Close()
	s, c := tls.Server(left, server), tls.Client(right, client)
	ended := make(chan error, 1)
	go func() {
		err := s.Handshake()
		if err != nil {
			left.Close()
		}
		ended <- err
	}()
	if clientErr = c.Handshake(); clientErr != nil {
		right.Close()
	}
	// In TLS 1.3 the server judges the client's certificate last, and what it
	// says then has to be read.
	go c.Read(make([]byte, 1))
	serverErr = <-ended
	return c.ConnectionState(), s.ConnectionState(), clientErr, serverErr
}

// presented is the name in the certificate that a client gets that asks for a
// host.
func presented(t *testing.T, server *tls.Config, host string) string {
	t.Helper()
	state, _, err, _ := connect(server, &tls.Config{ServerName: host, InsecureSkipVerify: true})
	if err != nil {
		t.Fatalf("%s: %v", host, err)
	}
	return state.PeerCertificates[0].DNSNames[0]
}

func TestCertificateFollowsName(t *testing.T) {
	ca := relaytest.NewCA(t)
	s, err := Load([]Pair{
		write(t, t.TempDir(), ca.Leaf("first.example")),
		write(t, t.TempDir(), ca.Leaf("second.example", "also.example")),
		write(t, t.TempDir(), ca.Leaf("*.wild.example")),
	}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{
		"": "first.example", "first.example": "first.example", "second.example": "second.example", "also.example": "second.example",
		"SECOND.example": "second.example", "a.wild.example": "*.wild.example", "a.b.wild.example": "first.example", "unknown.example": "first.example",
	} {
		if got := presented(t, s.Config(Modern, nil), host); got != want {
			t.Errorf("who asks for %q gets %s, want %s", host, got, want)
		}
	}
}

// T-20: renewed, and bad.
//
// The certificate is renewed on disk, then a broken key comes, then a good one.
func TestCertificateFollowsItsFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, dir := relaytest.NewCA(t), t.TempDir()
		soon, late := time.Now().Add(240*time.Hour).Truncate(time.Second), time.Now().Add(2400*time.Hour).Truncate(time.Second)
		pair := write(t, dir, ca.LeafUntil(soon, "old.example"))
		var failures, successes int
		var expiry []time.Time
		s, err := Load([]Pair{pair}, Options{
			Reread: func(p Pair, err error) {
				if p != pair {
					t.Errorf("told of %+v", p)
				}
				if err != nil {
					failures++
				} else {
					successes++
				}
			},
			Expiry: func(at time.Time) { expiry = append(expiry, at) },
		})
		if err != nil {
			t.Fatal(err)
		}
		server := s.Config(Modern, nil)
		for _, step := range []struct {
			write func()
			want  string
		}{
			{func() {}, "old.example"},
			{func() { write(t, dir, ca.LeafUntil(late, "new.example")) }, "new.example"},
			{func() { save(t, pair.Key, "PRIVATE KEY", []byte("broken")) }, "new.example"},
			{func() { os.Remove(pair.Key) }, "new.example"},
			{func() { write(t, dir, ca.LeafUntil(late, "newest.example")) }, "newest.example"},
		} {
			step.write()
			time.Sleep(watch.Interval)
			if got := presented(t, server, ""); got != step.want {
				t.Errorf("presented %s, want %s", got, step.want)
			}
		}
		if failures != 2 || successes != 2 {
			t.Errorf("told of %d failures and %d successes", failures, successes)
		}
		if len(expiry) != 2 || !expiry[0].Equal(soon) || !expiry[1].Equal(late) {
			t.Errorf("expiries %v, want %v and %v", expiry, soon, late)
		}
	})
}

// 8314-4.1-a 3207-c T-15: no old versions and no weak ciphers, unless an operator asks for them.
func TestProfiles(t *testing.T) {
	s, err := Load([]Pair{write(t, t.TempDir(), relaytest.NewCA(t).Leaf("a.example"))}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		profile Profile
		version uint16
		want    bool
	}{
		{Modern, tls.VersionTLS10, false}, {Modern, tls.VersionTLS11, false}, {Modern, tls.VersionTLS12, true}, {Modern, tls.VersionTLS13, true},
		{Legacy, tls.VersionTLS10, true}, {Legacy, tls.VersionTLS13, true},
	} {
		client := &tls.Config{InsecureSkipVerify: true, MinVersion: tc.version, MaxVersion: tc.version}
		_, _, err, _ := connect(s.Config(tc.profile, nil), client)
		if (err == nil) != tc.want {
			t.Errorf("profile %d with %s: %v", tc.profile, tls.VersionName(tc.version), err)
		}
	}
	for _, suite := range []uint16{tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA, tls.TLS_RSA_WITH_RC4_128_SHA} {
		client := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite}}
		if _, _, err, _ := connect(s.Config(Legacy, nil), client); err == nil {
			t.Errorf("%s is taken", tls.CipherSuiteName(suite))
		}
	}
}

func TestClientCertificates(t *testing.T) {
	ca, ours, theirs := relaytest.NewCA(t), relaytest.NewCA(t), relaytest.NewCA(t)
	s, err := Load([]Pair{write(t, t.TempDir(), ca.Leaf("a.example"))}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	server := s.Config(Modern, watch.Fixed(ours.Pool()))
	with := func(certificates ...tls.Certificate) *tls.Config {
		return &tls.Config{RootCAs: ca.Pool(), ServerName: "a.example", GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if len(certificates) == 0 {
				return &tls.Certificate{}, nil
			}
			return &certificates[0], nil
		}}
	}
	if _, state, _, err := connect(server, with(ours.Leaf("app.example"))); err != nil || len(state.VerifiedChains) == 0 {
		t.Errorf("one of ours: %v, chains %v", err, state.VerifiedChains)
	}
	if _, state, _, err := connect(server, with()); err != nil || len(state.VerifiedChains) > 0 {
		t.Errorf("none: %v", err)
	}
	if _, _, _, err := connect(server, with(theirs.Leaf("app.example"))); err == nil {
		t.Error("one of theirs is taken")
	}
}

func TestLoadRefuses(t *testing.T) {
	good := write(t, t.TempDir(), relaytest.NewCA(t).Leaf("a.example"))
	other := write(t, t.TempDir(), relaytest.NewCA(t).Leaf("b.example"))
	for _, pairs := range [][]Pair{nil, {{good.Certificate, other.Key}}, {good, {"/nowhere", good.Key}}, {{good.Certificate, good.Certificate}}} {
		if _, err := Load(pairs, Options{}); err == nil {
			t.Errorf("%v loads", pairs)
		}
	}
	if _, err := Authorities(good.Key, nil); err == nil {
		t.Error("a key is an authority")
	}
	if _, err := Authorities(good.Certificate, nil); err != nil {
		t.Error(err)
	}
}
