package dkim

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKeyFiles(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8 := func(k any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	small := "-----BEGIN RSA PRIVATE KEY-----\nMIIBOgIBAAJBAKj34GkxFhD90vcNLYLInFEX6Ppy1tPf9Cnzj4p4WGeKLs1Pt8Qu\nKUpRKfFLfRYC9AIKjbJTWit+CqvjWYzvQwECAwEAAQJAIJLixBy2qpFoS4DSmoEm\no3qGy0t6z09AIJtH+5OeRV1be+N4cDYJKffGzDa88vQENZiRm0GRq6a+HPGQMd2k\nTQIhAKMSvzIBnni7ot/OSie2TmJLY4SwTQAevXysE2RbFDYdAiEBCUEaRQnMnbp7\n9mxDXDf6AU0cN/RPBjb9qSHDcWZHGzUCIG2Es59z8ugGrDY+pxLQnwfotadxd+Uy\nv/Ow5T0q5gIJAiEAyS4RaI9YG8EWx/2w0T67ZUVAw8eOMB6BIUg0Xcu+3okCIBOs\n/5OiPgoTdSy7bcF9IGpSE8ZgGKzgYQVZeN97YE00\n-----END RSA PRIVATE KEY-----\n"
	for name, tc := range map[string]struct{ text, want string }{
		"PKCS #1":          {string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)})), ""},
		"PKCS #8":          {string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8(rsaKey)})), ""},
		"behind text":      {"opendkim says:\n" + string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")})) + string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8(rsaKey)})), ""},
		"another kind":     {string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8(ec)})), "neither RSA nor Ed25519"},
		"with a password":  {string(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")})), "has a password"},
		"too small":        {small, "key.pem: "},
		"damaged":          {string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})), "cannot be read"},
		"damaged, PKCS #1": {string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: []byte("x")})), "cannot be read"},
		"public":           {string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")})), "no private key"},
		"empty":            {"", "no private key"},
		"too large":        {strings.Repeat("x", maxKeyFile+1), "more than"},
	} {
		file := filepath.Join(t.TempDir(), "key.pem")
		if err := os.WriteFile(file, []byte(tc.text), 0o600); err != nil {
			t.Fatal(err)
		}
		k, err := ReadKey(file)
		switch {
		case tc.want == "" && (err != nil || !rsaKey.Equal(k)):
			t.Errorf("%s: %v", name, err)
		case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

func TestRecords(t *testing.T) {
	rsaKey, _ := Generate(RSA)
	otherKey, _ := Generate(RSA)
	otherRecord, _ := Record(otherKey.Public())
	ed, _ := Generate(Ed25519)
	record, _ := Record(rsaKey.Public())
	edRecord, _ := Record(ed.Public())
	p := record[strings.Index(record, "p=")+2:]
	pkcs1 := base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(rsaKey.Public().(*rsa.PublicKey)))
	for name, tc := range map[string]struct {
		texts   []string
		state   State
		why     string
		testing bool
	}{
		"as we write it":      {[]string{record}, Published, "", false},
		"the shortest":        {[]string{"p=" + p}, Published, "", false},
		"PKCS #1":             {[]string{"v=DKIM1;p=" + pkcs1}, Published, "", false},
		"with blanks":         {[]string{" v = DKIM1 ; k = rsa ;\tp = " + p[:40] + " " + p[40:] + " ; "}, Published, "", false},
		"more tags":           {[]string{"v=DKIM1; h=sha1:sha256; s=email; t=s:Y; n=note; x=y; p=" + p}, Published, "", true},
		"beside others":       {[]string{"v=spf1 -all", record, "google-site-verification=x"}, Published, "", false},
		"none":                {nil, Missing, "has no TXT record", false},
		"only others":         {[]string{"v=spf1 -all"}, Missing, "with a key", false},
		"two":                 {[]string{record, edRecord}, Other, "2 records", false},
		"revoked":             {[]string{"v=DKIM1; p="}, Other, "revoked", false},
		"of another kind":     {[]string{edRecord}, Other, `kind "ed25519"`, false},
		"of a later version":  {[]string{"v=DKIM2; p=" + p}, Other, "version", false},
		"not for sha256":      {[]string{"h=sha1; p=" + p}, Other, "sha256", false},
		"not for mail":        {[]string{"s=tlsrpt; p=" + p}, Other, "not for mail", false},
		"not base64":          {[]string{"p=!!"}, Other, "base64", false},
		"no key":              {[]string{"p=aGVsbG8="}, Other, "cannot be read", false},
		"of another key":      {[]string{otherRecord}, Other, "another key", false},
		"the DNS cannot tell": {[]string{"SERVFAIL"}, Unknown, "server failure", false},
	} {
		f := Look(t.Context(), zone{RecordName("a.example", "s"): tc.texts}.texts, "a.example", "s", rsaKey.Public())
		if f.State != tc.state || f.Testing != tc.testing || (f.Err == nil) != (tc.state == Published) || f.Err != nil && !strings.Contains(f.Err.Error(), tc.why) {
			t.Errorf("%s: %v, %v, testing %v", name, f.State, f.Err, f.Testing)
		}
	}
	if f := Look(t.Context(), zone{RecordName("a.example", "s"): {edRecord}}.texts, "a.example", "s", ed.Public()); f.State != Published {
		t.Errorf("Ed25519: %v, %v", f.State, f.Err)
	}
}
