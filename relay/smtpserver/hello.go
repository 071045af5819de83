package smtpserver

import (
	"strconv"
	"strings"
	"time"

	"waypost/metrics"
)

func (s *session) helo(arg string) error { return s.greeted(arg, false) }
func (s *session) ehlo(arg string) error { return s.greeted(arg, true) }

func (s *session) greeted(arg string, extended bool) error {
	name := strings.TrimSpace(arg)
	if !validHello(name) {
		return s.complain(501, code{5, 5, 4}, "Bad name or address literal", metrics.RefusedSyntax)
	}
	s.idle++
	if s.authenticated && s.backend != nil {
		s.reset() // whoever it is stays the same
		s.hello, s.extended = name, extended
	} else if !s.begin(name, extended) {
		return nil
	}
	if !extended {
		s.reply(250, noCode, s.server.Hostname) // RFC 5321 §3.2: one line
		return nil
	}
	s.reply(250, noCode, s.keywords()...)
	return nil
}

// begin begins the backend's session, or has given its refusal.
func (s *session) begin(name string, extended bool) bool {
	s.logout() // RFC 5321 §4.1.4: EHLO also resets
	s.hello, s.extended = name, extended
	backend, err := s.server.Backend.BeginSession(s)
	if err != nil {
		s.replyError(err)
		return false
	}
	s.backend, s.authenticated = backend, s.client.login != ""
	return true
}

// keywords lists what EHLO offers: only what this session can have (RFC 5321
// §4.1.1.1, §2.2.2).
func (s *session) keywords() []string {
	list := []string{s.server.Hostname, "PIPELINING", "SIZE " + strconv.FormatInt(s.server.MaxSize, 10),
		"8BITMIME", "SMTPUTF8", "DSN", "CHUNKING", "ENHANCEDSTATUSCODES"}
	offer := func(offered bool, keyword string) {
		if offered {
			list = append(list, keyword)
		}
	}
	x := &s.server.Extensions
	mechanisms := s.mechanisms()
	offer(x.BinaryMIME, "BINARYMIME")
	offer(s.canStartTLS(), "STARTTLS")
	offer(len(mechanisms) > 0, "AUTH "+strings.Join(mechanisms, " "))
	offer(x.RequireTLS && s.state != nil, "REQUIRETLS")
	offer(x.DeliverBy, x.deliverBy())
	offer(x.Priority, "MT-PRIORITY")
	offer(x.HoldMax > 0, s.futureRelease())
	limits := s.limits()
	offer(limits != "", "LIMITS"+limits)
	offer(s.canStartQueue(), "ETRN")
	offer(s.mayXClient(), xclientKeyword)
	offer(s.canExpand(), "EXPN")
	return append(list, "VRFY", "HELP")
}

// deliverBy announces the least time, where there is one (RFC 2852 §4).
func (x *Extensions) deliverBy() string {
	if seconds := int64(x.DeliverByMin / time.Second); seconds > 0 {
		return "DELIVERBY " + strconv.FormatInt(seconds, 10)
	}
	return "DELIVERBY"
}

// futureRelease announces how long mail is held at most, as seconds and as a
// date (RFC 4865 §3).
func (s *session) futureRelease() string {
	most := s.server.Extensions.HoldMax
	return "FUTURERELEASE " + strconv.FormatInt(int64(most/time.Second), 10) + " " + time.Now().Add(most).UTC().Format(time.RFC3339)
}

// limits announces how many recipients and messages are taken (RFC 9422 §3).
func (s *session) limits() (text string) {
	for _, limit := range []struct {
		name string
		n    int
	}{{"RCPTMAX", s.server.MaxRecipients}, {"MAILMAX", s.server.MaxMessages}} {
		if limit.n > 0 && limit.n <= 999999 { // six digits at most
			text += " " + limit.name + "=" + strconv.Itoa(limit.n)
		}
	}
	return text
}

func (s *session) canStartTLS() bool {
	return s.state == nil && (s.server.TLSMode == TLSOffered || s.server.TLSMode == TLSRequired)
}

// forget drops what the client has said, of itself and of others: in clear it
// may have been anybody (RFC 3207 §4.2).
func (s *session) forget() {
	s.logout()
	s.hello, s.extended, s.client = "", false, xclient{}
	s.nc.remote, s.nc.local, s.addr = nil, nil, s.peer
	s.proxied(s.behind)
}

func (s *session) startTLS(string) error {
	if !s.canStartTLS() {
		return s.complain(503, code{5, 5, 1}, "STARTTLS is not available here", metrics.RefusedSequence)
	}
	s.reply(220, code{2, 0, 0}, "Go ahead")
	if len(s.in.buffered()) > 0 {
		// Text that was sent ahead of the handshake could have been put
		// there by anybody: the session cannot be trusted any more.
		s.out = nil
		return s.dismiss(421, code{4, 7, 0}, s.server.Hostname+" Data ahead of the TLS handshake", metrics.RefusedProtocol)
	}
	if err := s.flush(); err != nil {
		return err
	}
	s.forget()
	if s.handshake() != nil {
		s.out = nil
		s.nc.Close()
		return errEnd
	}
	return nil
}
