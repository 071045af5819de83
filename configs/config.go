package configs

import "strconv"

// Config is a whole configuration. The zero value is not valid: begin with
// [Default] or [Load].
type Config struct {
	// Hostname is our name in the greeting, in EHLO and in Received fields. The
	// default is the host's own name, fully qualified where /etc/hosts says how.
	Hostname string `toml:"hostname"`
	// DataDir is the directory of the queue and of the control socket. The
	// default is the first of $STATE_DIRECTORY, else $XDG_STATE_HOME/waypost,
	// else ~/.local/state/waypost.
	DataDir string `toml:"data_dir"`
	// DropDir is where the sendmail command leaves mail while no waypost runs.
	// Default "", which is drop in DataDir, where only waypost's own user may
	// leave some.
	DropDir string `toml:"drop_dir"`
	// ShutdownTimeout is how long sessions and deliveries may take to finish
	// once we are told to stop. Default 30s.
	ShutdownTimeout Duration `toml:"shutdown_timeout"`

	// Listeners are the addresses on which mail is taken. Without any there is
	// one, with each key at its default.
	Listeners []Listener `toml:"listener"`
	// TLS is the certificate that listeners present.
	TLS TLS `toml:"tls"`
	// Certificates are presented to clients that ask for a host in them.
	// Default none.
	Certificates []TLS `toml:"certificate"`
	// Relay says for whom mail is relayed.
	Relay Relay `toml:"relay"`
	// Deny lists what is refused.
	Deny Lists `toml:"deny"`
	// Allow lists what is not looked for on the same list of Deny.
	Allow Lists `toml:"allow"`
	// Logins say what logins may do. Default none: each may use any sender.
	Logins []Login `toml:"login"`
	// DKIM are the keys with which mail is signed. Default none: nothing is.
	DKIM []DKIM `toml:"dkim"`
	// Limits bound what clients may use.
	Limits Limits `toml:"limits"`
	// Queue says how long and how often delivery is tried.
	Queue Queue `toml:"queue"`
	// Classes are asked in order and the first that matches is a message's class.
	// Default none, and all mail is of the class "default".
	Classes []Class `toml:"class"`
	// History says what is kept of messages that have left the queue.
	History History `toml:"history"`
	// Routes are asked in order and the first that matches wins; without one,
	// mail goes where the recipient's MX records say. Default none.
	Routes []Route `toml:"route"`
	// Replies are asked in order, and the first that matches a refusal says what it
	// means; behind them there are built-in rules. Default none.
	Replies []Reply `toml:"reply"`
	// Paces are asked in order, and the first that matches says how fast mail may
	// leave for a site. Default none.
	Paces []Pace `toml:"pace"`
	// Resolver names the DNS servers.
	Resolver Resolver `toml:"resolver"`
	// Delivery bounds what delivery may use and reach.
	Delivery Delivery `toml:"delivery"`
	// Metrics is the HTTP endpoint for metrics and health.
	Metrics Metrics `toml:"metrics"`
	// Log says what is logged, and how.
	Log Log `toml:"log"`

	// Warnings tell what is valid but suspicious. [Load] and [Config.Validate]
	// set them.
	Warnings []Problem `toml:"-"`

	places places // of what was set
}

// Problem makes a problem of a key, at its place.
func (c *Config) Problem(path, text string) Problem {
	return c.places.find(path).problem(path, path+": "+text, "")
}

// Place is where a key was set, as "waypost.toml:12" or the name of a variable,
// by its path with indexes: "relay.networks[1]". It is "" for what has its
// default. A path that was not set itself has the place of what it is part of.
func (c *Config) Place(path string) string {
	at := c.places.find(path)
	if at.row == 0 {
		return at.file
	}
	return at.file + ":" + strconv.Itoa(at.row)
}

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

// What becomes of a recipient of whom nothing is found out.
const (
	// VerifyAccept takes it.
	VerifyAccept = "accept"
	// VerifyDefer has the client come back.
	VerifyDefer = "defer"
)

