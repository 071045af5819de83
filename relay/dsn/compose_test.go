package dsn

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"waypost/relay/smtp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// original is a content as the queue holds it.
const original = "Received: from client.example.net ([192.0.2.7])\r\n" +
	" by mail.example.org with ESMTP id 4f3a9c; Mon, 2 Mar 2026 08:00:00 +0000\r\n" +
	"From: Ann <ann@example.net>\r\n" +
	"To: bob@example.com\r\n" +
	"Subject: the plans\r\n" +
	"\r\n" +
	"Dear Bob,\r\n" +
	"--=_fixed is not a boundary of ours.\r\n" +
	".\r\n" +
	"Ann\r\n"

func at(day, hour int) time.Time { return time.Date(2026, time.March, day, hour, 0, 0, 0, time.UTC) }

// base is a report of one failure, with everything random or moving fixed.
func base() Report {
	return Report{
		Hostname: "mail.example.org", To: smtp.Path{Local: "ann", Domain: "example.net"}, QueueID: "4f3a9c",
		Arrival: at(2, 8), Now: at(2, 9), ReceivedFrom: "client.example.net ([192.0.2.7])",
		MessageID: "fixed@mail.example.org", Boundary: "=_report",
		Recipients: []Recipient{{
			Final: smtp.Path{Local: "bob", Domain: "example.com"}, RemoteMTA: "mx.example.com",
			Status:      smtp.EnhancedCode{5, 1, 1},
			Diagnostic:  smtp.NewReply(550, smtp.EnhancedCode{5, 1, 1}, "No such user here"),
			LastAttempt: at(2, 8),
		}},
	}
}

// withContent gives the report a content to return.
func (r Report) withContent(content string, ret Return) Report {
	r.Content, r.ContentSize, r.Return = strings.NewReader(content), int64(len(content)), ret
	r.EightBit = strings.ContainsFunc(content, func(c rune) bool { return c > 127 })
	return r
}

func compose(t *testing.T, r Report) (string, Composed) {
	t.Helper()
	var b bytes.Buffer
	composed, err := Compose(&b, r)
	if err != nil {
		t.Fatalf("Compose: %v", err)
	}
	if composed.Size != int64(b.Len()) {
		t.Errorf("Size = %d for %d octets", composed.Size, b.Len())
	}
	return b.String(), composed
}

func goldenReports() map[string]Report {
	failure := base().withContent(original, Headers)
	failure.EnvelopeID = "QQ 314159"

	full := base().withContent(original, Full)
	full.Recipients = append(full.Recipients,
		Recipient{
			Final: smtp.Path{Local: "carol", Domain: "nowhere.example"}, Original: "rfc822;c+2Bplans@list.example",
			Status: smtp.EnhancedCode{5, 1, 2}, Reason: "the domain does not exist", LastAttempt: at(2, 8),
		},
		Recipient{
			Final: smtp.Path{Local: "dave smith", Domain: "example.com"}, RemoteMTA: "mx2.example.com",
			Status: smtp.EnhancedCode{4, 4, 7}, Reason: "it could not be delivered within 5 days",
			Diagnostic: smtp.Reply{Code: 452, Enhanced: smtp.EnhancedCode{4, 2, 2}, Lines: []string{
				"The mailbox is full; please have a look at", "https://help.example.com/quota", "and try again"}},
			LastAttempt: at(7, 8),
		})

	delay := base().withContent(original, Full)
	delay.Kind, delay.Now = Delay, at(2, 12)
	delay.Recipients[0].Status = smtp.EnhancedCode{4, 4, 1}
	delay.Recipients[0].Diagnostic, delay.Recipients[0].RemoteMTA = smtp.Reply{}, ""
	delay.Recipients[0].Reason = "the host mx.example.com does not answer"
	delay.Recipients[0].WillRetryUntil = at(7, 8)

	success := base().withContent(original, Full)
	success.Kind = Success
	success.Recipients[0].Original = "rfc822;bob@example.com"
	success.Recipients[0].Status = smtp.EnhancedCode{2, 1, 5}
	success.Recipients[0].Diagnostic = smtp.NewReply(250, smtp.EnhancedCode{2, 0, 0}, "queued")
	success.Recipients = append(success.Recipients,
		Recipient{Final: smtp.Path{Local: "eve", Domain: "example.org"}, Action: Delivered, Status: smtp.EnhancedCode{2, 1, 5}},
		Recipient{Final: smtp.Path{Local: "team", Domain: "example.org"}, Action: Expanded, Status: smtp.EnhancedCode{2, 1, 5}})

	eightBit := base().withContent(strings.Replace(original, "Ann\r\n", "Änn\r\n", 1), Full)

	international := base().withContent(strings.Replace(original, "the plans", "планы", 1), Headers)
	international.UTF8, international.To = true, smtp.Path{Local: "анна", Domain: "пример.example"}
	international.Recipients[0].Final = smtp.Path{Local: "борис", Domain: "пример.example"}
	international.Recipients[0].Original = `utf-8;\x{431}@example.com`

	downgraded := base().withContent(strings.Replace(original, "the plans", "планы", 1), Headers)
	downgraded.To, downgraded.Recipients = international.To, international.Recipients

	bare := base()
	bare.QueueID, bare.ReceivedFrom, bare.Arrival = "", "", time.Time{}
	bare.Recipients = []Recipient{{Final: smtp.Path{Local: "bob", Domain: "example.com"}}}

	return map[string]Report{
		"failure": failure, "failure-full": full, "delay": delay, "success": success, "failure-8bit": eightBit,
		"international": international, "downgraded": downgraded, "bare": bare,
	}
}

