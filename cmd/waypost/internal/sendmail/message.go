package sendmail

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/mail"
	"strings"
	"time"

	"waypost/relay/smtp"
)

// maxHeader bounds the header section of a message, in octets.
const maxHeader = 1 << 20

// Sender is who calls the command.
type Sender struct {
	// Address is the mailbox, and Name the full name, which may be empty.
	Address, Name string
	// Hostname ends the Message-ID.
	Hostname string
}

// Message is one that was read: its header section is complete, and its body
// is still to be read.
type Message struct {
	// Header is the header section with the empty line, in CRLF.
	Header []byte
	// Body has CRLF line ends too.
	Body io.Reader
	// Recipients are those of To, Cc and Bcc, when they were asked for.
	Recipients []string
}

// Read reads a message from r, and completes its header section as a
// submission server would (RFC 6409 §8): From, Date and Message-ID are added
// where they lack, Bcc is removed. With fromHeader the recipients are found
// in it.
func Read(r io.Reader, a Arguments, s Sender, now time.Time) (*Message, error) {
	lines := &lineReader{r: bufio.NewReaderSize(r, 64<<10), keepDots: a.KeepDots}
	fields, first, err := lines.header()
	if err != nil {
		return nil, err
	}
	m := &Message{Body: io.MultiReader(strings.NewReader(first), lines)}
	if a.FromHeader {
		if m.Recipients, err = recipients(fields); err != nil {
			return nil, err
		}
	}
	var b bytes.Buffer
	for _, f := range fields {
		if !f.is("bcc") {
			b.Write(f.text)
		}
	}
	complete(&b, fields, a, s, now)
	b.WriteString("\r\n")
	m.Header = b.Bytes()
	return m, nil
}

// complete adds the fields that a message must have (RFC 5322 §3.6).
func complete(b *bytes.Buffer, fields []field, a Arguments, s Sender, now time.Time) {
	has := func(name string) bool {
		for _, f := range fields {
			if f.is(name) {
				return true
			}
		}
		return false
	}
	if !has("from") {
		name := a.FullName
		if name == "" {
			name = s.Name
		}
		fmt.Fprintf(b, "From: %s\r\n", (&mail.Address{Name: smtp.Printable(name), Address: s.Address}).String())
	}
	if !has("date") {
		fmt.Fprintf(b, "Date: %s\r\n", now.Format("Mon, 2 Jan 2006 15:04:05 -0700"))
	}
	if !has("message-id") {
		fmt.Fprintf(b, "Message-ID: <%s.%s@%s>\r\n", now.UTC().Format("20060102150405"), rand.Text(), s.Hostname)
	}
	if !has("to") && !has("cc") && !has("bcc") {
		// RFC 5322 has no need of it; some servers have.
		b.WriteString("To: undisclosed-recipients:;\r\n")
	}
}

