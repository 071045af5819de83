package configs

import (
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
)

// ParsePin reads the SHA-256 digest of a public key: "sha256:" and 64 hexadecimal
// digits.
func ParsePin(s string) (pin [32]byte, err error) {
	digits, ok := strings.CutPrefix(s, "sha256:")
	b, err := hex.DecodeString(digits)
	if !ok || err != nil || len(b) != len(pin) {
		return pin, fmt.Errorf("%q is not \"sha256:\" and 64 hexadecimal digits", s)
	}
	return [32]byte(b), nil
}

// ReadAuthorities reads a PEM file of authorities.
func ReadAuthorities(name string) (*x509.CertPool, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("read authorities: %s has no certificates in PEM", name)
	}
	return pool, nil
}
