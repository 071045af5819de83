package control

import (
	"context"
	"net/http"
	"time"
)

// Question asks what would become of a message.
type Question struct {
	// Recipients are its forward-paths, at least one and at most 100.
	Recipients []string `json:"recipients"`
	// From is its reverse-path, "" or "<>" for the null one.
	From string `json:"from,omitempty"`
	// Client is the address of who sends it, and Login who has logged in. Without
	// either nobody is asked whether it may be sent.
	Client string `json:"client,omitempty"`
	Login  string `json:"login,omitempty"`
	// Submission says that it comes in at a listener for submission.
	Submission bool `json:"submission,omitempty"`
	// Size is how many octets it has.
	Size int64 `json:"size,omitempty"`
	// Connect has the hosts of the next hops greeted, of at most 10 recipients.
	Connect bool `json:"connect,omitempty"`
}

// Explanation is the answer.
type Explanation struct {
	// Decision is about the sender and the size; left out where nobody asked.
	Decision *ExplainedDecision `json:"decision,omitempty"`
	// Signed are the DNS records of the keys that would sign it, were its author of
	// the sender's domain, and Unsigned those of that domain that would not, with
	// the reason. Both are left out for clients whose mail is not signed.
	Signed   []string `json:"signed,omitempty"`
	Unsigned []string `json:"unsigned,omitempty"`
	// Recipients are in the order of the question; those behind an alias follow it.
	Recipients []ExplainedRecipient `json:"recipients"`
}

// ExplainedDecision says whether a message is taken, and by which rule.
type ExplainedDecision struct {
	Allowed bool   `json:"allowed"`
	Reason  string `json:"reason"`
	// Place is where that rule is configured: "file:row".
	Place string `json:"place,omitempty"`
	// Reply is what the client would be told that may not.
	Reply string `json:"reply,omitempty"`
}

// ExplainedRecipient says where the mail of one recipient would go.
type ExplainedRecipient struct {
	Address string `json:"address"`
	// Decision is about relaying to it; left out where nobody asked.
	Decision *ExplainedDecision `json:"decision,omitempty"`
	// Alias says that it is an alias. Nothing but Decision is said of it then.
	Alias *ExplainedAlias `json:"alias,omitempty"`
	// Class is its message class, as far as that shows without the content.
	Class string `json:"class,omitempty"`
	// Route is the route's key, "route[0]", or "" for delivery by MX without one;
	// RoutePlace is where it is configured.
	Route      string `json:"route"`
	RoutePlace string `json:"route_place,omitempty"`
	// Username is who the route has us log in as at its next hops.
	Username string `json:"username,omitempty"`
	// Destination is what its mail waits for in the queue; see also
	// ExplainedHop.Destination.
	Destination string `json:"destination"`
	// PausedUntil is when the destination is tried again that could not be
	// reached, or that is paused by a rule about refusals; left out where it is
	// not paused or nothing runs.
	PausedUntil *time.Time     `json:"paused_until,omitempty"`
	NextHops    []ExplainedHop `json:"next_hops"`
	// Replies are the rules about refusals that may hold for it, in order.
	Replies []ExplainedReply `json:"replies"`
	// RetrySeconds are the waits between attempts, of which the last repeats,
	// without the jitter.
	RetrySeconds     []float64 `json:"retry_seconds"`
	LifetimeSeconds  float64   `json:"lifetime_seconds"`
	WarnAfterSeconds float64   `json:"warn_after_seconds"`
}

// ExplainedAlias says who is behind an alias.
type ExplainedAlias struct {
	// Name is the alias as it stands in the file, and Place where: "file:row".
	Name  string `json:"name"`
	Place string `json:"place"`
	// Members are who receives the mail.
	Members []string `json:"members"`
	// Owners are who gets the reports of mailing lists; left out where they are
	// the sender's.
	Owners []string `json:"owners,omitempty"`
}

// ExplainedReply is a rule about refusals.
type ExplainedReply struct {
	Rule string `json:"rule"`
	// Place is where it is configured; left out where it is built in.
	Place string `json:"place,omitempty"`
	// Effect says what it does; "" leaves refusals at what their codes say.
	Effect string `json:"effect,omitempty"`
}

