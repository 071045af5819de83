package configs

// Values of Listener.Mode.
const (
	// ModeRelay takes mail from other hosts and applications.
	ModeRelay = "relay"
	// ModeSubmission takes new mail from mail programs (RFC 6409).
	ModeSubmission = "submission"
)

// Values of Listener.TLS and Route.TLS.
const (
	// TLSNone uses no TLS. For listeners and routes.
	TLSNone = "none"
	// TLSStartTLS offers STARTTLS to clients that want it. For listeners.
	TLSStartTLS = "starttls"
	// TLSRequired takes mail only after STARTTLS; for a route it gives mail only
	// over TLS, whatever the certificate. For listeners and routes.
	TLSRequired = "required"
	// TLSImplicit begins every connection with the handshake (RFC 8314 §3). For listeners.
	TLSImplicit = "implicit"
	// TLSOpportunistic uses TLS where it can be had (RFC 7435). For routes.
	TLSOpportunistic = "opportunistic"
	// TLSVerified gives mail only over TLS to a host whose certificate is valid
	// for its name. For routes.
	TLSVerified = "verified"
	// TLSDANE gives mail only over TLS to a host whose certificate matches secure
	// TLSA records (RFC 7672). For routes.
	TLSDANE = "dane"
)

// Values of Listener.TLSProfile.
const (
	// ProfileModern takes TLS 1.2 and later.
	ProfileModern = "modern"
	// ProfileLegacy takes TLS 1.0 too, for devices that know no other.
	ProfileLegacy = "legacy"
)

// Values of Listener.Auth.
const (
	// AuthNone has nobody log in.
	AuthNone = "none"
	// AuthOptional lets clients log in.
	AuthOptional = "optional"
	// AuthRequired takes mail only from those who have (RFC 4954 §6).
	AuthRequired = "required"
)

// Listener is one address on which mail is taken.
type Listener struct {
	// Address is an IP address, or nothing for all, with a port; port 0 takes
	// any free one. Default 127.0.0.1:2525.
	Address string `toml:"address"`
	// Mode is [ModeRelay], the default, or [ModeSubmission].
	Mode string `toml:"mode"`
	// TLS is [TLSNone], [TLSStartTLS], [TLSRequired] or [TLSImplicit]. The
	// default is TLSStartTLS where a certificate is configured, else TLSNone.
	TLS string `toml:"tls"`
	// Auth is [AuthNone], the default, [AuthOptional] or [AuthRequired].
	Auth string `toml:"auth"`
	// AuthWithoutTLS lets clients log in where the password can be read on
	// the way. Default false.
	AuthWithoutTLS bool `toml:"auth_without_tls"`
	// TLSProfile is [ProfileModern], the default, or [ProfileLegacy].
	TLSProfile string `toml:"tls_profile"`
	// ClientCA names a PEM file of authorities whose clients may show who they
	// are by certificate. Default "" (none).
	ClientCA string `toml:"client_ca"`
	// ProxyProtocolFrom are the proxies that tell the client's address by the
	// PROXY protocol, as in Relay.Networks. Default none.
	ProxyProtocolFrom []string `toml:"proxy_protocol_from"`
	// XClientFrom are the clients that may speak for others by XCLIENT, as in
	// Relay.Networks. Default none.
	XClientFrom []string `toml:"xclient_from"`
}

// TLS is the certificate that listeners present. Both files or none.
type TLS struct {
	// Certificate names a PEM file: our certificate, then its issuers'. Default "" (none).
	Certificate string `toml:"certificate"`
	// Key names the PEM file of the certificate's private key. Default "" (none).
	Key string `toml:"key"`
}
