package relaytest

import (
	"slices"
	"strings"
	"time"
)

// Command is one step of a session, as a script sees it.
type Command struct {
	// Conn is the number of the connection, from 1.
	Conn int
	// Verb is the command in upper case, or a step that has no command:
	// CONNECT before the greeting, HANDSHAKE before the TLS handshake,
	// CONTENT after the reply to DATA, DOT after the final dot or the last
	// chunk.
	Verb string
	// Line is the whole command line without its line end; empty for a step
	// without a command.
	Line string
	// Mailbox is what stands between the angle brackets of MAIL and RCPT.
	Mailbox string
	// TLS says that the command came under TLS.
	TLS bool
}

// Action is what the sink does at one step instead of its usual reply. The
// zero value is the usual reply. Its parts happen in the order of the fields.
type Action struct {
	// After is how many octets of content are read and thrown away first;
	// for CONTENT only.
	After int
	// Gate holds the sink back until the channel is closed; nil does not.
	Gate <-chan struct{}
	// Delay holds the sink back for a time; for virtual time.
	Delay time.Duration
	// Silent says that there is no reply; the sink goes on reading.
	Silent bool
	// Raw is sent as it is in place of a reply.
	Raw string
	// Reply replaces the usual reply: "550 5.1.1 no"; lines are separated by
	// \n. The sink acts on its first digit as if it were its own.
	Reply string
	// Drip sends the reply one octet at a time, at this interval.
	Drip time.Duration
	// Store keeps the message although the reply is not 2yz; for DOT only.
	Store bool
	// Drop closes the connection.
	Drop bool
	// Reset closes the connection with a TCP reset.
	Reset bool
	// Stall reads and sends nothing more on the connection, which stays open.
	Stall bool
}

// Rule ties an action to a step.
type Rule struct {
	// Verb is the step, as in Command.
	Verb string
	// Mailbox restricts the rule to one mailbox of MAIL or RCPT, by LMTP also
	// of DOT; empty: all.
	Mailbox string
	// First and Last restrict the rule to the first-th up to the last-th step
	// that has its verb and mailbox, counted over all connections from when
	// the rule was added. Zero First is 1; zero Last is no end.
	First, Last int
	// Action is what happens.
	Action Action
}

type rule struct {
	Rule
	seen int
}

// Add adds rules. Where several fit a step the first one added wins.
func (s *Sink) Add(rules ...Rule) {
	s.t.Helper()
	known := []string{"CONNECT", "EHLO", "HELO", "LHLO", "STARTTLS", "HANDSHAKE", "AUTH", "MAIL", "RCPT",
		"DATA", "BDAT", "CONTENT", "DOT", "RSET", "NOOP", "QUIT"}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range rules {
		if !slices.Contains(known, r.Verb) {
			s.t.Errorf("sink: rule for an unknown step %q", r.Verb)
		}
		s.rules = append(s.rules, &rule{Rule: r})
	}
}

// On adds a rule for every occurrence of a step.
func (s *Sink) On(verb string, a Action) { s.t.Helper(); s.Add(Rule{Verb: verb, Action: a}) }

// OnNth adds a rule for the n-th occurrence of a step, from 1.
func (s *Sink) OnNth(verb string, n int, a Action) {
	s.t.Helper()
	s.Add(Rule{Verb: verb, First: n, Last: n, Action: a})
}

// OnRcpt adds a rule for every RCPT of one mailbox: "a@b.example" gets
// "550 5.1.1 no".
func (s *Sink) OnRcpt(mailbox, reply string) {
	s.t.Helper()
	s.Add(Rule{Verb: "RCPT", Mailbox: mailbox, Action: Action{Reply: reply}})
}

// Script sets a function that is asked before the rules; its answer counts
// when it returns true. It may be called by several sessions at once.
func (s *Sink) Script(f func(Command) (Action, bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = f
}

// Behave forgets every rule and script.
func (s *Sink) Behave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules, s.script = nil, nil
}

// action records a step and finds out what to do about it.
func (s *Sink) action(c Command) Action {
	s.mu.Lock()
	if !s.counting {
		s.commands = append(s.commands, c)
		s.signal()
	}
	script := s.script
	fits := Action{}
	found := false
	for _, r := range s.rules {
		if r.Verb != c.Verb || (r.Mailbox != "" && !strings.EqualFold(r.Mailbox, c.Mailbox)) {
			continue
		}
		r.seen++
		if !found && r.seen >= r.First && (r.Last == 0 || r.seen <= r.Last) {
			fits, found = r.Action, true
		}
	}
	s.mu.Unlock()
	if script != nil {
		if a, ok := script(c); ok {
			return a
		}
	}
	return fits
}