// ExplainedHop is one next hop of a route.
type ExplainedHop struct {
	Via string `json:"via"`
	// Place is where it is configured; left out without a route.
	Place string `json:"place,omitempty"`
	// Weight is what is configured, and Share the part of messages that it is the
	// first for of those that have a weight beside it; both are left out where it
	// is tried in its turn.
	Weight int     `json:"weight,omitempty"`
	Share  float64 `json:"share,omitempty"`
	// Destination is what messages wait for that begin there, and PausedUntil when
	// that is tried again; left out where not all begin at one next hop or none
	// begins there.
	Destination string     `json:"destination,omitempty"`
	PausedUntil *time.Time `json:"paused_until,omitempty"`
	// Username is who we log in as there, Hello our name in EHLO, and
	// SourceAddresses from where we connect; left out where there is none, where it
	// is that of the host, and where the system chooses.
	Username        string   `json:"username,omitempty"`
	Hello           string   `json:"hello,omitempty"`
	SourceAddresses []string `json:"source_addresses,omitempty"`

	Error string          `json:"error,omitempty"`
	Hosts []ExplainedHost `json:"hosts"`
	// Pace says how fast mail may leave for these hosts; left out where the hop
	// ends here, or its hosts are not known.
	Pace *ExplainedPace `json:"pace,omitempty"`
}

// ExplainedPace says how the site of some hosts stands: what is used together with
// other destinations.
type ExplainedPace struct {
	// Site is its name; Rule that of the table that sets its limits, "" for none,
	// and Place where that is configured.
	Site  string `json:"site"`
	Rule  string `json:"rule,omitempty"`
	Place string `json:"place,omitempty"`
	// MaxConnections is how many connections it may have at most, Window how many
	// it may have now, and Used how many attempts run; Waiting is how many
	// destinations wait for one. Window is 0 where it was not used of late.
	MaxConnections int `json:"max_connections"`
	Window         int `json:"window"`
	Used           int `json:"used"`
	Waiting        int `json:"waiting"`
	// Rates are what may be sent within a time: "10 messages in 1m0s".
	Rates []string `json:"rates,omitempty"`
	// Until is when mail may leave again that waits for a rate, or for hosts that
	// refuse everything; left out where it may now.
	Until *time.Time `json:"until,omitempty"`
	// Trouble is what failed there last; left out when all is well.
	Trouble string `json:"trouble,omitempty"`
}

// ExplainedHost is one host of a next hop.
type ExplainedHost struct {
	Name       string   `json:"name"`
	Preference uint16   `json:"preference"`
	Addresses  []string `json:"addresses"`
	// TLS is the level that a session must have, and TLSReason where it comes
	// from.
	TLS       string `json:"tls"`
	TLSReason string `json:"tls_reason,omitempty"`
	// DANE and MTASTS are what was found out; left out where nobody looked.
	DANE   string `json:"dane,omitempty"`
	MTASTS string `json:"mta_sts,omitempty"`
	// Error says why the host would not be used now.
	Error string `json:"error,omitempty"`
	// Session is what came of greeting it; left out where nobody did.
	Session *ExplainedSession `json:"session,omitempty"`
}

// ExplainedSession is what came of greeting a host: EHLO and TLS, no login, QUIT.
type ExplainedSession struct {
	// Host is "name[address]:port"; left out when none took a connection.
	Host       string   `json:"host,omitempty"`
	Extensions []string `json:"extensions"`
	// TLS is its version, cipher and what was proved; left out in clear.
	TLS         string                `json:"tls,omitempty"`
	Certificate *ExplainedCertificate `json:"certificate,omitempty"`
	Seconds     float64               `json:"seconds"`
	// Error says why no mail could have been sent; left out when some could.
	Error string `json:"error,omitempty"`
}

// ExplainedCertificate is what a host showed.
type ExplainedCertificate struct {
	Subject string    `json:"subject"`
	Names   []string  `json:"names"`
	Issuer  string    `json:"issuer"`
	Ends    time.Time `json:"ends"`
	// SPKISHA256 is the digest of its public key, in hexadecimal.
	SPKISHA256 string `json:"spki_sha256"`
}

// Explain asks what would become of a message. Nothing is sent or changed.
func (c *Client) Explain(ctx context.Context, q *Question) (*Explanation, error) {
	e := &Explanation{}
	return e, c.call(ctx, http.MethodPost, "/v1/explain", q, e)
}

// explainTimeout ends look-ups before the connection's own limit ends the answer:
// what was not found out by then is said to be so.
const explainTimeout = 25 * time.Second

// explain answers a question.
func (h *handler) explain(r *http.Request, answer func(context.Context, *Question) (*Explanation, error)) (any, error) {
	q := &Question{}
	if err := readJSON(r.Body, q); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), explainTimeout)
	defer cancel()
	return answer(ctx, q)
}

// BadQuestion is the error of a question that makes no sense.
func BadQuestion(format string, args ...any) error { return badRequest(format, args...) }
