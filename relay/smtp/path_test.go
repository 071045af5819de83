package smtp

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// also what is far too long.
func TestParsePath(t *testing.T) {
	long := strings.Repeat("a", 64)
	for _, tc := range []struct {
		in   string
		utf8 bool
		want string // canonical path, then what follows it
		err  error
	}{
		{in: "<a@b.example> SIZE=1", want: "a@b.example| SIZE=1"},
		{in: "<>", want: "|"},
		{in: "<> RET=HDRS", want: "| RET=HDRS"},
		{in: "<postmaster>", want: "postmaster|"},
		{in: "<PostMaster>", want: "PostMaster|"},
		{in: `<"postmaster"@b.example>`, want: "postmaster@b.example|"},
		{in: "<@x.example:a@b.example>", want: "a@b.example|"},
		{in: "<@x.example,@y.example:a@b.example>", want: "a@b.example|"},
		{in: "<A.b+c@B.Example>", want: "A.b+c@B.Example|"},
		{in: `<"a b"@b.example>`, want: `"a b"@b.example|`},
		{in: `<"a\b"@b.example>`, want: `ab@b.example|`},
		{in: `<"a\"b\\"@b.example>`, want: `"a\"b\\"@b.example|`},
		{in: `<"x@evil.test> NOTIFY=NEVER"@ok.example>`, want: `"x@evil.test> NOTIFY=NEVER"@ok.example|`},
		{in: `<"@"@b.example>`, want: `"@"@b.example|`},
		{in: `<" "@b.example>`, want: `" "@b.example|`},
		{in: `<"a..b"@b.example>`, want: `"a..b"@b.example|`},
		{in: "<a..b@b.example>", want: `"a..b"@b.example|`},
		{in: "<a@[192.0.2.1]>", want: "a@[192.0.2.1]|"},
		{in: "<a@[IPv6:2001:db8::1]>", want: "a@[IPv6:2001:db8::1]|"},
		{in: "<a@" + long[1:] + ".example>", want: "a@" + long[1:] + ".example|"},
		{in: "<grå@b.example>", utf8: true, want: "grå@b.example|"},
		{in: "<a@grå.example>", utf8: true, want: "a@grå.example|"},
		{in: "<a@xn--gr-zia.example>", want: "a@xn--gr-zia.example|"},
		{in: "<a%b@c.example>", want: "a%b@c.example|"},

		{in: "", err: ErrSyntax},
		{in: "a@b.example", err: ErrSyntax},
		{in: "<a@b.example", err: ErrSyntax},
		{in: "<v>", err: ErrSyntax},
		{in: "<@b.example>", err: ErrSyntax},
		{in: "<a@>", err: ErrDomain},
		{in: "<@b.example:>", err: ErrLocal},
		{in: `<""@b.example>`, err: ErrLocal},
		{in: `<"a@b.example>`, err: ErrLocal},
		{in: "<a b@c.example>", err: ErrSyntax},
		{in: "<a\rX@b.example>", err: ErrSyntax},
		{in: "<\"a\rX\"@b.example>", err: ErrLocal},
		{in: "<\"a\x00\"@b.example>", err: ErrLocal},
		{in: "<a@b.example,w@c.example>", err: ErrDomain},
		{in: "<a@b.example >", err: ErrDomain},
		{in: "<a@b..example>", err: ErrDomain},
		{in: "<a@b.example.>", err: ErrDomain},
		{in: "<a@-b.example>", err: ErrDomain},
		{in: "<a@b_c.example>", err: ErrDomain},
		{in: "<a@" + long + ".example>", err: ErrDomain},
		{in: "<a@" + strings.Repeat(long[1:]+".", 4) + "example>", err: ErrDomain},
		{in: "<a@127.0.0.1>", err: ErrDomain},
		{in: "<a@2130706433>", err: ErrDomain},
		{in: "<a@0x7f.1>", err: ErrDomain},
		{in: "<a@0x7f>", err: ErrDomain},
		{in: "<a@[127.1]>", err: ErrDomain},
		{in: "<a@[IPv6:zz]>", err: ErrDomain},
		{in: "<a@[2001:db8::1]>", err: ErrDomain},
		{in: "<a@[IPv6:fe80::1%eth0]>", err: ErrDomain},
		{in: "<a@xn--\x7f.example>", err: ErrDomain},
		{in: "<a@xn--zzzzzzzzzz99999.example>", err: ErrDomain},
		{in: "<grå@b.example>", err: ErrUTF8},
		{in: "<a@ok。example>", err: ErrUTF8},
		{in: "<\xff\xfe@b.example>", utf8: true, err: ErrLocal},
		{in: "<a@ok\u200d.example>", utf8: true, err: ErrDomain},
		{in: "<\"a\u2028b\"@b.example>", utf8: true, err: ErrLocal},
		{in: "<a@[" + strings.Repeat("1", 256<<10) + ">", err: ErrDomain},
	} {
		p, rest, err := ParsePath(tc.in, tc.utf8)
		if !errors.Is(err, tc.err) {
			t.Errorf("ParsePath(%.60q): error %v, want %v", tc.in, err, tc.err)
		} else if got := p.String() + "|" + rest; err == nil && got != tc.want {
			t.Errorf("ParsePath(%.60q) = %q, want %q", tc.in, got, tc.want)
		}
	}
}