// TestGolden: whole reports, octet for octet, which a parser understands.
//
// 3464-2-a 3464-2-b 3464-2.1-a 3464-2.2-a 3834-a D-14 D-08 6533-c
func TestGolden(t *testing.T) {
	for name, r := range goldenReports() {
		t.Run(name, func(t *testing.T) {
			got, composed := compose(t, r)
			path := filepath.Join("testdata", name+".eml")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("differs from %s; got:\n%s", path, got)
			}
			wantComposed := map[string]Composed{
				"failure-full":  {Full: true},
				"failure-8bit":  {Full: true, EightBit: true},
				"international": {EightBit: true, UTF8: true},
			}[name]
			if composed.Size = 0; composed != wantComposed {
				t.Errorf("Composed = %+v, want %+v", composed, wantComposed)
			}
			parseReport(t, got)
		})
	}
}

func TestComposeRefuses(t *testing.T) {
	broken := errors.New("disk is gone")
	tests := []struct {
		name string
		edit func(*Report)
		want error
	}{
		{"3461-5.2-a null reverse-path", func(r *Report) { r.To = smtp.Path{} }, ErrNullSender},
		{"no recipients", func(r *Report) { r.Recipients = nil }, ErrNoRecipients},
		{"boundary with a quote", func(r *Report) { r.Boundary = `a"b` }, ErrBoundary},
		{"boundary with a line end", func(r *Report) { r.Boundary = "a\r\nb" }, ErrBoundary},
		{"boundary too long", func(r *Report) { r.Boundary = strings.Repeat("x", 71) }, ErrBoundary},
		{"content breaks in the header", func(r *Report) { r.Content = iotest.ErrReader(broken) }, broken},
		{"content breaks", func(r *Report) {
			*r = r.withContent(original, Full)
			r.Content = io.MultiReader(strings.NewReader("A: b\r\n"), iotest.ErrReader(broken))
		}, broken},
		{"content is too short", func(r *Report) {
			*r = r.withContent(original, Full)
			r.ContentSize++
		}, io.ErrUnexpectedEOF},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := base()
			tt.edit(&r)
			if _, err := Compose(io.Discard, r); !errors.Is(err, tt.want) {
				t.Errorf("Compose: %v, want %v", err, tt.want)
			}
		})
	}
}

// limitedWriter fails after so many octets.
type limitedWriter struct{ left int }

var errFull = errors.New("no space left")

func (w *limitedWriter) Write(p []byte) (int, error) {
	n := min(len(p), w.left)
	w.left -= n
	if n < len(p) {
		return n, errFull
	}
	return n, nil
}

func TestComposeWriterFails(t *testing.T) {
	report, _ := compose(t, base().withContent(original, Full))
	for room := 0; room < len(report); room += 97 {
		if _, err := Compose(&limitedWriter{room}, base().withContent(original, Full)); !errors.Is(err, errFull) {
			t.Fatalf("room for %d octets: %v", room, err)
		}
	}
}

// TestRandomNames: without fixed ones, two reports share neither boundary nor
// Message-ID.
//
// I-11
func TestRandomNames(t *testing.T) {
	r := base()
	r.MessageID, r.Boundary = "", ""
	first, _ := compose(t, r)
	second, _ := compose(t, r)
	a, b := parseReport(t, first), parseReport(t, second)
	if a.boundary == b.boundary || len(a.boundary) < 26 {
		t.Errorf("boundaries %q and %q", a.boundary, b.boundary)
	}
	idA, idB := a.header.Get("Message-Id"), b.header.Get("Message-Id")
	if idA == idB || !strings.HasSuffix(idA, "@mail.example.org>") {
		t.Errorf("Message-IDs %q and %q", idA, idB)
	}
}
