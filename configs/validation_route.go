package configs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
)

// routes checks where mail is sent.
func (v *validation) routes() {
	all := -1 // the first route that takes everything
	for i, r := range v.config.Routes {
		path := index("route", i)
		if all >= 0 {
			v.warn(path+".to", "is never reached, because %s takes everything", index("route", all))
		} else if r.To == "*" && r.From == "" && r.Login == "" && r.Class == "" {
			all = i
		}
		v.recipients(path+".to", r.To)
		v.knownClass(path+".class", r.Class)
		if r.From != "" {
			v.pattern(path+".from", r.From)
		}
		v.terms(path, r)
		v.legs(path, r)
		v.failover(path+".failover_on", r)
	}
}

// recipients checks which recipients a route is for.
func (v *validation) recipients(path, to string) {
	switch {
	case to == "":
		v.fail(path, `must be set: a domain, ".domain", "user@domain", or "*"`)
	case to == "*":
	case strings.HasPrefix(to, "."):
		v.domain(path, to, to[1:])
	default:
		v.pattern(path, to)
	}
}

// pattern checks an address or a domain.
func (v *validation) pattern(path, text string) {
	domain := text
	if at := strings.LastIndex(text, "@"); at >= 0 {
		if err := checkLocalPart(text[:at]); err != nil {
			v.fail(path, "%q is not an address: %v", text, err)
			return
		}
		domain = text[at+1:]
	}
	v.domain(path, text, domain)
}

// checkLocalPart keeps out what cannot be a local part (RFC 5321 §4.5.3.1.1).
func checkLocalPart(local string) error {
	switch {
	case local == "":
		return errors.New("nothing stands before the @")
	case len(local) > 64:
		return errors.New("more than 64 letters stand before the @")
	case strings.ContainsFunc(local, func(r rune) bool { return r <= ' ' || r == 0x7f }) && !strings.HasPrefix(local, `"`):
		return errors.New("it has a space or control character in it")
	}
	return nil
}

// sources checks the addresses that connections are made from.
func (v *validation) sources(path string, all []string) {
	seen := map[bool]bool{}
	for i, text := range all {
		addr, err := netip.ParseAddr(text)
		addr = addr.Unmap()
		switch {
		case err != nil || addr.Zone() != "" || addr.IsUnspecified():
			v.fail(index(path, i), "%q is not an IP address of this host", text)
		case seen[addr.Is4()]:
			v.fail(index(path, i), "%q is the second of its family: name one IPv4 and one IPv6 address at most", text)
		}
		seen[addr.Is4()] = true
	}
}

// failover checks which replies lead on to the next hop.
func (v *validation) failover(path string, r Route) {
	for i, class := range r.FailoverOn {
		if !replyClass.MatchString(class) {
			v.fail(index(path, i), `%q is not a class of replies such as "4xx", "45x" or "554"`, class)
		}
	}
	if len(r.FailoverOn) > 0 && len(r.Via) == 1 {
		v.warn(path, "has no effect, because there is only one next hop")
	}
}

// replyClass is a refusal's code, with x for any digit.
var replyClass = regexp.MustCompile(`^[45][0-9x]{2}$`)

// pins checks whose certificates are taken.
func (v *validation) pins(path string, r Route) {
	for i, text := range r.TLSPins {
		_, err := ParsePin(text)
		v.check(index(path+".tls_pins", i), err)
	}
	if len(r.TLSPins) > 0 && r.TLS != TLSRequired && r.TLS != TLSVerified {
		v.fail(path+".tls_pins", "needs tls %q or %q", TLSRequired, TLSVerified)
	}
	if r.TLSCA == "" {
		return
	}
	if r.TLS != TLSVerified {
		v.fail(path+".tls_ca", "needs tls %q", TLSVerified)
	}
	text, err := v.files.ReadFile(r.TLSCA)
	if v.check(path+".tls_ca", err) && !x509.NewCertPool().AppendCertsFromPEM(text) {
		v.fail(path+".tls_ca", "%s has no certificates in PEM", r.TLSCA)
	}
}

