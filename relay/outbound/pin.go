package outbound

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
)

// errPin means that a host shows another key than the route says.
var errPin = errors.New("the certificate has none of the keys that the route pins")

// pinned adds to what judges certificates that their key must be pinned, where the
// route has pins.
func (h hop) pinned(verify func(tls.ConnectionState) error) func(tls.ConnectionState) error {
	if len(h.terms.Pins) == 0 {
		return verify
	}
	return func(state tls.ConnectionState) error {
		if verify != nil {
			if err := verify(state); err != nil {
				return err
			}
		}
		if len(state.PeerCertificates) == 0 {
			return errPin
		}
		key := sha256.Sum256(state.PeerCertificates[0].RawSubjectPublicKeyInfo)
		if !slices.Contains(h.terms.Pins, key) {
			return fmt.Errorf("%w: it has sha256:%s", errPin, hex.EncodeToString(key[:]))
		}
		return nil
	}
}