// Relay says for whom mail is relayed.
type Relay struct {
	// Networks are the clients that may relay anywhere, as prefixes or single
	// addresses; see [ParseNetwork]. Default 127.0.0.0/8 and ::1/128.
	Networks []string `toml:"networks"`
	// Domains are the recipients' domains for which mail is taken from anyone:
	// "example.org" is that domain alone, ".example.org" it and all below. Default none.
	Domains []string `toml:"domains"`
	// Certificates are the names in client certificates, see
	// Listener.ClientCA, that may send to anywhere: a mail address, a host, or
	// ".domain" for all hosts below. Default none.
	Certificates []string `toml:"certificates"`
	// UsersFile names the file of those who may log in, "name:hash" a line.
	// Default "" (none).
	UsersFile string `toml:"users_file"`
	// ETRN are the clients that may have the mail for a domain tried at once,
	// as in Networks. Default none.
	ETRN []string `toml:"etrn"`
	// TrustGateway has Networks count for the gateway of the container that we
	// are in, too. Default false.
	TrustGateway bool `toml:"trust_gateway"`
	// RecipientsFile is the file of the recipients of Domains, an address or
	// "@domain" a line; others are refused. Default "" (nobody knows them).
	RecipientsFile string `toml:"recipients_file"`
	// VerifyRecipients has recipients of Domains that no file settles asked for
	// at their next hop. Default false.
	VerifyRecipients bool `toml:"verify_recipients"`
	// VerifyFailure says what becomes of one of whom nothing is found out:
	// [VerifyAccept] or [VerifyDefer]. Default "accept".
	VerifyFailure string `toml:"verify_failure"`
	// VerifyTimeout is how long a client waits for that. Default 10s.
	VerifyTimeout Duration `toml:"verify_timeout"`
	// RefuseUndeliverable refuses at once what cannot be delivered by MX for
	// certain. Default false.
	RefuseUndeliverable bool `toml:"refuse_undeliverable"`
	// LoginsMayRelay says that a client that has logged in may send to
	// anywhere. Default true.
	LoginsMayRelay bool `toml:"logins_may_relay"`
	// AliasesFile names the file of aliases, as sendmail and Postfix have it.
	// Default "" (none).
	AliasesFile string `toml:"aliases_file"`
	// Expn lets the clients that may send to anywhere see the members of aliases,
	// by EXPN. Default false.
	Expn bool `toml:"expn"`
	// Sign is whose mail is signed by DKIM: [SignTrusted], the default,
	// [SignSubmission] or [SignNone].
	Sign string `toml:"sign"`
}

// Values of Relay.Sign.
const (
	// SignTrusted signs the mail of those who may send to anywhere, and our own.
	SignTrusted = "trusted"
	// SignSubmission signs what comes in at listeners of [ModeSubmission] from
	// them, what programs of this host leave, and our own.
	SignSubmission = "submission"
	// SignNone signs nothing.
	SignNone = "none"
)

// Lists name clients, senders and recipients.
type Lists struct {
	// Clients are networks, as in Relay.Networks. Default none.
	Clients []string `toml:"clients"`
	// Senders are senders' addresses: "user@domain", "domain", ".domain" for it
	// and all below, "<>" for the null reverse-path. Default none.
	Senders []string `toml:"senders"`
	// Recipients are recipients' addresses, as in Senders. Default none.
	Recipients []string `toml:"recipients"`
}

// Login says what one login, or every other one, may do.
type Login struct {
	// Name is the login, or "*" for each that has no table of its own. It must
	// be set.
	Name string `toml:"name"`
	// Senders are the senders' addresses that it may use: "user@domain",
	// "domain", ".domain" for it and all below, "{login}" for its own name, or
	// "*" for any. The null reverse-path is always among them. Default any.
	Senders []string `toml:"senders"`
	// CheckFrom says that the addresses in a message's From and Sender fields must
	// be of Senders, too. Default false.
	CheckFrom bool `toml:"check_from"`
}

