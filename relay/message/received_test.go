package message

import (
	"net/mail"
	"net/netip"
	"strings"
	"testing"
	"time"

	"waypost/relay/smtp"
)

func testDate() time.Time {
	return time.Date(2026, time.March, 4, 5, 6, 7, 0, time.FixedZone("", -(3*60+30)*60))
}

// 5321-F.4-a: years have four digits.
func TestDate(t *testing.T) {
	for want, at := range map[string]time.Time{
		"Wed, 4 Mar 2026 05:06:07 -0330":  testDate(),
		"Wed, 4 Mar 2026 08:36:07 +0000":  testDate().UTC(),
		"Thu, 31 Dec 2026 23:59:59 +0000": time.Date(2026, 12, 31, 23, 59, 59, 0, time.UTC),
	} {
		if got := Date(at); got != want {
			t.Errorf("Date = %q, want %q", got, want)
		}
		if back, err := mail.ParseDate(want); err != nil || !back.Equal(at) {
			t.Errorf("%q reads as %v, %v; want %v", want, back, err, at)
		}
	}
}

// 5321-4.4-a 1123-5.2.8-a 8314-4.1-a: who, by whom, how, which, for whom and when.
func TestReceived(t *testing.T) {
	full := Received{
		Hello: "client.example.net", Client: netip.MustParseAddr("192.0.2.7"), ClientName: "host7.example.net",
		By: "mx.example.org", Protocol: Protocol(true, true, false, false), TLS: "TLS1.3 TLS_AES_128_GCM_SHA256",
		ID: "4f3a9c", For: smtp.Path{Local: "user", Domain: "example.org"}, Date: testDate(),
	}
	tests := []struct {
		name string
		edit func(*Received)
		want []string
	}{
		{"everything", func(*Received) {}, []string{
			"Received: from client.example.net (host7.example.net [192.0.2.7])",
			" by mx.example.org with ESMTPS id 4f3a9c",
			" for <user@example.org> tls TLS_AES_128_GCM_SHA256 (TLS1.3);",
			" Wed, 4 Mar 2026 05:06:07 -0330",
		}},
		{"only what must be", func(r *Received) { *r = Received{By: "mx", Date: r.Date} }, []string{
			"Received: from localhost",
			" by mx;",
			" Wed, 4 Mar 2026 05:06:07 -0330",
		}},
		{"no greeting, IPv6", func(r *Received) {
			*r = Received{Client: netip.MustParseAddr("2001:db8::1"), By: "mx", Protocol: "SMTP", ID: "1", Date: r.Date}
		}, []string{
			"Received: from [IPv6:2001:db8::1] ([IPv6:2001:db8::1])",
			" by mx with SMTP id 1;",
			" Wed, 4 Mar 2026 05:06:07 -0330",
		}},
		{"IPv4 in IPv6, suite without version", func(r *Received) {
			r.Client = netip.MustParseAddr("::ffff:192.0.2.7")
			r.For, r.TLS = smtp.Path{}, "TLS_AES_128_GCM_SHA256"
		}, []string{
			"Received: from client.example.net (host7.example.net [192.0.2.7])",
			" by mx.example.org with ESMTPS id 4f3a9c tls TLS_AES_128_GCM_SHA256;",
			" Wed, 4 Mar 2026 05:06:07 -0330",
		}},
		{"comment in the greeting", func(r *Received) {
			r.Hello, r.ClientName, r.TLS = "a) by evil.test (x;", "b)\r\nBcc: v@w (", ""
		}, []string{
			"Received: from a??by?evil.test??x? (b???Bcc:?v?w?? [192.0.2.7])",
			" by mx.example.org with ESMTPS id 4f3a9c",
			" for <user@example.org>;",
			" Wed, 4 Mar 2026 05:06:07 -0330",
		}},
		{"quoted recipient", func(r *Received) {
			r.TLS, r.For.Local = "", `a>; b  c"`
		}, []string{
			"Received: from client.example.net (host7.example.net [192.0.2.7])",
			" by mx.example.org with ESMTPS id 4f3a9c",
			` for <"a>; b  c\""@example.org>;`,
			" Wed, 4 Mar 2026 05:06:07 -0330",
		}},
		{"international recipient", func(r *Received) {
			r.TLS, r.For.Local, r.Protocol = "", "пользователь", Protocol(true, false, false, true)
		}, []string{
			"Received: from client.example.net (host7.example.net [192.0.2.7])",
			" by mx.example.org with UTF8SMTP id 4f3a9c",
			" for <пользователь@example.org>;",
			" Wed, 4 Mar 2026 05:06:07 -0330",
		}},
		{"international recipient without SMTPUTF8", func(r *Received) { r.TLS, r.For.Local = "", "пользователь" }, []string{
			"Received: from client.example.net (host7.example.net [192.0.2.7])",
			" by mx.example.org with ESMTPS id 4f3a9c;",
			" Wed, 4 Mar 2026 05:06:07 -0330",
		}},
		{"recipient that was never parsed", func(r *Received) { r.TLS, r.For.Domain = "", "x> , <y@z" }, []string{
			"Received: from client.example.net (host7.example.net [192.0.2.7])",
			" by mx.example.org with ESMTPS id 4f3a9c;",
			" Wed, 4 Mar 2026 05:06:07 -0330",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := full
			tt.edit(&r)
			want := "before\r\n" + strings.Join(tt.want, "\r\n") + "\r\n"
			if got := string(r.Append([]byte("before\r\n"))); got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// 3848-a 6531-f: the words for how a message came.
func TestProtocol(t *testing.T) {
	for _, tt := range []struct {
		extended, tls, auth, utf8 bool
		want                      string
	}{
		{false, false, false, false, "SMTP"},
		{false, true, false, false, "SMTP"},
		{true, false, false, false, "ESMTP"},
		{true, true, false, false, "ESMTPS"},
		{true, false, true, false, "ESMTPA"},
		{true, true, true, false, "ESMTPSA"},
		{true, false, false, true, "UTF8SMTP"},
		{true, true, true, true, "UTF8SMTPSA"},
	} {
		if got := Protocol(tt.extended, tt.tls, tt.auth, tt.utf8); got != tt.want {
			t.Errorf("Protocol(%v, %v, %v, %v) = %q, want %q", tt.extended, tt.tls, tt.auth, tt.utf8, got, tt.want)
		}
	}
}

// I-16: whatever a peer says.
//
// FuzzReceived: whatever a peer says, the field stays one field, its clauses
// stay where they are, and no line is over the limit.
func FuzzReceived(f *testing.F) {
	f.Add("client.example.net", "host.example.net", "user", "example.org", "TLS1.3 TLS_AES_128_GCM_SHA256")
	f.Add("a) by evil (", "\x00\r\nX: y", `"><`, "[192.0.2.1]", "(")
	f.Add(strings.Repeat("x", 2000), strings.Repeat("(", 300), strings.Repeat("\\", 600), strings.Repeat("d", 999), strings.Repeat("T ", 600))
	f.Fuzz(func(t *testing.T, hello, name, local, domain, tls string) {
		r := Received{
			Hello: hello, Client: netip.MustParseAddr("192.0.2.7"), ClientName: name, By: "mx.example.org",
			Protocol: "ESMTPS", TLS: tls, ID: "4f3a", For: smtp.Path{Local: local, Domain: domain}, Date: testDate(),
		}
		field := string(r.Append(nil))
		body, ok := strings.CutSuffix(field, "\r\n")
		if !ok {
			t.Fatalf("no CRLF at the end of %q", field)
		}
		for i, line := range strings.Split(body, "\r\n") {
			if len(line) > 998 || i > 0 && (line[0] != ' ' || strings.TrimSpace(line) == "") || !clean(line) {
				t.Fatalf("line %d: %q", i, line)
			}
		}
		m, err := mail.ReadMessage(strings.NewReader(field + "\r\n"))
		if err != nil || len(m.Header) != 1 {
			t.Fatalf("%d fields, %v: %q", len(m.Header), err, field)
		}
		value := m.Header.Get("Received")
		if !strings.Contains(value, "[192.0.2.7]) by mx.example.org with ESMTPS id 4f3a") ||
			!strings.HasSuffix(value, "; Wed, 4 Mar 2026 05:06:07 -0330") {
			t.Fatalf("a clause moved: %q", value)
		}
	})
}

// clean reports whether s is printable ASCII.
func clean(s string) bool {
	return strings.Trim(s, " !\"#$%&'()*+,-./0123456789:;<=>?@[\\]^_`{|}~"+
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}
