package configs

// Leg is one next hop of a route. What it leaves empty is as the route says; of a
// login all is the leg's own or all is the route's, and so it is with TLS, whose
// level alone the route's may go with.
type Leg struct {
	// To is the next hop; see [ParseVia]. It must be set.
	To string `toml:"to"`
	// Weight is the share of messages that are sent there first, in proportion to
	// that of the neighbours that have one. Default 0: it is tried in its turn.
	Weight int `toml:"weight"`

	// These are as in Route.
	Username          string `toml:"username"`
	PasswordFile      string `toml:"password_file"`
	Auth              string `toml:"auth"`
	TokenURL          string `toml:"token_url"`
	ClientID          string `toml:"client_id"`
	ClientSecretFile  string `toml:"client_secret_file"`
	RefreshTokenFile  string `toml:"refresh_token_file"`
	Scope             string `toml:"scope"`
	ClientCertificate string `toml:"client_certificate"`
	ClientKey         string `toml:"client_key"`

	// TLS is as in Route, but "" is the route's, and so are TLSPins and TLSCA.
	TLS     string   `toml:"tls"`
	TLSPins []string `toml:"tls_pins"`
	TLSCA   string   `toml:"tls_ca"`

	// SourceAddresses and Hello are as in Route.
	SourceAddresses []string `toml:"source_addresses"`
	Hello           string   `toml:"hello"`

	// These are as in Pace, and hold for this leg alone, in place of what Pace says
	// of its hosts. Default 0 and none.
	Connections           int      `toml:"connections"`
	MessagesPerConnection int      `toml:"messages_per_connection"`
	RecipientsPerMessage  int      `toml:"recipients_per_message"`
	MessageRate           []string `toml:"message_rate"`
	RecipientRate         []string `toml:"recipient_rate"`
}

// Legs are legs without settings of their own.
func Legs(to ...string) []Leg {
	list := make([]Leg, len(to))
	for i, text := range to {
		list[i].To = text
	}
	return list
}

// OwnLogin reports whether a leg logs in on its own account, or shows a
// certificate of its own.
func (l *Leg) OwnLogin() bool {
	return l.Username+l.PasswordFile+l.Auth+l.TokenURL+l.ClientID+l.ClientSecretFile+l.RefreshTokenFile+l.Scope+l.ClientCertificate+l.ClientKey != ""
}

// OwnTLS reports whether a leg is secured in its own way.
func (l *Leg) OwnTLS() bool { return l.TLS+l.TLSCA != "" || len(l.TLSPins) > 0 }

// OwnLimits reports whether limits hold for a leg alone.
func (l *Leg) OwnLimits() bool {
	return l.Connections != 0 || l.MessagesPerConnection != 0 || l.RecipientsPerMessage != 0 || len(l.MessageRate)+len(l.RecipientRate) > 0
}

// At returns the route as it is at one of its legs.
func (r Route) At(leg int) Route {
	l := &r.Via[leg]
	if l.OwnLogin() {
		r.Username, r.PasswordFile, r.Auth = l.Username, l.PasswordFile, l.Auth
		r.TokenURL, r.ClientID, r.ClientSecretFile, r.RefreshTokenFile, r.Scope = l.TokenURL, l.ClientID, l.ClientSecretFile, l.RefreshTokenFile, l.Scope
		r.ClientCertificate, r.ClientKey = l.ClientCertificate, l.ClientKey
	}
	if l.OwnTLS() {
		r.TLSPins, r.TLSCA = l.TLSPins, l.TLSCA
	}
	if l.TLS != "" {
		r.TLS = l.TLS
	}
	if len(l.SourceAddresses) > 0 {
		r.SourceAddresses = l.SourceAddresses
	}
	if l.Hello != "" {
		r.Hello = l.Hello
	}
	return r
}

// Limits are those of a leg, as a rule about pace that is named by the key of the
// leg.
func (l *Leg) Limits(name string) Pace {
	p := newPace()
	p.Name, p.Each, p.Connections, p.RecipientsPerMessage = name, true, l.Connections, l.RecipientsPerMessage
	p.MessageRate, p.RecipientRate = l.MessageRate, l.RecipientRate
	if l.MessagesPerConnection > 0 {
		p.MessagesPerConnection = l.MessagesPerConnection
	}
	return p
}
