package inbound

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"strings"
	"syscall"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/metrics"
	"waypost/queue"
	"waypost/relay/dkim"
	"waypost/relay/message"
	"waypost/relay/policy"
	"waypost/relay/smtp"
)

// isFull reports whether the disk has no room, as the queue sees it or as the
// system says.
func isFull(err error) bool {
	return errors.Is(err, queue.ErrNoRoom) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// Data receives the content and puts the message in the queue. The reply
// promises delivery or a report, so everything is on disk before (RFC 5321
// §4.2.5, §6.1).
func (s *session) Data(r io.Reader) error {
	if len(s.tx.named) == 0 {
		return s.backend.refuse(metrics.RefusedSequence, 503, gosmtp.EnhancedCode{5, 5, 1}, "No valid recipients")
	}
	all := s.outgoing()
	var drafts []io.Writer
	for _, o := range all {
		defer o.draft.Discard()
		drafts = append(drafts, o.draft)
	}
	signing := s.signer().NewWriter(io.MultiWriter(drafts...))
	defer signing.Discard()
	in := &intake{w: signing, keep: s.wantsHeader(), checker: message.NewChecker(message.Limits{
		Binary: s.tx.envelope.Binary, Fields: s.backend.Classes.HeaderNames(),
		Received: s.backend.MaxHops, Hostname: s.backend.Hostname, Own: s.backend.MaxOwnHops,
	})}
	envelope, signed, err := s.take(all, in, signing, r)
	if err != nil {
		return err
	}
	return s.enqueue(all, in, envelope, signed)
}

// take receives the content behind our trace field, and returns the envelope as
// the content makes it.
func (s *session) take(all []outgoing, in *intake, signing *dkim.Writer, r io.Reader) (e queue.Envelope, signed dkim.Result, err error) {
	ascii := true
	for _, o := range all {
		trace := s.trace(o.draft.ID(), time.Now())
		if _, err := o.draft.Write(trace); err != nil {
			return e, signed, s.storageError(err)
		}
		ascii = ascii && message.IsASCII(string(trace))
	}
	if err := s.receive(in, all[0].draft.ID(), r); in.failed != nil {
		return e, signed, s.storageError(in.failed)
	} else if err != nil {
		return e, signed, err // of the connection, or the size limit
	}
	if err := s.judge(in.checker); err != nil {
		return e, signed, err
	}
	if err := s.judgeAuthor(in.header()); err != nil {
		return e, signed, err
	}
	e = s.tx.envelope
	seen := in.checker.Result()
	signed, err = signing.Finish(dkim.Content{
		EightBit: seen.EightBit(), UTF8Header: e.UTF8 && seen.HeaderEightBit, Binary: e.Binary, LongLines: seen.LongestLine > message.MaxLine,
	})
	if err != nil {
		return e, signed, s.storageError(err)
	}
	// Our own field has the recipient in it, who may be in UTF-8.
	e.EightBit = seen.EightBit() && !signed.Converted || !ascii
	e.Binary = e.Binary && !signed.Converted
	e.MessageID = seen.MessageID
	e.Arrival = time.Now()
	e.Class, e.ClassRule = s.class(in.checker.Fields())
	return e, signed, nil
}

// enqueue puts the messages in the queue, and replies. Should one of several fail,
// the client sends all again: a message may come twice then, and none is lost.
func (s *session) enqueue(all []outgoing, in *intake, e queue.Envelope, signed dkim.Result) error {
	b := s.backend
	for _, o := range all {
		own := o.envelope(e)
		if err := o.draft.Commit(own, o.recipients); err != nil {
			return s.storageError(err)
		}
		b.Rules.Count(s.who(), e.ReversePath, policy.Bytes, o.draft.Size(), time.Now())
		s.accepted(&o, &own, signed.Keys)
	}
	id := all[0].draft.ID()
	s.tx.id = id
	s.reportExpanded(id, &e, in.header())
	return &gosmtp.SMTPError{Code: 250, EnhancedCode: gosmtp.EnhancedCode{2, 0, 0}, Message: "OK, queued as " + id.String()}
}

// class returns the class of the message and the rule that put it there.
func (s *session) class(fields []message.Seen) (class, rule string) {
	m := &policy.Mail{
		Sender: s.tx.envelope.ReversePath, Client: policy.Client{Addr: s.client, Login: s.login}, Priority: int(s.tx.envelope.Priority),
	}
	for i := range s.tx.recipients.all {
		m.Recipients = append(m.Recipients, s.tx.recipients.all[i].Path)
	}
	for _, l := range s.tx.lists {
		for i := range l.recipients.all {
			m.Recipients = append(m.Recipients, l.recipients.all[i].Path)
		}
	}
	for _, f := range fields {
		m.Fields = append(m.Fields, policy.Field(f))
	}
	return s.backend.Classes.Sort(m)
}

// receive copies the content. A new message is completed on the way (RFC 6409
// §8); one that is relayed stays as it is.
func (s *session) receive(in *intake, id queue.ID, r io.Reader) error {
	if !s.backend.Submission && !s.local {
		_, err := io.Copy(in, r)
		return err
	}
	complete := message.NewCompleter(in, message.Date(time.Now()), "<"+id.String()+"@"+s.backend.Hostname+">")
	if _, err := io.Copy(complete, r); err != nil {
		return err
	}
	return complete.Close()
}

// signer signs the mail of our own clients, and of programs of this host; nil for
// others.
func (s *session) signer() *dkim.Set {
	if s.local || s.backend.Rules.Trusted(s.who()) {
		return s.backend.Signer
	}
	return nil
}

// intake passes content to the checker and on to the draft.
type intake struct {
	checker *message.Checker
	w       io.Writer
	failed  error // of w
	keep    bool  // the header section is wanted
	kept    []byte
}

// maxKept bounds the header section that is kept, in octets: a larger one is
// refused.
const maxKept = message.DefaultHeader

// header returns the header section, as far as it was kept.
func (in *intake) header() []byte {
	return in.kept[:min(int64(len(in.kept)), in.checker.Result().HeaderSize)]
}

// Write takes the next piece.
func (in *intake) Write(p []byte) (int, error) {
	in.checker.Write(p)
	if in.keep {
		in.kept = append(in.kept, p[:min(len(p), maxKept-len(in.kept))]...)
	}
	if _, in.failed = in.w.Write(p); in.failed != nil {
		return 0, in.failed
	}
	return len(p), nil
}

// wantsHeader reports whether the header section is needed: for a report on
// aliases, or because its author matters.
func (s *session) wantsHeader() bool {
	return len(s.tx.expanded) > 0 || s.backend.Rules.ChecksAuthor(s.who())
}

// judgeAuthor refuses a message for who it says has written it. Each address in
// the one From field and in Sender counts, and one that cannot be read counts
// against it.
func (s *session) judgeAuthor(header []byte) error {
	if !s.backend.Rules.ChecksAuthor(s.who()) {
		return nil
	}
	var authors []smtp.Path
	// A CR alone, which only binary content can have here, hides a field from one
	// reader and shows it to another.
	from, readable := 0, bytes.Count(header, []byte("\r")) == bytes.Count(header, []byte("\r\n"))
	message.EachField(header, func(name, value string) {
		isFrom := strings.EqualFold(name, "From")
		if !isFrom && !strings.EqualFold(name, "Sender") {
			return
		}
		if isFrom {
			from++
		}
		all, err := message.Addresses(value)
		readable = readable && err == nil && len(all) > 0
		for _, a := range all {
			path, err := smtp.SplitPath(a, true)
			readable = readable && err == nil
			authors = append(authors, path)
		}
	})
	if from != 1 || !readable {
		authors = nil
	}
	if d := s.backend.Rules.Author(s.who(), authors); !d.Allowed {
		return s.denied(metrics.RefusedSender, d, s.tx.envelope.ReversePath, smtp.Path{})
	}
	return nil
}

// judge refuses a content for what the checker saw.
func (s *session) judge(c *message.Checker) error {
	b := s.backend
	switch err := c.Err(); {
	case err == nil:
		return nil
	case errors.Is(err, message.ErrLoop):
		return b.refuse(metrics.RefusedLoop, 554, gosmtp.EnhancedCode{5, 4, 6}, "Too many hops, this message loops")
	case errors.Is(err, message.ErrHeader):
		return b.refuse(metrics.RefusedSize, 552, gosmtp.EnhancedCode{5, 3, 4}, "Header section too large")
	default:
		return b.refuse(metrics.RefusedContent, 550, gosmtp.EnhancedCode{5, 5, 2}, "Bare CR or LF in the message, lines end in CRLF")
	}
}

// trace returns our Received field.
func (s *session) trace(id queue.ID, now time.Time) []byte {
	field := message.Received{
		Hello: s.conn.Hostname(), Client: s.client, ClientName: s.clientName, By: s.backend.Hostname, ID: id.String(), Date: now,
		Protocol: s.tx.envelope.Protocol, TLS: s.tx.envelope.TLS,
	}
	// RFC 5321 §7.2: several recipients must not learn of each other.
	if len(s.tx.named) == 1 {
		field.For = s.tx.named[0]
	}
	return field.Append(nil)
}

// arrival notes in the envelope how the message came in.
func (s *session) arrival(e *queue.Envelope) {
	state, secure := s.conn.TLSConnectionState()
	e.Client, e.Listener = s.reportName(), s.conn.Conn().LocalAddr().String()
	e.Login, e.Protocol = s.login, message.Protocol(s.extended(), secure, s.login != "", e.UTF8)
	if secure {
		e.TLS = strings.ReplaceAll(tls.VersionName(state.Version), " ", "") + " " + tls.CipherSuiteName(state.CipherSuite)
	}
}

// accepted counts and logs a message that is in the queue.
func (s *session) accepted(o *outgoing, e *queue.Envelope, signatures []string) {
	b, d := s.backend, o.draft
	b.Metrics.MessagesAccepted.Inc()
	b.Metrics.AcceptedBytes.Add(float64(d.Size()))
	b.Metrics.RecipientsAccepted.Add(float64(len(o.recipients)))
	_, secure := s.conn.TLSConnectionState()
	log := b.Log
	if s.login != "" {
		log = log.With("login", smtp.Printable(s.login))
	}
	if e.Class != "" {
		log = log.With("class", e.Class)
	}
	if len(s.tx.aliases) > 0 {
		log = log.With("aliases", strings.Join(s.tx.aliases, " "))
	}
	if len(signatures) > 0 {
		log = log.With("signed", strings.Join(signatures, " "))
	}
	log.Info("accepted", "queue_id", d.ID().String(), "client", s.client.String(), "hello", smtp.Printable(s.conn.Hostname()),
		"from", e.ReversePath.String(), "recipients", len(o.recipients), "size", d.Size(), "tls", secure)
}
