package inbound

import (
	"io"
	"slices"
	"strings"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/queue"
	"waypost/relay/alias"
	"waypost/relay/smtp"
)

// This file has what an aliases file changes: who receives a message, under whose
// name, and what clients may ask about it.

// list are the recipients of mailing lists with the same owner. They get a message
// of their own, whose reports go to the owner (RFC 5321 §3.9.2).
type list struct {
	owner      smtp.Path
	recipients audience
}

// audience are the recipients of one message, each once.
type audience struct {
	all   []queue.Recipient
	known map[smtp.Path]bool // the paths of all, once these are more than a few
}

// few is up to how many recipients are found by looking at each.
const few = 16

// add adds a recipient, if its path is not there yet.
func (to *audience) add(r queue.Recipient) {
	if to.has(r.Path) {
		return
	}
	to.all = append(to.all, r)
	if to.known == nil && len(to.all) > few {
		to.known = map[smtp.Path]bool{}
		for i := range to.all {
			to.known[to.all[i].Path] = true
		}
	} else if to.known != nil {
		to.known[r.Path] = true
	}
}

func (to *audience) has(path smtp.Path) bool {
	if to.known != nil {
		return to.known[path]
	}
	return slices.ContainsFunc(to.all, func(r queue.Recipient) bool { return r.Path == path })
}

// Expanded is a recipient that was an alias for others, of which its sender asked
// to be told.
type Expanded struct {
	Path smtp.Path
	// Original is ORCPT as it was received.
	Original string
	// List says that it is a mailing list with an owner: the message has arrived
	// there, and what becomes of it from now on is the owner's business.
	List bool
}

// Reporter writes reports to senders.
type Reporter interface {
	// Expanded tells the sender of a message that went to aliases. header is its
	// header section. What it returns is for the report's envelope.
	Expanded(w io.Writer, id queue.ID, e *queue.Envelope, header []byte, to []Expanded) (eightBit, utf8 bool, err error)
	// Returned tells the sender of a message who does not get it.
	Returned(w io.Writer, r *Returned) (eightBit, utf8 bool, err error)
}

// expand adds those that a recipient is an alias for. They are not asked for, so
// that one who is gone does not keep mail from the others.
func (s *session) expand(r *queue.Recipient, a *alias.Alias) {
	s.tx.named = append(s.tx.named, r.Path)
	s.tx.aliases = append(s.tx.aliases, r.Path.String())
	several, lists := len(a.Members) > 1, 0
	next := queue.Recipient{Notify: passedOn(r.Notify, several), OriginalRecipient: original(r)}
	for _, m := range a.Members {
		if !m.Owner.IsNull() {
			// RFC 3461 §5.2.7.1: nothing that the sender asked for is passed on.
			s.addToList(m)
			lists++
			continue
		}
		next.Path = m.Path
		s.tx.recipients.add(next)
	}
	if r.Notify.Success() && (several || lists > 0) {
		s.tx.expanded = append(s.tx.expanded, Expanded{r.Path, r.OriginalRecipient, lists == len(a.Members)})
	}
}

func (s *session) addToList(m alias.Member) {
	i := slices.IndexFunc(s.tx.lists, func(l list) bool { return l.owner == m.Owner })
	if i < 0 {
		i = len(s.tx.lists)
		s.tx.lists = append(s.tx.lists, list{owner: m.Owner})
	}
	s.tx.lists[i].recipients.add(queue.Recipient{Path: m.Path})
}

// passedOn returns NOTIFY for those behind an alias. Where they are several, the
// report of success is the one of the expansion, and none of them makes another
// (RFC 3461 §5.2.7.3).
func passedOn(n smtp.Notify, several bool) smtp.Notify {
	if !several || !n.Success() {
		return n
	}
	if n &^= smtp.NotifySuccess; n == 0 {
		return smtp.NotifyNever
	}
	return n
}

// original returns ORCPT for those behind an alias: as it was received, or else
// the alias itself, so that a report names what its reader wrote (RFC 3461 §4.2).
func original(r *queue.Recipient) string {
	switch {
	case r.OriginalRecipient != "":
		return r.OriginalRecipient
	case r.Path.ASCII():
		return "rfc822;" + smtp.Xtext(r.Path.String())
	}
	return ""
}

