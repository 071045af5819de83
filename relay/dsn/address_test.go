package dsn

import (
	"net/mail"
	"strings"
	"testing"

	"waypost/relay/smtp"
)

func TestAddressField(t *testing.T) {
	for _, tt := range []struct {
		path   smtp.Path
		native bool
		want   string
	}{
		{smtp.Path{Local: "a", Domain: "b.example"}, true, "rfc822; a@b.example"},
		{smtp.Path{Local: "a  b", Domain: "[192.0.2.1]"}, false, `rfc822; "a  b"@[192.0.2.1]`},
		{smtp.Path{Local: "Postmaster"}, false, "rfc822; Postmaster"},
		{smtp.Path{Local: "é", Domain: "b.example"}, true, "utf-8; é@b.example"},
		{smtp.Path{Local: "é+x", Domain: "b.example"}, false, `utf-8; \x{E9}\x{2B}x@b.example`},
		{smtp.Path{Local: "a", Domain: "é.example"}, false, `utf-8; a@\x{E9}.example`},
	} {
		if got := addressField(tt.path, tt.native); got != tt.want {
			t.Errorf("addressField(%v, %v) = %q, want %q", tt.path, tt.native, got, tt.want)
		}
	}
}

func TestOriginalField(t *testing.T) {
	for _, tt := range []struct {
		orcpt  string
		native bool
		want   string // empty: it cannot be read
	}{
		{"rfc822;Bob@Example.com", false, "rfc822; Bob@Example.com"},
		{"rfc822;bob+2Bx@example.com", true, "rfc822; bob+x@example.com"},
		{"X400;/s=a", false, ""}, // = is not xtext
		{"X400;/s+3Da", false, "X400; /s=a"},
		{`utf-8;\x{E9}@b`, true, "utf-8; é@b"},
		{`UTF-8;é@b`, false, `UTF-8; \x{E9}@b`},
		{`utf-8;\x{110000}\x{d800}\x{}\x{41`, true, `utf-8; \x{110000}\x{d800}\x{}\x{41`},
		{`utf-8;a\x{A}b`, true, "utf-8; a?b"},
		{"rfc822;a+0D+0ABcc:+20v@x", false, ""},
		{"rfc822;é@b", true, ""},
		{"rfc 822;a@b", true, ""},
		{"rfc822\r\n;a@b", true, ""},
		{"a@b", true, ""},
		{";a@b", true, ""},
		{"rfc822;", true, ""},
		{"", true, ""},
	} {
		got, ok := originalField(tt.orcpt, tt.native)
		if got != tt.want || ok != (tt.want != "") {
			t.Errorf("originalField(%q, %v) = %q, %v; want %q", tt.orcpt, tt.native, got, ok, tt.want)
		}
	}
}

func FuzzEmbed(f *testing.F) {
	f.Add(`a+b=c\x{41}\é`)
	f.Fuzz(func(t *testing.T, s string) {
		s = strings.ToValidUTF8(s, "?")
		got := embed(s)
		if strings.ContainsFunc(got, func(r rune) bool { return r < '!' || r > '~' || r == '+' || r == '=' }) {
			t.Errorf("embed(%q) = %q", s, got)
		}
		if back := unembed(got); back != s {
			t.Errorf("%q comes back as %q", s, back)
		}
	})
}

func TestTo(t *testing.T) {
	tests := []struct {
		name string
		to   smtp.Path
		utf8 bool
		want string // the address, or empty for a group that names none
	}{
		{"plain", smtp.Path{Local: "ann", Domain: "example.net"}, false, "ann@example.net"},
		{"quoted", smtp.Path{Local: `a> ,  "b`, Domain: "example.net"}, false, `"a> ,  \"b"@example.net`},
		{"bare postmaster", smtp.Path{Local: "postmaster"}, false, "postmaster@mail.example.org"},
		{"international", smtp.Path{Local: "é", Domain: "example.net"}, true, "é@example.net"},
		{"international, report in ASCII", smtp.Path{Local: "é", Domain: "example.net"}, false, ""},
		{"never parsed: domain", smtp.Path{Local: "a", Domain: "x>, <b@y"}, false, ""},
		{"never parsed: line end", smtp.Path{Local: "a\r\nBcc: b", Domain: "example.net"}, true, ""},
		{"never parsed: length", smtp.Path{Local: strings.Repeat("é", 2000), Domain: "example.net"}, true, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := base()
			r.To, r.UTF8 = tt.to, tt.utf8
			report, composed := compose(t, r)
			header := parseReport(t, report).header
			if tt.want == "" {
				if got := header.Get("To"); !strings.HasSuffix(got, ":;") || strings.ContainsAny(got, "<>@,") {
					t.Errorf("To is %q", got)
				}
				checkLines(t, report)
				return
			}
			if got := header.Get("To"); got != "<"+tt.want+">" {
				t.Errorf("To is %q, want %q", got, tt.want)
			}
			list, err := mail.ParseAddressList(header.Get("To"))
			if err != nil || len(list) != 1 || list[0].Address != tt.to.Local+"@"+orHost(tt.to.Domain) {
				t.Errorf("To reads as %v: %v", list, err)
			}
			if eight := tt.utf8; composed.EightBit != eight || composed.UTF8 != eight {
				t.Errorf("Composed = %+v", composed)
			}
		})
	}
}

func orHost(domain string) string {
	if domain == "" {
		return "mail.example.org"
	}
	return domain
}

func TestHostname(t *testing.T) {
	for in, want := range map[string]string{
		"Mail.Example.org": "mail.example.org", "[192.0.2.1]": "[192.0.2.1]", "почта.example": "xn--80a1acny.example",
		"": "localhost", "a\r\nb": "localhost", "a b": "localhost",
	} {
		if got := hostname(in); got != want {
			t.Errorf("hostname(%q) = %q, want %q", in, got, want)
		}
	}
}