// DKIM is a key with which mail is signed (RFC 6376).
type DKIM struct {
	// Domain is the domain that signs: mail whose author, in From, is of it. It
	// must be set.
	Domain string `toml:"domain"`
	// Selector is where the key's DNS record stands: SELECTOR._domainkey.DOMAIN.
	// It must be set.
	Selector string `toml:"selector"`
	// KeyFile names the PEM file of the private key, RSA or Ed25519. It must be
	// set.
	KeyFile string `toml:"key_file"`
	// Subdomains has mail signed, too, whose author is of a domain below that has
	// no key of its own. Default false.
	Subdomains bool `toml:"subdomains"`
	// Headers are the header fields that are signed where they are there. Default
	// none, which means those that RFC 6376 recommends.
	Headers []string `toml:"headers"`
	// Oversign are the fields of which nobody can add another without breaking
	// the signature; From is always one. Default From, Reply-To, To, Cc, Subject.
	Oversign []string `toml:"oversign"`
	// Expiry is how long a signature is valid. Default 0 (for ever).
	Expiry Duration `toml:"expiry"`
	// SevenBit has 8-bit content converted to 7 bits before it is signed, so that
	// no later host has to. Default true.
	SevenBit bool `toml:"seven_bit"`
	// CheckDNS has the key sign only once its DNS record is seen; the next one
	// of the domain signs until then. Default true.
	CheckDNS bool `toml:"check_dns"`
}

// Limits bound what clients may use.
type Limits struct {
	// MessageSize is the greatest size of a message's content. Default 50MB.
	MessageSize Size `toml:"message_size"`
	// Recipients is the greatest number of recipients of one message. Default 1000.
	Recipients int `toml:"recipients"`
	// Connections is how many clients may be connected at once. Default 1000.
	Connections int `toml:"connections"`
	// ConnectionsPerAddress is how many of them may come from one address. Default 100.
	ConnectionsPerAddress int `toml:"connections_per_address"`
	// ConnectionsPerNetwork is how many may come from one network; 0, the default,
	// is no bound. IPv4Prefix and IPv6Prefix are the bits that the addresses of a
	// network share. Default 24 and 48.
	ConnectionsPerNetwork int `toml:"connections_per_network"`
	IPv4Prefix            int `toml:"ipv4_prefix"`
	IPv6Prefix            int `toml:"ipv6_prefix"`
	// IdleTimeout is how long a client may stay silent. Default 5m.
	IdleTimeout Duration `toml:"idle_timeout"`
	// GreetDelay is how long a client waits for the greeting; one that cannot
	// wait is refused. 0, the default, greets at once.
	GreetDelay Duration `toml:"greet_delay"`
	// MinRate is how much of a message must arrive in a second, on average;
	// 0 is no bound. Default 500B.
	MinRate Size `toml:"min_rate"`
	// SessionMessages is how many messages one session may send; 0, the
	// default, is no bound.
	SessionMessages int `toml:"session_messages"`
	// The next ones bound what one client's address, one login and one
	// sender's address may send within a time: "100/1h", and "1GB/1d" for
	// bytes; see [ParseRate]. Default "" (no bound).
	MessagesPerClient   string `toml:"messages_per_client"`
	RecipientsPerClient string `toml:"recipients_per_client"`
	BytesPerClient      string `toml:"bytes_per_client"`
	MessagesPerLogin    string `toml:"messages_per_login"`
	RecipientsPerLogin  string `toml:"recipients_per_login"`
	BytesPerLogin       string `toml:"bytes_per_login"`
	MessagesPerSender   string `toml:"messages_per_sender"`
	RecipientsPerSender string `toml:"recipients_per_sender"`
	BytesPerSender      string `toml:"bytes_per_sender"`
	// Hops is how many hosts a message may have passed before it is taken for a
	// loop. Default 100.
	Hops int `toml:"hops"`
	// OwnHops is how many of them may have been we ourselves. Default 10.
	OwnHops int `toml:"own_hops"`
	// HoldMax is how long a client may have its message held before the first
	// attempt (FUTURERELEASE); 0, the default, does not offer it. Only
	// listeners of [ModeSubmission] offer it.
	HoldMax Duration `toml:"hold_max"`
	// DeliverByMin is the least time within which a client may ask for its
	// message to be delivered or returned (DELIVERBY). Default 0 (no bound).
	DeliverByMin Duration `toml:"deliver_by_min"`
}

