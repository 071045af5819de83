package configs

// Route sends some recipients' mail to named next hops.
type Route struct {
	// To is which recipients the route is for: a domain, ".domain" for it and
	// all below, "user@domain", or "*" for all. It must be set.
	To string `toml:"to"`
	// From limits the route to a sender's address or domain. Default "" (any).
	From string `toml:"from"`
	// Login limits the route to mail from clients that logged in by this name.
	// Default "" (any).
	Login string `toml:"login"`
	// Class limits the route to one message class. Default "" (any).
	Class string `toml:"class"`
	// Via are the next hops, tried in order. At least one must be set.
	Via []Leg `toml:"via"`
	// Username is the name to log in with. Default "" (no login).
	Username string `toml:"username"`
	// PasswordFile names the file that holds the password; see [ReadSecret]. Default "".
	PasswordFile string `toml:"password_file"`
	// Auth is the SASL mechanism to log in by: one of [AuthMechanisms], or "",
	// the default, for the best that the next hop offers.
	Auth string `toml:"auth"`
	// TokenURL is where OAuth 2.0 access tokens are fetched, which then stand in
	// for a password. Default "" (none).
	TokenURL string `toml:"token_url"`
	// ClientID is who we are there. Default "".
	ClientID string `toml:"client_id"`
	// ClientSecretFile names the file that holds the client's secret. Default "" (none).
	ClientSecretFile string `toml:"client_secret_file"`
	// RefreshTokenFile names the file that holds the refresh token. Default ""
	// (none: tokens are fetched with the client's own credentials).
	RefreshTokenFile string `toml:"refresh_token_file"`
	// Scope is what tokens are asked for. Default "" (what the provider gives).
	Scope string `toml:"scope"`
	// ClientCertificate names the PEM file of a certificate to show to next
	// hops, ClientKey that of its key. Default "" (none).
	ClientCertificate string `toml:"client_certificate"`
	ClientKey         string `toml:"client_key"`
	// TLS is [TLSNone], [TLSOpportunistic], the default, [TLSRequired],
	// [TLSVerified] or [TLSDANE].
	TLS string `toml:"tls"`
	// TLSPins are digests of public keys, "sha256:" and 64 hexadecimal digits, of
	// which the certificate of a next hop must have one; see [ParsePin]. Default
	// none.
	TLSPins []string `toml:"tls_pins"`
	// TLSCA names the PEM file of the authorities that are trusted in place of the
	// system's where TLS is [TLSVerified]. Default "".
	TLSCA string `toml:"tls_ca"`
	// SourceAddresses are the addresses from which connections are made, one
	// for each family at most. Default none: the system chooses.
	SourceAddresses []string `toml:"source_addresses"`
	// Hello is our name in EHLO. Default "" (Hostname).
	Hello string `toml:"hello"`
	// FailoverOn are classes of replies that lead on to the next of Via, such
	// as "4xx" or "554". Default none: only a next hop that cannot be used does.
	FailoverOn []string `toml:"failover_on"`
}

// Values of Reply.Action.
const (
	// ActionDefer takes a 5yz reply for temporary.
	ActionDefer = "defer"
	// ActionBounce takes a 4yz reply for permanent.
	ActionBounce = "bounce"
	// ActionNextLeg tries the next of Route.Via.
	ActionNextLeg = "next_leg"
)

// Reply says what some refusals of next hops mean. What is set of To to Text must
// all match.
type Reply struct {
	// Name is the rule's name in logs and metrics: small letters, digits and
	// hyphens. It must be set.
	Name string `toml:"name"`
	// To are recipients' domains, or ".domain" for it and all below. Default any.
	To []string `toml:"to"`
	// Hosts are the hosts that reply, in the same way. Default any.
	Hosts []string `toml:"hosts"`
	// Code are reply codes such as "450" or "4xx" and enhanced codes such as
	// "4.7.1" or "4.7.x", of which one must match. Default any 4yz or 5yz.
	Code []string `toml:"code"`
	// Text is a regular expression that the reply must have; see [regexp/syntax].
	// Default "" (any).
	Text string `toml:"text"`
	// Action is [ActionDefer], [ActionBounce] or [ActionNextLeg]. Default "": as
	// the code says.
	Action string `toml:"action"`
	// RetryAfter is when the next attempt is made. Default 0: as Queue.Retry says.
	RetryAfter Duration `toml:"retry_after"`
	// Retries is after how many attempts Queue.Retry holds all the same. Default
	// 0: never.
	Retries int `toml:"retries"`
	// Pause is how long nothing more is sent to the same destination. Default 0.
	Pause Duration `toml:"pause"`
	// Slow has fewer connections opened to the same hosts for a while. Default
	// false.
	Slow bool `toml:"slow"`
}

