package smtp

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParseEnhanced(t *testing.T) {
	for _, tc := range []struct {
		in, code, rest string
		ok             bool
	}{
		{"5.1.1 no such user", "5.1.1", "no such user", true},
		{"2.0.0", "2.0.0", "", true},
		{"4.123.999 x", "4.123.999", "x", true},
		{"no such user", "", "no such user", false},
		{"3.1.1 x", "", "3.1.1 x", false},
		{"5.01.1 x", "", "5.01.1 x", false},
		{"5.1.1000 x", "", "5.1.1000 x", false},
		{"5.1 x", "", "5.1 x", false},
		{"5.1.-1 x", "", "5.1.-1 x", false},
	} {
		code, rest, ok := ParseEnhanced(tc.in)
		if code.String() != tc.code || rest != tc.rest || ok != tc.ok {
			t.Errorf("ParseEnhanced(%q) = %v, %q, %v", tc.in, code, rest, ok)
		}
	}
}

// TestReply: what a host said stands on one line, and moves no terminal.
//
// I-09 3463-a
func TestReply(t *testing.T) {
	r := Reply{Code: 550, Enhanced: EnhancedCode{5, 1, 1}, Lines: []string{"no\x1b[31m", "such\u202e user\xff"}}
	if got, want := r.String(), "550 5.1.1 no?[31m such? user?"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
	if got, want := string(NewReply(250, EnhancedCode{2, 0, 0}, "ok").AppendWire(nil)), "250 2.0.0 ok\r\n"; got != want {
		t.Errorf("wire %q, want %q", got, want)
	}
	two := Reply{Code: 451, Enhanced: EnhancedCode{4, 3, 0}, Lines: []string{"a", "b"}}
	if got, want := string(two.AppendWire(nil)), "451-4.3.0 a\r\n451 4.3.0 b\r\n"; got != want {
		t.Errorf("wire %q, want %q", got, want)
	}
	for _, tc := range []struct {
		r    Reply
		want string
	}{
		{Reply{Code: 550}, "5.0.0"},
		{Reply{Code: 450, Enhanced: EnhancedCode{5, 1, 1}}, "4.0.0"},
		{Reply{Code: 554, Enhanced: EnhancedCode{5, 7, 1}}, "5.7.1"},
		{Reply{}, ""},
	} {
		if got := tc.r.Status().String(); got != tc.want {
			t.Errorf("Status of %v = %s, want %s", tc.r, got, tc.want)
		}
	}
}

// FuzzXtext: what is written reads as what it was, and nothing that is read has a
// character that could end a command or a field.
func FuzzXtext(f *testing.F) {
	for _, s := range []string{"a+b=c@d.example", "+0D+0A", "+CE+B4@b.example", "+C2+85", "\u03b4", "+", "~!+2B"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, err := ParseXtext(s); err == nil {
			if strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("%q reads as %q", s, got)
			}
			if again, err := ParseXtext(Xtext(got)); err != nil || again != got {
				t.Errorf("%q is written and reads as %q, %v", got, again, err)
			}
		}
		if got, err := ParseXtextUTF8(s); err == nil && (!utf8.ValidString(got) || Printable(got) != got) {
			t.Errorf("%q reads as %q", s, got)
		}
	})
}

func TestNotify(t *testing.T) {
	for in, want := range map[string]string{
		"never": "NEVER", "FAILURE": "FAILURE", "delay,Success": "SUCCESS,DELAY", "SUCCESS,FAILURE,DELAY": "SUCCESS,FAILURE,DELAY",
	} {
		n, err := ParseNotify(in)
		if err != nil || n.String() != want {
			t.Errorf("ParseNotify(%q) = %v, %v", in, n, err)
		}
	}
	for _, in := range []string{"", "NEVER,FAILURE", "FAILURE,FAILURE", "ALWAYS", "FAILURE,", " FAILURE"} {
		if n, err := ParseNotify(in); err == nil {
			t.Errorf("ParseNotify(%q) = %v", in, n)
		}
	}
	if n := Notify(0); !n.Failure() || !n.Delay() || n.Success() {
		t.Error("without NOTIFY: failures and delays are reported, success is not")
	}
}

func TestXtext(t *testing.T) {
	for in, want := range map[string]string{"a+b": "a+b", "a=b@c.d": "a=b@c.d", "a b": "a b", "": "", "~!": "~!"} {
		if got, err := ParseXtext(Xtext(in)); err != nil || got != want {
			t.Errorf("%q came back as %q, %v", in, got, err)
		}
	}
	if got := Xtext("a+b c="); got != "a+2Bb+20c+3D" {
		t.Errorf("Xtext = %q", got)
	}
	for _, in := range []string{"+0D+0Ax", "+0a", "+4", "+", "+ZZ", "a=b", "a b", "+00", "\x7f", "+7F", "gr\xc3\xa5"} {
		if got, err := ParseXtext(in); err == nil {
			t.Errorf("ParseXtext(%q) = %q", in, got)
		}
	}
	if got, err := ParseXtextUTF8("+CE+B4@b.example"); err != nil || got != "\u03b4@b.example" {
		t.Errorf("ParseXtextUTF8 = %q, %v", got, err)
	}
	for _, in := range []string{"+CE", "+C2+85", "+0A", "\u03b4", "+E2+80+A8"} {
		if got, err := ParseXtextUTF8(in); err == nil {
			t.Errorf("ParseXtextUTF8(%q) = %q", in, got)
		}
	}
}