// recipients returns the mailboxes of To, Cc and Bcc, or of their Resent
// forms when there are any.
func recipients(fields []field) ([]string, error) {
	names := []string{"to", "cc", "bcc"}
	for _, f := range fields {
		if f.is("resent-to") || f.is("resent-cc") || f.is("resent-bcc") {
			names = []string{"resent-to", "resent-cc", "resent-bcc"}
		}
	}
	var all []string
	for _, f := range fields {
		for _, name := range names {
			if !f.is(name) {
				continue
			}
			found, err := f.addresses()
			if err != nil {
				return nil, fmt.Errorf("field %s: %w", name, err)
			}
			all = append(all, found...)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no recipients: the message has none in To, Cc or Bcc")
	}
	return all, nil
}

// field is one field of a header section, with its line ends.
type field struct{ text []byte }

func (f field) is(name string) bool {
	head, _, ok := bytes.Cut(f.text, []byte{':'})
	return ok && strings.EqualFold(strings.TrimRight(string(head), " \t"), name)
}

func (f field) addresses() ([]string, error) {
	_, value, _ := bytes.Cut(f.text, []byte{':'})
	text := strings.TrimSpace(strings.ReplaceAll(string(value), "\r\n", ""))
	if text == "" {
		return nil, nil
	}
	var parser mail.AddressParser
	list, err := parser.ParseList(text)
	if err != nil {
		// "root" alone is an address here, and no one else's.
		if local := localNames(text); local != nil {
			return local, nil
		}
		return nil, err
	}
	var all []string
	for _, a := range list {
		all = append(all, a.Address)
	}
	return all, nil
}

// localNames returns the items of a list that has names of this host without
// a domain, such as "root, me@a.example"; nil when it has anything else.
func localNames(text string) []string {
	var all []string
	for item := range strings.SplitSeq(text, ",") {
		item = strings.TrimSpace(item)
		if item == "" || strings.ContainsAny(item, " \t\"()<>;:\\") {
			return nil
		}
		all = append(all, item)
	}
	return all
}

// lineReader reads lines with any line end and writes them with CRLF, up to
// the end or to a line with a dot alone.
type lineReader struct {
	r        *bufio.Reader
	keepDots bool
	rest     []byte
	inLine   bool // the last piece had no line end
	ended    bool
	err      error
}

// Lines gives what r has with CRLF for whatever ends its lines.
func Lines(r io.Reader) io.Reader {
	return &lineReader{r: bufio.NewReaderSize(r, 64<<10), keepDots: true}
}

// piece returns a line, or a part of a long one.
func (l *lineReader) piece() ([]byte, error) {
	if l.ended {
		return nil, io.EOF
	}
	p, err := l.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		err = nil
	}
	whole := !l.inLine
	if n := len(p); n > 0 && p[n-1] == '\n' {
		p = append(bytes.TrimRight(p[:n-1:n-1], "\r"), "\r\n"...)
		l.inLine = false
	} else if n > 0 {
		l.inLine = true
	}
	if whole && !l.keepDots && (string(p) == ".\r\n" || errors.Is(err, io.EOF) && string(p) == ".") {
		l.ended, l.inLine = true, false
		return nil, io.EOF
	}
	if errors.Is(err, io.EOF) {
		l.ended = true
		if l.inLine { // the last line has no end of its own
			p = append(bytes.TrimRight(p[:len(p):len(p)], "\r"), "\r\n"...)
		}
		if len(p) > 0 {
			err = nil
		}
	}
	return p, err
}

// header reads the header section. first is what was read of the body: a line
// that is no field begins it, with or without an empty line before.
func (l *lineReader) header() (fields []field, first string, err error) {
	size := 0
	for {
		p, err := l.piece()
		if errors.Is(err, io.EOF) {
			return fields, "", nil
		}
		if err != nil {
			return nil, "", fmt.Errorf("read the message: %w", err)
		}
		if size += len(p); size > maxHeader {
			return nil, "", fmt.Errorf("header section is larger than %d octets", maxHeader)
		}
		switch {
		case string(p) == "\r\n":
			return fields, "", nil
		case l.inLine:
			return nil, "", errors.New("a line of the header section is longer than 64 KiB")
		case len(fields) == 0 && bytes.HasPrefix(p, []byte("From ")):
			// The envelope line of a mailbox file.
		case len(fields) > 0 && (p[0] == ' ' || p[0] == '\t'):
			last := &fields[len(fields)-1]
			last.text = append(last.text, p...)
		case isField(p):
			fields = append(fields, field{bytes.Clone(p)})
		default:
			return fields, string(p), nil
		}
	}
}

// isField reports whether a line begins a field (RFC 5322 §2.2).
func isField(p []byte) bool {
	name, _, ok := bytes.Cut(p, []byte{':'})
	name = bytes.TrimRight(name, " \t")
	return ok && len(name) > 0 && !bytes.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' })
}

// Read reads the body.
func (l *lineReader) Read(p []byte) (int, error) {
	for len(l.rest) == 0 && l.err == nil {
		l.rest, l.err = l.piece()
	}
	if len(l.rest) == 0 {
		return 0, l.err
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}
