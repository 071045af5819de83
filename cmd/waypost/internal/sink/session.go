package sink

import (
	"errors"
	"io"
	"slices"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/relay/smtp"
)

// session is one client.
type session struct {
	sink *Sink
	from smtp.Path
	to   []smtp.Path
	utf8 bool
}

var _ gosmtp.Session = (*session)(nil)

// Reset forgets the transaction.
func (s *session) Reset() { s.from, s.to, s.utf8 = smtp.Path{}, nil, false }

// Logout ends the session.
func (s *session) Logout() error { return nil }

// Mail begins a transaction.
func (s *session) Mail(from string, o *gosmtp.MailOptions) error {
	path, err := smtp.SplitPath(from, o.UTF8)
	if err != nil {
		return refusal(501, gosmtp.EnhancedCode{5, 1, 7}, "Bad sender address")
	}
	s.from, s.to, s.utf8 = path, nil, o.UTF8
	return nil
}

// Rcpt takes a recipient, or answers as it was told to.
func (s *session) Rcpt(to string, _ *gosmtp.RcptOptions) error {
	path, err := smtp.SplitPath(to, s.utf8)
	if err != nil || path.IsNull() {
		return refusal(501, gosmtp.EnhancedCode{5, 1, 3}, "Bad recipient address")
	}
	answers := s.sink.o.Answers
	if i := slices.IndexFunc(answers, func(a Answer) bool { return a.fits(path) }); i >= 0 {
		reply := answers[i].Reply
		s.sink.refused(path, reply)
		return refusal(reply.Code, gosmtp.EnhancedCode(reply.Enhanced), reply.Lines[0])
	}
	s.to = append(s.to, path)
	return nil
}

// Data reads a content to its end.
func (s *session) Data(r io.Reader) error {
	c := &content{keep: maxSubject}
	if s.sink.o.Print {
		c.keep = maxShown
	}
	if _, err := io.Copy(c, r); err != nil {
		if _, ok := errors.AsType[*gosmtp.SMTPError](err); ok {
			return err
		}
		// The client went away, or sent what is no SMTP. It may try again.
		return refusal(451, gosmtp.EnhancedCode{4, 4, 2}, "The content did not come to its end")
	}
	return s.sink.received(s.from, s.to, c)
}

func refusal(code int, enhanced gosmtp.EnhancedCode, text string) error {
	return &gosmtp.SMTPError{Code: code, EnhancedCode: enhanced, Message: text}
}