// mostTogether is how many recipients one message gets: with each that is done, the
// queue looks whether the others are.
const mostTogether = 10_000

// outgoing is one message of those that a transaction becomes: one for all
// recipients, and one for each owner of mailing lists; several where they have more
// than mostTogether members.
type outgoing struct {
	draft      *queue.Draft
	owner      smtp.Path // null for the sender's own
	recipients []queue.Recipient
}

// outgoing begins these messages.
func (s *session) outgoing() (all []outgoing) {
	for _, l := range append([]list{{recipients: s.tx.recipients}}, s.tx.lists...) {
		for to := range slices.Chunk(l.recipients.all, mostTogether) {
			all = append(all, outgoing{s.backend.Queue.NewDraft(), l.owner, to})
		}
	}
	return all
}

// envelope is that of the sender, or of the list.
func (o *outgoing) envelope(e queue.Envelope) queue.Envelope {
	if !o.owner.IsNull() {
		e.ReversePath, e.EnvelopeID, e.Return, e.DeliverBy = o.owner, "", "", queue.DeliverBy{}
	}
	return e
}

// reportExpanded tells the sender of aliases, if that was asked for. The message
// is in the queue already, so that a failure cannot be told the client any more.
func (s *session) reportExpanded(id queue.ID, e *queue.Envelope, header []byte) {
	b := s.backend
	if len(s.tx.expanded) == 0 || e.ReversePath.IsNull() || b.Reporter == nil {
		return
	}
	draft := b.Queue.NewDraft()
	defer draft.Discard()
	eightBit, utf8, err := b.Reporter.Expanded(draft, id, e, header, s.tx.expanded)
	if err == nil {
		err = draft.Commit(b.report(id, e, eightBit, utf8), b.reportTo(e.ReversePath))
	}
	if err != nil {
		b.Log.Error("report on aliases not written", "queue_id", id.String(), "error", err.Error())
	}
}

// Verify answers VRFY to our own clients; others learn nothing (RFC 5321 §7.3).
func (s *session) Verify(mailbox string) error {
	path, err := smtp.SplitPath(mailbox, true)
	if err != nil || !s.backend.Rules.Trusted(s.who()) {
		return nil
	}
	aliases := s.backend.Aliases.Table()
	a, ok := aliases.Expand(path)
	switch {
	case ok && forwarded(&a) != nil:
		return forwarded(&a)
	case ok:
		return &gosmtp.SMTPError{Code: 250, EnhancedCode: gosmtp.EnhancedCode{2, 1, 5}, Message: "<" + path.String() + ">"}
	case s.backend.Recipients != nil && s.backend.Rules.Relayed(path):
		if has, known := s.backend.Recipients.Listed(path); known && has {
			return &gosmtp.SMTPError{Code: 250, EnhancedCode: gosmtp.EnhancedCode{2, 1, 5}, Message: "<" + path.String() + ">"}
		} else if known {
			return noSuchUser
		}
	case s.backend.NamesKnown && aliases.IsLocal(path) && !path.IsPostmaster():
		return noSuchUser
	}
	return nil
}

var noSuchUser = &gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 1, 1}, Message: "No such user here"}

// forwarded returns the reply that says where an alias leads (RFC 5321 §3.4), or
// nil, where that is to no single address, or to one that no reply can have in it.
func forwarded(a *alias.Alias) error {
	if len(a.Members) != 1 || !a.Members[0].Owner.IsNull() || !a.Members[0].Path.ASCII() {
		return nil
	}
	return &gosmtp.SMTPError{Code: 251, EnhancedCode: gosmtp.EnhancedCode{2, 1, 5}, Message: "User not local; will forward to <" + a.Members[0].Path.String() + ">"}
}

// MayExpand reports whether the client may use EXPN.
func (s *session) MayExpand() bool { return s.backend.Expand && s.backend.Rules.Trusted(s.who()) }

// Expand returns the members of a list.
func (s *session) Expand(name string) (members []string, err error) {
	path, err := smtp.SplitPath(name, true)
	if err != nil {
		return nil, nil
	}
	a, _ := s.backend.Aliases.Table().Expand(path)
	for _, m := range a.Members {
		members = append(members, strings.TrimSpace(smtp.Printable(m.Path.String())))
	}
	return members, nil
}
