package dsn

import (
	"bufio"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/textproto"
	"strings"
	"testing"
)

// parsed is a report as an independent reader sees it.
type parsed struct {
	header   mail.Header
	boundary string
	parts    []part
	message  textproto.MIMEHeader   // per-message fields
	rcpts    []textproto.MIMEHeader // per-recipient fields
}

type part struct {
	mediaType string
	encoding  string
	body      string
}

// parseReport reads a report with the standard library, and checks what holds
// for every report.
func parseReport(t *testing.T, report string) parsed {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(report))
	if err != nil {
		t.Fatalf("header: %v\n%s", err, report)
	}
	p := parsed{header: m.Header}
	mediaType, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || mediaType != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Fatalf("Content-Type %q: %v", m.Header.Get("Content-Type"), err)
	}
	p.boundary = params["boundary"]
	for reader := multipart.NewReader(m.Body, p.boundary); ; {
		next, err := reader.NextRawPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("part %d: %v\n%s", len(p.parts), err, report)
		}
		body, err := io.ReadAll(next)
		if err != nil {
			t.Fatalf("part %d: %v\n%s", len(p.parts), err, report)
		}
		mediaType, _, err := mime.ParseMediaType(next.Header.Get("Content-Type"))
		if err != nil {
			t.Fatalf("part %d: Content-Type: %v", len(p.parts), err)
		}
		p.parts = append(p.parts, part{mediaType, next.Header.Get("Content-Transfer-Encoding"), string(body)})
	}
	if len(p.parts) < 2 || len(p.parts) > 3 || p.parts[0].mediaType != "text/plain" {
		t.Fatalf("%d parts in\n%s", len(p.parts), report)
	}
	p.readStatus(t)
	checkHeader(t, p.header)
	return p
}

// readStatus reads the blocks of fields of the second part.
func (p *parsed) readStatus(t *testing.T) {
	t.Helper()
	if kind := p.parts[1].mediaType; kind != "message/delivery-status" && kind != "message/global-delivery-status" {
		t.Fatalf("second part is %s", kind)
	}
	r := textproto.NewReader(bufio.NewReader(strings.NewReader(p.parts[1].body)))
	for {
		fields, err := r.ReadMIMEHeader()
		if err != nil && err != io.EOF {
			t.Fatalf("status: %v\n%s", err, p.parts[1].body)
		}
		switch {
		case len(fields) == 0:
		case p.message == nil:
			p.message = fields
		default:
			p.rcpts = append(p.rcpts, fields)
		}
		if err == io.EOF {
			break
		}
	}
	if !strings.HasPrefix(p.message.Get("Reporting-Mta"), "dns; ") {
		t.Errorf("Reporting-MTA is %q", p.message.Get("Reporting-Mta"))
	}
	for i, rcpt := range p.rcpts {
		for _, name := range []string{"Final-Recipient", "Action", "Status"} {
			if len(rcpt[name]) != 1 || rcpt.Get(name) == "" {
				t.Errorf("recipient %d: %s is %q", i, name, rcpt[name])
			}
		}
	}
}

// checkHeader checks what the header section of every report has.
func checkHeader(t *testing.T, h mail.Header) {
	t.Helper()
	for name, values := range h {
		if len(values) != 1 {
			t.Errorf("%d fields %s", len(values), name)
		}
	}
	for name, want := range map[string]string{"Auto-Submitted": "auto-replied", "Mime-Version": "1.0"} {
		if got := h.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if _, err := h.Date(); err != nil {
		t.Errorf("Date: %v", err)
	}
	from, err := mail.ParseAddress(h.Get("From"))
	if err != nil || from.Name != "Mail Delivery System" || !strings.HasPrefix(from.Address, "postmaster@") {
		t.Errorf("From is %q: %v", h.Get("From"), err)
	}
	if !strings.Contains(h.Get("Message-Id"), "@") || h.Get("To") == "" {
		t.Errorf("Message-ID is %q, To is %q", h.Get("Message-Id"), h.Get("To"))
	}
	switch h.Get("Subject") {
	case subject(Failure), subject(Delay), subject(Success):
	default:
		t.Errorf("Subject is %q", h.Get("Subject"))
	}
}

// checkLines checks that a text is in lines of at most 998 octets of
// printable ASCII and tabs, each ended by CRLF.
func checkLines(t *testing.T, text string) {
	t.Helper()
	body, ok := strings.CutSuffix(text, "\r\n")
	if !ok {
		t.Fatalf("does not end with CRLF: %q", text)
	}
	for i, line := range strings.Split(body, "\r\n") {
		if len(line) > maxLine {
			t.Fatalf("line %d has %d octets", i, len(line))
		}
		for _, c := range []byte(line) {
			if (c < ' ' && c != '\t') || c >= 0x7f {
				t.Fatalf("line %d has octet %#x: %q", i, c, line)
			}
		}
	}
}
