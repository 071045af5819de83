package dsn

import (
	"strings"
	"testing"
	"unicode/utf8"

	"waypost/relay/smtp"
)

// FuzzCompose: whatever strangers wrote, a report has exactly three parts and
// one block for each recipient, in lines of printable ASCII of 998 octets;
// with SMTPUTF8, in lines of valid UTF-8.
//
// I-09 I-11
func FuzzCompose(f *testing.F) {
	f.Add("No such user", "bob", "example.com", "rfc822;bob@example.com", "mx.example.com", "no host", "A: b\r\n\r\nbody")
	f.Add("\r\n--=_report--\r\n", "a\" <x>", "[192.0.2.1]", `utf-8;\x{a}`, "\x00", "\r\n\r\n", "--=_report\r\n\r\n")
	f.Add("é", "é", "é.example", "rfc822;é", "é", "é", "é: é\r\n\r\né")
	f.Add(strings.Repeat("é ", 3000), strings.Repeat("\\", 2000), strings.Repeat("\x80", 2000), "utf-8;"+strings.Repeat("é", 2000),
		strings.Repeat("m", 2000), strings.Repeat("r", 2000), strings.Repeat("h", 2000))
	f.Fuzz(func(t *testing.T, text, local, domain, orcpt, remoteMTA, reason, content string) {
		r := base()
		path := smtp.Path{Local: local, Domain: domain}
		if !path.IsNull() {
			r.To = path
		}
		r.Boundary = "" // random: a fixed one could stand in the content
		r.Hostname, r.QueueID, r.EnvelopeID, r.ReceivedFrom = domain, remoteMTA, text, text
		r.Recipients = []Recipient{
			{Final: path, Original: orcpt, RemoteMTA: remoteMTA, Reason: reason,
				Diagnostic: smtp.Reply{Code: 550, Lines: strings.Split(text, "\n")}},
			{Final: path, Original: orcpt, Action: Delayed, RemoteMTA: remoteMTA, Reason: reason},
			{Final: path, Action: Relayed, RemoteMTA: remoteMTA},
		}
		for _, r.UTF8 = range []bool{false, true} {
			r.Content = strings.NewReader(content)
			report, _ := compose(t, r)
			if r.UTF8 {
				if !utf8.ValidString(report) {
					t.Fatalf("not UTF-8: %q", report)
				}
				checkLines(t, strings.Map(hideUTF8, report))
				checkWidth(t, report)
			} else {
				checkLines(t, report)
			}
			if p := parseReport(t, report); len(p.parts) != 3 || len(p.rcpts) != 3 {
				t.Fatalf("%d parts, %d recipients:\n%s", len(p.parts), len(p.rcpts), report)
			}
		}
	})
}

func hideUTF8(r rune) rune {
	if r >= 0xa0 {
		return 'u'
	}
	return r
}

func checkWidth(t *testing.T, text string) {
	t.Helper()
	for i, line := range strings.Split(text, "\r\n") {
		if len(line) > maxLine {
			t.Fatalf("line %d has %d octets", i, len(line))
		}
	}
}
