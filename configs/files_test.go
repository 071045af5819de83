package configs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io/fs"
	"math/big"
	"testing"
	"testing/fstest"
	"time"
)

// memory is a file system that a test supplies, by absolute name.
type memory map[string]*fstest.MapFile

func (m memory) ReadFile(name string) ([]byte, error) {
	if f, ok := m[name]; ok {
		return f.Data, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

func (m memory) Stat(name string) (fs.FileInfo, error) {
	f, ok := m[name]
	if !ok {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	return fstest.MapFS{"file": f}.Stat("file")
}

// with adds one file that only its owner can read.
func (m memory) with(name string, text []byte) memory {
	m[name] = &fstest.MapFile{Data: text, Mode: 0o600}
	return m
}

// etc has every file that the configurations in testdata and examples name.
func etc(t testing.TB) memory {
	t.Helper()
	key, other := newKey(t), newKey(t)
	year := func(n int) time.Time { return time.Date(n, 1, 2, 3, 4, 5, 0, time.UTC) }
	m := memory{}.
		with("/etc/waypost/tls.crt", certificate(t, key, year(2000), year(2999))).
		with("/etc/waypost/expired.crt", certificate(t, key, year(2000), year(2001))).
		with("/etc/waypost/early.crt", certificate(t, key, year(2998), year(2999))).
		with("/etc/waypost/damaged.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("damaged")})).
		with("/etc/waypost/tls.key", keyFile(t, key)).
		with("/etc/waypost/readable.key", keyFile(t, key)).
		with("/etc/waypost/other.key", keyFile(t, other)).
		with("/etc/aliases", []byte("root: ann@example.org\n")).
		with("/etc/waypost/dkim.pem", []byte("whoever signs reads it\n")).
		with("/etc/waypost/users", []byte("app:hash\n")).
		with("/etc/waypost/recipients", []byte("r@example.org\n")).
		with("/etc/waypost/password", []byte("secret\n")).
		with("/etc/waypost/readable", []byte("secret\n")).
		with("/etc/waypost/empty", []byte("\n")).
		with("/etc/waypost/lines", []byte("secret\nanother\n")).
		with("/run/secrets/smarthost-password", []byte("secret\r\n"))
	m["/etc/waypost/readable"].Mode = 0o644
	m["/etc/waypost/readable.key"].Mode = 0o604
	return m
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func certificate(t testing.TB, key *ecdsa.PrivateKey, from, until time.Time) []byte {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "mail.example.org"},
		DNSNames:     []string{"mail.example.org"},
		NotBefore:    from,
		NotAfter:     until,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func keyFile(t testing.TB, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}
