package smtpclient

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/emersion/go-sasl"
	"github.com/xdg-go/scram"
)

// The SASL mechanisms that are spoken besides PLAIN, LOGIN and EXTERNAL.
const (
	scramPlus   = "SCRAM-SHA-256-PLUS" // RFC 7677, bound to the TLS session
	scramSHA256 = "SCRAM-SHA-256"      // RFC 7677
	cramMD5     = "CRAM-MD5"           // RFC 2195
	oauthBearer = "OAUTHBEARER"        // RFC 7628
	xoauth2     = "XOAUTH2"            // what it was called before it was a standard
)

// Mechanisms lists the SASL mechanisms that Options.Mechanism may name.
func Mechanisms() []string {
	return []string{sasl.Plain, sasl.Login, cramMD5, scramSHA256, scramPlus, xoauth2, oauthBearer, sasl.External}
}

// mechanism returns the best mechanism that the host offers for the credentials
// that there are, or the one that was asked for: those that keep the password to
// themselves come first.
func (c *Client) mechanism() (sasl.Client, error) {
	usable := []string{scramPlus, scramSHA256, sasl.Plain, sasl.Login, cramMD5}
	if c.options.Token != "" {
		usable = []string{xoauth2, oauthBearer}
	}
	if c.options.Mechanism != "" {
		usable = []string{c.options.Mechanism}
	}
	state, secure := c.TLSState()
	for _, name := range usable {
		if !slices.Contains(c.ext.Auth, name) || name == scramPlus && !secure {
			continue
		}
		return c.newMechanism(name, &state)
	}
	return nil, ErrNoAuth
}

func (c *Client) newMechanism(name string, state *tls.ConnectionState) (sasl.Client, error) {
	o := &c.options
	switch name {
	case sasl.Plain:
		return sasl.NewPlainClient("", o.Username, o.Password), nil
	case sasl.Login:
		return sasl.NewLoginClient(o.Username, o.Password), nil
	case sasl.External:
		return sasl.NewExternalClient(o.Username), nil
	case cramMD5:
		return &cram{o.Username, o.Password}, nil
	case xoauth2:
		return &bearer{name: name, first: "user=" + o.Username + "\x01auth=Bearer " + o.Token + "\x01\x01"}, nil
	case oauthBearer:
		// RFC 7628 §3.1; the one byte ends an exchange that failed (§3.2.3).
		return &bearer{name: name, first: "n,a=" + o.Username + ",\x01auth=Bearer " + o.Token + "\x01\x01", last: "\x01"}, nil
	case scramSHA256, scramPlus:
		return c.newSCRAM(name, state)
	}
	return nil, fmt.Errorf("mechanism %s is not known", name)
}

// newSCRAM binds the exchange to the TLS session where the host can: somebody in
// between then has no use for it. It also notices when somebody took -PLUS from
// the host's offer (RFC 5802 §6).
func (c *Client) newSCRAM(name string, state *tls.ConnectionState) (sasl.Client, error) {
	client, err := scram.SHA256.NewClient(c.options.Username, c.options.Password, "")
	if err != nil {
		return nil, err
	}
	client = client.WithMinIterations(4096) // RFC 7677 §4
	if name == scramSHA256 {
		if _, secure := c.TLSState(); secure && !slices.Contains(c.ext.Auth, scramPlus) {
			return &scramClient{name: name, talk: client.NewConversationAdvertisingChannelBinding()}, nil
		}
		return &scramClient{name: name, talk: client.NewConversation()}, nil
	}
	// RFC 9266 §3: tls-exporter where it is defined, which is TLS 1.3.
	bind := scram.NewTLSServerEndpointBinding
	if state.Version >= tls.VersionTLS13 {
		bind = scram.NewTLSExporterBinding
	}
	binding, err := bind(state)
	if err != nil {
		return nil, err
	}
	return &scramClient{name: name, talk: client.NewConversationWithChannelBinding(binding)}, nil
}

type scramClient struct {
	name string
	talk *scram.ClientConversation
}

func (s *scramClient) Start() (string, []byte, error) {
	first, err := s.talk.Step("")
	return s.name, []byte(first), err
}

func (s *scramClient) Next(challenge []byte) ([]byte, error) {
	response, err := s.talk.Step(string(challenge))
	return []byte(response), err
}

// errUnproven means that a host took us without having proved that it knows the
// password, too.
var errUnproven = errors.New("the host did not prove that it knows the password")

// proven is asked when the host is satisfied.
func (s *scramClient) proven() error {
	if !s.talk.Valid() {
		return errUnproven
	}
	return nil
}

type cram struct{ username, password string }

func (m *cram) Start() (string, []byte, error) { return cramMD5, nil, nil }

func (m *cram) Next(challenge []byte) ([]byte, error) {
	sum := hmac.New(md5.New, []byte(m.password))
	sum.Write(challenge)
	return []byte(m.username + " " + hex.EncodeToString(sum.Sum(nil))), nil
}

// bearer shows a token. A challenge after that is an error in disguise, and an
// empty or given answer has the host say no.
type bearer struct{ name, first, last string }

func (m *bearer) Start() (string, []byte, error) { return m.name, []byte(m.first), nil }

func (m *bearer) Next([]byte) ([]byte, error) { return []byte(m.last), nil }
