package message

import "testing"

// TestTLSOptional: P-23 begins with the field, which is read as the sender meant
// it and no other way.
func TestTLSOptional(t *testing.T) {
	for _, row := range []struct {
		name, header string
		want         bool
	}{
		{"8689-d as it is written", "From: a\r\nTLS-Required: No\r\nSubject: x\r\n", true},
		{"8689-d in any case, folded", "tls-required:\r\n\tnO \r\n", true},
		{"8689-d another value", "TLS-Required: Yes\r\n", false},
		{"8689-d more than the value", "TLS-Required: No, really\r\n", false},
		{"8689-d twice", "TLS-Required: No\r\nTLS-Required: No\r\n", false},
		{"8689-d within another field", "Subject: x\r\n TLS-Required: No\r\n", false},
		{"8689-d not there", "Subject: TLS-Required: No\r\n", false},
	} {
		if got := TLSOptional([]byte(row.header)); got != row.want {
			t.Errorf("%s: %v", row.name, got)
		}
	}
}