func TestControlCharactersAreRefusedEverywhere(t *testing.T) {
	for c := range 0x21 {
		if c == ' ' {
			c = 0x7f
		}
		for _, in := range []string{"<a" + string(rune(c)) + "b@c.example>", `<"a` + string(rune(c)) + `b"@c.example>`, `<"a\` + string(rune(c)) + `b"@c.example>`, "<a@c" + string(rune(c)) + ".example>"} {
			if p, _, err := ParsePath(in, true); err == nil {
				t.Errorf("ParsePath(%q) = %q", in, p)
			}
		}
	}
}

func TestDomainKey(t *testing.T) {
	for in, want := range map[string]string{
		"OK.Example": "ok.example", "ok。example": "ok.example", "ｏｋ.example": "ok.example",
		"grå.example": "xn--gr-zia.example", "[IPv6:2001:DB8::1]": "[ipv6:2001:db8::1]", "": "",
	} {
		if got := (Path{Local: "a", Domain: in}).DomainKey(); got != want {
			t.Errorf("DomainKey(%q) = %q, want %q", in, got, want)
		}
	}
}

// I-03: for whatever local part.
//
// What is written parses again, to the same meaning, whatever stands in the
// local part, and nothing of it ends up behind the path.
func TestPathRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Path{
			Local:  rapid.StringMatching(`[ -~]{1,60}`).Draw(t, "local"),
			Domain: rapid.SampledFrom([]string{"b.example", "[192.0.2.1]", "[IPv6:2001:db8::1]", "x"}).Draw(t, "domain"),
		}
		got, rest, err := ParsePath("<"+p.String()+"> NOTIFY=NEVER", false)
		if err != nil || got != p || rest != " NOTIFY=NEVER" {
			t.Fatalf("%q came back as %q, %q, %v", p, got, rest, err)
		}
		got, err = SplitPath(p.Local+"@"+p.Domain, false)
		if err != nil || got != p {
			t.Fatalf("%q was split into %q, %v", p, got, err)
		}
	})
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"<>", "<a@b.c>", `<"a b"@[1.2.3.4]> X=1`, "<@a,@b:c@d>", "<gr\xc3\xa5@b>"} {
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, s string, utf8 bool) {
		p, _, err := ParsePath(s, utf8)
		if err != nil {
			return
		}
		again, rest, err := ParsePath("<"+p.String()+">", utf8)
		if err != nil || again != p || rest != "" {
			t.Fatalf("%q parsed to %q, which parses to %q, %q, %v", s, p, again, rest, err)
		}
	})
}

// What is written and what go-smtp's Session receives lead to each other.
func TestParseMailbox(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "a@b.test": "a@b.test", "Postmaster": "Postmaster", `"a b"@b.test`: "a b@b.test", `"a@x"@b.test`: "a@x@b.test", "ä@b.test": "ä@b.test",
	} {
		p, err := ParseMailbox(text, true)
		if err != nil || p.Unquoted() != want || p.String() != text {
			t.Errorf("%q: %q, written %q, %v", text, p.Unquoted(), p.String(), err)
		}
		if again, err := SplitPath(p.Unquoted(), true); err != nil || again != p {
			t.Errorf("%q: %+v and %+v, %v", text, p, again, err)
		}
	}
	for _, text := range []string{"a b@b.test", "a@b.test>", "a@b.test> SIZE=1", "<a@b.test>", "a@", "@b.test", "nobody", ">"} {
		if p, err := ParseMailbox(text, true); err == nil {
			t.Errorf("%q: %+v", text, p)
		}
	}
	if _, err := ParseMailbox("ä@b.test", false); err == nil {
		t.Error("UTF-8 where none may be")
	}
}