// Pace says how fast mail may leave for some sites: the mail hosts that domains
// share, or smarthosts. What is set of To and Hosts must match.
type Pace struct {
	// Name is the rule's name in metrics: small letters, digits and hyphens. It
	// must be set.
	Name string `toml:"name"`
	// To are recipients' domains whose mail goes by MX, or ".domain" for it and all
	// below. Default any.
	To []string `toml:"to"`
	// Hosts are names of mail hosts or smarthosts, in the same way. Default any.
	Hosts []string `toml:"hosts"`
	// Each says that each site that matches has these limits to itself. Default
	// false: all of them are one site.
	Each bool `toml:"each"`
	// Connections is how many may be open at most, and MinConnections how many may
	// be however much fails. Default 0, which is
	// Delivery.ConnectionsPerDestination, and 1.
	Connections    int `toml:"connections"`
	MinConnections int `toml:"min_connections"`
	// MessagesPerConnection is how many messages one connection carries. Default 1000.
	MessagesPerConnection int `toml:"messages_per_connection"`
	// RecipientsPerMessage is how many recipients a message has there at most; the
	// others get it in another transaction. Default 0: as the host says.
	RecipientsPerMessage int `toml:"recipients_per_message"`
	// MessageRate and RecipientRate bound what is sent within a time, as in
	// [ParseRate]. Default none.
	MessageRate   []string `toml:"message_rate"`
	RecipientRate []string `toml:"recipient_rate"`
}

// Resolver names the DNS servers.
type Resolver struct {
	// Servers are IP addresses, with a port where it is not 53; see
	// [ParseServer]. Default none, which means those of /etc/resolv.conf.
	Servers []string `toml:"servers"`
	// TrustAD are the IP addresses of servers, besides those on this host, that
	// validate DNSSEC and are reached over a network that nobody can tamper
	// with. Default none.
	TrustAD []string `toml:"trust_ad"`
}

// Values of Delivery.AddressFamily.
const (
	// FamilyBoth uses both, IPv6 first.
	FamilyBoth = "both"
	// FamilyPreferIPv4 uses both, IPv4 first.
	FamilyPreferIPv4 = "prefer_ipv4"
	// FamilyIPv4 uses IPv4 only.
	FamilyIPv4 = "ipv4"
	// FamilyIPv6 uses IPv6 only.
	FamilyIPv6 = "ipv6"
)

// AuthMechanisms are the values of Route.Auth besides "".
func AuthMechanisms() []string {
	return []string{"plain", "login", "cram-md5", "scram-sha-256", "scram-sha-256-plus", "xoauth2", "oauthbearer", "external"}
}

// Delivery bounds what delivery may use and reach.
type Delivery struct {
	// SMTPPort is the port on which MX hosts are tried. Default 25.
	SMTPPort int `toml:"smtp_port"`
	// AllowPrivate are the loopback and private networks that delivery by MX
	// may reach, as in Relay.Networks. Default none.
	AllowPrivate []string `toml:"allow_private"`
	// OwnAddresses are addresses at which other hosts reach us though none of our
	// interfaces has them, as behind a NAT. Default none.
	OwnAddresses []string `toml:"own_addresses"`
	// MTASTS says that the MTA-STS policies of domains are obeyed. Default true.
	MTASTS bool `toml:"mta_sts"`
	// AddressFamily is [FamilyBoth], the default, [FamilyPreferIPv4],
	// [FamilyIPv4] or [FamilyIPv6].
	AddressFamily string `toml:"address_family"`
	// Workers is how many delivery attempts may run at once at destinations that
	// answer promptly. Default 500.
	Workers int `toml:"workers"`
	// SlowWorkers is how many may run at once at all others; 0, the default, is
	// four times Workers.
	SlowWorkers int `toml:"slow_workers"`
	// ConnectionsPerDestination is how many connections may be open to one
	// destination. Default 20.
	ConnectionsPerDestination int `toml:"connections_per_destination"`
	// ConnectTimeout is how long establishing one connection may take. Default 30s.
	ConnectTimeout Duration `toml:"connect_timeout"`
	// How long a host may take for each step of a session (RFC 5321 §4.5.3.2): for
	// its greeting, default 5m; for the reply to EHLO, STARTTLS and each step of AUTH,
	// 5m; to MAIL, 5m; to each RCPT, 5m; to DATA, 2m; to take each block of content,
	// 3m; and for the reply to its end, 10m.
	GreetingTimeout Duration `toml:"greeting_timeout"`
	HelloTimeout    Duration `toml:"hello_timeout"`
	MailTimeout     Duration `toml:"mail_timeout"`
	RcptTimeout     Duration `toml:"rcpt_timeout"`
	DataTimeout     Duration `toml:"data_timeout"`
	BlockTimeout    Duration `toml:"block_timeout"`
	DotTimeout      Duration `toml:"dot_timeout"`
}