// Queue says how long and how often delivery is tried.
type Queue struct {
	// Retry holds the waits after the first attempt, the second, and so on; the
	// last repeats. Default 30m, 1h, 2h, 3h.
	Retry []Duration `toml:"retry"`
	// Lifetime is how long delivery is tried before the sender is told that it
	// failed. Default 5d.
	Lifetime Duration `toml:"lifetime"`
	// WarnAfter is when the sender is told of a delay; 0 is never. Default 4h.
	WarnAfter Duration `toml:"warn_after"`
	// Jitter is the fraction by which a wait may be longer than the list
	// says, so that retries do not march in step. Default 0.1.
	Jitter float64 `toml:"jitter"`
	// MinFree is the free space on the queue's file system below which no new
	// mail is taken. Default 256MB.
	MinFree Size `toml:"min_free"`
	// Ephemeral lets the queue be where it does not outlive the host or the
	// container: on tmpfs, ramfs or overlayfs. Default false.
	Ephemeral bool `toml:"ephemeral"`
}

// History bounds what is kept of messages that have left the queue.
type History struct {
	// Size is how much of the disk their stories may take; 0 keeps none.
	// Default 256MB.
	Size Size `toml:"size"`
	// Age is how long they are kept; 0 is as long as there is room. Default 7d.
	Age Duration `toml:"age"`
}

// ClassDefault is the class of messages that no other matches. A [[class]] of
// that name says what else holds for them.
const ClassDefault = "default"

// Class is a kind of message that is delivered in its own way. What is set of
// From to MaxPriority must all match.
type Class struct {
	// Name is the class's name: small letters, digits and hyphens. It must be set.
	Name string `toml:"name"`
	// From are the senders: addresses or domains as in Route.To, or "<>" for reports. Default any.
	From []string `toml:"from"`
	// To are the recipients, as in Route.To; each recipient must match one. Default any.
	To []string `toml:"to"`
	// Logins are the identities that clients proved. Default any.
	Logins []string `toml:"logins"`
	// Networks are the clients, as in Relay.Networks. Default any.
	Networks []string `toml:"networks"`
	// Headers are header fields of which the message must have one: "List-Id",
	// or "Precedence: bulk" with its value. Default any.
	Headers []string `toml:"headers"`
	// MinPriority and MaxPriority bound the message's priority (RFC 6710).
	// Default -9 and 9.
	MinPriority int `toml:"min_priority"`
	MaxPriority int `toml:"max_priority"`
	// Rank says who goes first at a next hop; the highest does. Default 0,
	// which is that of the default class, too.
	Rank int `toml:"rank"`
	// Share is the part of the workers that the class has at least when it
	// needs them, from 0 to 1. Default 0: an equal part of what is left.
	Share float64 `toml:"share"`
	// Retry, Lifetime and WarnAfter are as in Queue. Default empty and 0,
	// which means those of Queue.
	Retry     []Duration `toml:"retry"`
	Lifetime  Duration   `toml:"lifetime"`
	WarnAfter Duration   `toml:"warn_after"`
}

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
	// Via are the next hops, tried in order; see [ParseVia]. At least one must be set.
	Via []string `toml:"via"`
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
}

// Metrics is the HTTP endpoint for metrics and health.
type Metrics struct {
	// Address is where it listens, as in Listener.Address; "" turns it off.
	// Default 127.0.0.1:9025.
	Address string `toml:"address"`
	// TopDestinations is how many destinations have series of their own: those
	// for which the most recipients wait. All others are one series. At most 100;
	// 0 names none. Default 20.
	TopDestinations int `toml:"top_destinations"`
}

// Values of Log.Format.
const (
	// FormatAuto is text on a terminal and JSON elsewhere.
	FormatAuto = "auto"
	// FormatText is key=value text.
	FormatText = "text"
	// FormatJSON is one JSON object a line.
	FormatJSON = "json"
)

// Values of Log.Level, from most to least.
const (
	LevelDebug = "debug" // every step
	LevelInfo  = "info"  // every message's journey
	LevelWarn  = "warn"  // what may need a look
	LevelError = "error" // what needs one
)

// Log says what is logged, and how.
type Log struct {
	// Format is [FormatAuto], the default, [FormatText] or [FormatJSON].
	Format string `toml:"format"`
	// Level is the least that is logged: [LevelDebug], [LevelInfo], the default,
	// [LevelWarn] or [LevelError].
	Level string `toml:"level"`
	// Pseudonyms replaces the local parts of addresses in what is logged.
	// Default false.
	Pseudonyms bool `toml:"pseudonyms"`
}