// secrets checks that the parts of a login go together.
func (v *validation) secrets(path string, r Route) {
	if r.Auth != "" {
		v.oneOf(path+".auth", r.Auth, AuthMechanisms()...)
	}
	bearer := r.Auth == "xoauth2" || r.Auth == "oauthbearer"
	external := r.Auth == "external"
	switch {
	case r.TokenURL != "" && r.PasswordFile != "":
		v.fail(path+".token_url", "contradicts password_file: a token stands in for the password")
	case r.TokenURL != "" && r.Auth != "" && !bearer:
		v.fail(path+".auth", "%q does not use tokens; use %q or %q", r.Auth, "xoauth2", "oauthbearer")
	case r.TokenURL == "" && bearer:
		v.fail(path+".auth", "%q needs token_url", r.Auth)
	case external && r.ClientCertificate == "":
		v.fail(path+".auth", "%q needs client_certificate", r.Auth)
	case r.Username == "" && (r.PasswordFile != "" || r.TokenURL != "" || r.Auth != "" && !external):
		v.fail(path+"."+firstSet(r.PasswordFile, "password_file", r.TokenURL, "token_url", r.Auth, "auth"), "needs username")
	case r.Username != "" && r.PasswordFile == "" && r.TokenURL == "" && !external:
		v.fail(path+".username", "needs password_file, or token_url")
	}
	v.tokens(path, r)
	v.clientCertificate(path, r)
	if r.PasswordFile != "" {
		v.password(path+".password_file", r.PasswordFile)
	}
}

// firstSet takes pairs of a value and its key, and returns the key of the first
// value that is not empty.
func firstSet(pairs ...string) string {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i] != "" {
			return pairs[i+1]
		}
	}
	return ""
}

// tokens checks how OAuth tokens are had.
func (v *validation) tokens(path string, r Route) {
	for _, key := range [][2]string{{"client_id", r.ClientID}, {"client_secret_file", r.ClientSecretFile}, {"refresh_token_file", r.RefreshTokenFile}, {"scope", r.Scope}} {
		if key[1] != "" && r.TokenURL == "" {
			v.fail(path+"."+key[0], "needs token_url")
		}
	}
	if r.TokenURL == "" {
		return
	}
	u, err := url.Parse(r.TokenURL)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http":
		v.fail(path+".token_url", "must be a URL such as \"https://login.example.org/token\"")
	case u.Scheme == "http" && !(Via{Scheme: ViaSMTP, Host: u.Hostname()}).IsLoopback():
		v.fail(path+".token_url", "would send secrets unprotected; use https://")
	}
	if r.ClientID == "" {
		v.fail(path+".token_url", "needs client_id")
	}
	if r.ClientSecretFile == "" && r.RefreshTokenFile == "" {
		v.fail(path+".token_url", "needs client_secret_file, refresh_token_file, or both")
	}
	for _, key := range [][2]string{{"client_secret_file", r.ClientSecretFile}, {"refresh_token_file", r.RefreshTokenFile}} {
		if key[1] != "" {
			v.password(path+"."+key[0], key[1])
		}
	}
}

// clientCertificate checks a certificate that is shown to next hops.
func (v *validation) clientCertificate(path string, r Route) {
	switch {
	case r.ClientCertificate == "" && r.ClientKey == "":
		return
	case r.ClientKey == "":
		v.fail(path+".client_certificate", "needs client_key")
		return
	case r.ClientCertificate == "":
		v.fail(path+".client_key", "needs client_certificate")
		return
	}
	certificate, err := v.files.ReadFile(r.ClientCertificate)
	if !v.check(path+".client_certificate", err) {
		return
	}
	key, err := v.files.ReadFile(r.ClientKey)
	if !v.check(path+".client_key", err) {
		return
	}
	if _, err := tls.X509KeyPair(certificate, key); err != nil {
		v.fail(path+".client_certificate", "does not go with client_key: %v", err)
	}
	v.secrecy(path+".client_key", r.ClientKey)
}

// password checks that a file holds a password.
func (v *validation) password(path, name string) {
	if _, err := readSecret(v.files, name); err != nil {
		v.fail(path, "%v", err)
		return
	}
	v.secrecy(path, name)
}

// secrecy warns of a secret that every user of the host can read.
func (v *validation) secrecy(path, name string) {
	if info, err := v.files.Stat(name); err == nil && info.Mode().Perm()&0o004 != 0 {
		v.warn(path, "%s can be read by every user of this host (mode %04o)", name, info.Mode().Perm())
	}
}

// ReadSecret reads a file that holds a secret, and nothing else, on its first
// line; what ends that line is not part of it. An empty file is an error.
func ReadSecret(name string) (string, error) { return readSecret(disk{}, name) }

func readSecret(fs files, name string) (string, error) {
	text, err := fs.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("read the secret: %w", err)
	}
	secret := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	switch {
	case secret == "":
		return "", fmt.Errorf("read the secret: %s is empty", name)
	case strings.ContainsAny(secret, "\r\n\x00"):
		return "", fmt.Errorf("read the secret: %s has more than one line", name)
	}
	return secret, nil
}
