package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"waypost/relay/watch"
)

// Algorithm is a kind of key, as the tag k= has it.
type Algorithm string

// The algorithms that signatures are made with.
const (
	RSA     Algorithm = "rsa"
	Ed25519 Algorithm = "ed25519" // RFC 8463
)

// Algorithms lists them, in the order in which signatures stand.
func Algorithms() []Algorithm { return []Algorithm{RSA, Ed25519} }

const (
	// minBits is the smallest RSA key that signs (RFC 8301 §3.2).
	minBits = 1024
	// GoodBits is the size that an RSA key should have at least (RFC 8301 §3.2).
	GoodBits = 2048
	// maxKeyFile bounds what is read of a key file, in octets.
	maxKeyFile = 64 << 10
)

// Generate makes a new key: for RSA of GoodBits.
func Generate(a Algorithm) (crypto.Signer, error) {
	switch a {
	case RSA:
		return rsa.GenerateKey(rand.Reader, GoodBits)
	case Ed25519:
		_, k, err := ed25519.GenerateKey(rand.Reader)
		return k, err
	}
	return nil, fmt.Errorf("there is no algorithm %q", a)
}

// EncodeKey returns a key in PEM, as ReadKey reads it (PKCS #8).
func EncodeKey(k crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// ReadKey reads the key in a PEM file: PKCS #8, as openssl genpkey and rspamd
// write it, or PKCS #1, as opendkim-genkey does.
func ReadKey(name string) (crypto.Signer, error) {
	text, err := watch.ReadFile(name, maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("read DKIM key: %w", err)
	}
	k, err := parseKey(text)
	if err != nil {
		return nil, fmt.Errorf("read DKIM key: %s: %w", name, err)
	}
	return k, nil
}

func parseKey(text []byte) (crypto.Signer, error) {
	for {
		block, rest := pem.Decode(text)
		switch {
		case block == nil:
			return nil, errors.New("there is no private key in PEM form")
		case block.Type == "RSA PRIVATE KEY":
			k, err := x509.ParsePKCS1PrivateKey(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("its key cannot be read: %w", err)
			}
			return checkKey(k)
		case strings.Contains(block.Type, "ENCRYPTED"):
			return nil, errors.New("its key has a password, and nobody is there to type it")
		case block.Type == "PRIVATE KEY":
			k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("its key cannot be read: %w", err)
			}
			return checkKey(k)
		}
		text = rest
	}
}

// checkKey returns a key that can sign.
func checkKey(k any) (crypto.Signer, error) {
	switch k := k.(type) {
	case *rsa.PrivateKey:
		if bits := k.N.BitLen(); bits < minBits {
			// RFC 8301 §3.2: verifiers take no smaller one.
			return nil, fmt.Errorf("its RSA key has %d bits, and nobody takes less than %d", bits, minBits)
		}
		return k, nil
	case ed25519.PrivateKey:
		return k, nil
	}
	return nil, fmt.Errorf("its key is neither RSA nor Ed25519")
}

// load returns the key of a file, which is read again when it changes.
func load(name string, report func(error)) (*watch.Value[crypto.Signer], error) {
	return watch.New(func() (crypto.Signer, error) { return ReadKey(name) }, report, name)
}

// AlgorithmOf returns the algorithm of a public key; "" for one that cannot sign.
func AlgorithmOf(k crypto.PublicKey) Algorithm {
	switch k.(type) {
	case *rsa.PublicKey:
		return RSA
	case ed25519.PublicKey:
		return Ed25519
	}
	return ""
}

// Bits returns the size of a public key.
func Bits(k crypto.PublicKey) int {
	switch k := k.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen()
	case ed25519.PublicKey:
		return len(k) * 8
	}
	return 0
}

// Record returns the record that publishes a key (RFC 6376 §3.6.1, RFC 8463 §4).
func Record(public crypto.PublicKey) (string, error) {
	var p []byte
	switch k := public.(type) {
	case *rsa.PublicKey:
		der, err := x509.MarshalPKIXPublicKey(k)
		if err != nil {
			return "", err
		}
		p = der
	case ed25519.PublicKey:
		p = k
	default:
		return "", fmt.Errorf("a key of the type %T has no record", public)
	}
	return "v=DKIM1; k=" + string(AlgorithmOf(public)) + "; p=" + base64.StdEncoding.EncodeToString(p), nil
}

// RecordName is where the record of a selector stands.
func RecordName(domain, selector string) string { return selector + "._domainkey." + domain }

// Zone returns a record as zone files have it: in strings of 255 octets at most
// (RFC 6376 §3.6.2.2), the name with its final dot.
func Zone(name, record string) string {
	var b strings.Builder
	b.WriteString(name + ". IN TXT (")
	for len(record) > 0 {
		n := min(len(record), 255)
		b.WriteString("\n\t\"" + record[:n] + "\"")
		record = record[n:]
	}
	b.WriteString(" )")
	return b.String()
}
