package configs

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
	// DiscloseForwarding tells whoever may send to an alias where it leads.
	// Default false.
	DiscloseForwarding bool `toml:"disclose_forwarding"`
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
