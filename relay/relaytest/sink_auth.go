package relaytest

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"strings"

	"github.com/xdg-go/scram"
)

// WithMechanisms sets the SASL mechanisms that the sink offers; the default is
// PLAIN and LOGIN. Those of OAuth take the password for the token. It is for
// use with WithAuth.
func WithMechanisms(names ...string) SinkOption {
	return func(s *Sink) { s.mechanisms = strings.Join(names, " ") }
}

// SetPassword changes the password, or the token, from now on.
func (s *Sink) SetPassword(password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.password = password
}

// auth: RFC 4954.
func (ss *session) auth(c Command, args string) {
	mechanism, initial, given := strings.Cut(args, " ")
	mechanism = strings.ToUpper(mechanism)
	if ss.sink.user == "" || ss.next.User != "" || ss.mail || !ss.next.Extended {
		ss.violate("AUTH out of place")
	}
	if !strings.Contains(" "+ss.sink.mechanisms+" ", " "+mechanism+" ") {
		ss.violate("AUTH with mechanism %q, which was not offered", mechanism)
	}
	if initial == "=" {
		initial = ""
	}
	ss.sink.mu.Lock()
	a := exchange{ss: ss, user: ss.sink.user, password: ss.sink.password, mechanism: mechanism, initial: initial, given: given}
	ss.sink.mu.Unlock()
	usual := "535 5.7.8 wrong credentials"
	if a.right() {
		usual = "235 2.7.0 welcome"
	}
	c.Line = "AUTH " + mechanism // no secrets in what is kept
	if ss.step(c, usual) == 2 {
		ss.next.User = ss.sink.user
	}
}

// exchange is one AUTH command.
type exchange struct {
	ss             *session
	user, password string
	mechanism      string
	initial        string
	given          bool
}

// first returns the client's first message, which may have come already.
func (a *exchange) first() string {
	if a.given {
		return decode(a.initial)
	}
	return decode(a.ss.challenge(""))
}

// right reports whether the client proves who it is.
func (a *exchange) right() bool {
	switch a.mechanism {
	case "PLAIN":
		parts := strings.Split(a.first(), "\x00")
		return len(parts) == 3 && parts[1] == a.user && parts[2] == a.password
	case "LOGIN":
		user := decode(a.ss.challenge("Username:"))
		return decode(a.ss.challenge("Password:")) == a.password && user == a.user
	case "EXTERNAL":
		state, ok := a.ss.conn.(*tls.Conn)
		return a.first() == a.user && ok && len(state.ConnectionState().PeerCertificates) > 0
	case "CRAM-MD5":
		const challenge = "<1.2@sink.example>"
		sum := hmac.New(md5.New, []byte(a.password))
		sum.Write([]byte(challenge))
		return decode(a.ss.challenge(challenge)) == a.user+" "+hex.EncodeToString(sum.Sum(nil))
	case "XOAUTH2":
		return a.first() == "user="+a.user+"\x01auth=Bearer "+a.password+"\x01\x01" || a.explain("")
	case "OAUTHBEARER":
		return a.first() == "n,a="+a.user+",\x01auth=Bearer "+a.password+"\x01\x01" || a.explain("\x01")
	case "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS":
		return a.scram()
	}
	return false
}

// explain says why a token is wrong, to which there is one answer (RFC 7628
// §3.2.3).
func (a *exchange) explain(answer string) bool {
	if got := decode(a.ss.challenge(`{"status":"invalid_token"}`)); got != answer {
		a.ss.violate("%s: answer %q to an error", a.mechanism, got)
	}
	return false
}

func (a *exchange) scram() bool {
	client, err := scram.SHA256.NewClient(a.user, a.password, "")
	if err != nil {
		return false
	}
	stored, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "salt", Iters: 4096})
	if err != nil {
		return false
	}
	server, err := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) { return stored, nil })
	if err != nil {
		return false
	}
	talk := server.NewConversation()
	if conn, ok := a.ss.conn.(*tls.Conn); ok && strings.Contains(a.ss.sink.mechanisms, "-PLUS") {
		state := conn.ConnectionState()
		binding, err := scram.NewTLSExporterBinding(&state)
		if err != nil {
			return false
		}
		talk = server.NewConversationWithChannelBinding(binding)
	}
	answer, err := talk.Step(a.first())
	if err == nil {
		answer, err = talk.Step(decode(a.ss.challenge(answer)))
	}
	if err != nil || !talk.Valid() {
		return false
	}
	return a.ss.challenge(answer) == ""
}

func (ss *session) challenge(prompt string) string {
	ss.send("334 "+base64.StdEncoding.EncodeToString([]byte(prompt))+"\r\n", 0)
	line, err := ss.readCommand()
	if err != nil {
		ss.done = true
	}
	return line
}

func decode(s string) string {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return ""
	}
	return string(b)
}
