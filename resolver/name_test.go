package resolver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	long := strings.Repeat("a.", 126) + "b" // 253 octets
	for _, row := range []struct {
		in     string
		domain string // empty: refused as a recipient's domain
		host   string // empty: refused as a host
	}{
		{"example.org", "example.org", "example.org"},
		{"EXAMPLE.Org.", "example.org", "example.org"},
		{"a--b.example", "a--b.example", "a--b.example"},
		{"r3---x.example", "r3---x.example", "r3---x.example"},
		{"3com.example", "3com.example", "3com.example"},
		{"bücher.example", "xn--bcher-kva.example", "xn--bcher-kva.example"},
		{"BÜCHER.example", "xn--bcher-kva.example", "xn--bcher-kva.example"},
		{"XN--BCHER-KVA.example", "xn--bcher-kva.example", "xn--bcher-kva.example"},
		{"ok。example", "ok.example", "ok.example"},
		{"ok.example。", "ok.example", "ok.example"},
		{"ｏｋ.example", "ok.example", "ok.example"},
		{"xn--a.example", "", "xn--a.example"},
		{"a_b.example", "", "a_b.example"},
		{"a_b.bücher.example", "", ""},
		{strings.Repeat("a", 63) + ".b", strings.Repeat("a", 63) + ".b", strings.Repeat("a", 63) + ".b"},
		{strings.Repeat("a", 64) + ".b", "", ""},
		{long, long, long},
		{long + ".", long, long},
		{"a" + long, "", ""},
		{strings.Repeat("ü", 1000), "", ""},
		{strings.Repeat("a", 1<<18), "", ""},
		{"", "", ""}, {".", "", ""}, {"..", "", ""}, {".a", "", ""}, {"a..b", "", ""}, {"a..", "", ""},
		{"-a.b", "", ""}, {"a-.b", "", ""}, {"a.-", "", ""},
		{"a b", "", ""}, {"a\tb", "", ""}, {"a\x00b", "", ""}, {"a\\.b", "", ""}, {"a/b", "", ""}, {"a@b", "", ""},
		{"a.1", "", ""}, {"1", "", ""}, {"0x7f.1", "", ""}, {"127.0.0.1", "", ""}, {"::1", "", ""},
		{"[a]", "", ""}, {"a\u200db.example", "", ""},
	} {
		for _, form := range []struct {
			title string
			parse func(string) (string, error)
			want  string
		}{{"recipientDomain", recipientDomain, row.domain}, {"hostName", hostName, row.host}} {
			got, err := form.parse(row.in)
			if (err != nil) != (form.want == "") || err == nil && got != form.want {
				t.Errorf("%s(%.40q) is %q, %v, want %q", form.title, row.in, got, err, form.want)
			}
		}
	}
}

func TestNoneUsable(t *testing.T) {
	gone := newError(NoSuchDomain, "mx1.example", "A", nil)
	empty := newError(NoAddress, "mx2.example", "", nil)
	failed := newError(Temporary, "mx3.example", "A", context.DeadlineExceeded)
	unknown := errors.New("something else")
	for title, row := range map[string]struct {
		errs  []error
		kind  Kind
		cause error
	}{
		"no hosts":         {nil, NoAddress, nil},
		"all permanent":    {[]error{gone, empty}, NoAddress, gone},
		"wrapped":          {[]error{fmt.Errorf("host mx1: %w", gone)}, NoAddress, gone},
		"one is temporary": {[]error{gone, failed, empty}, Temporary, failed},
		"one is unknown":   {[]error{gone, unknown}, Temporary, unknown},
	} {
		err := NoneUsable("d.example", row.errs...)
		wantKind(t, err, row.kind)
		if row.cause != nil && !errors.Is(err, row.cause) {
			t.Errorf("%s: %v does not name its cause %v", title, err, row.cause)
		}
	}
}

func TestErrorText(t *testing.T) {
	for want, err := range map[string]*Error{
		"look up MX of d.example: no such domain":                              newError(NoSuchDomain, "d.example", "MX", nil),
		"look up d.example: no usable address":                                 newError(NoAddress, "d.example", "", nil),
		"look up d.example: too many aliases":                                  newError(CNAMELoop, "d.example", "", nil),
		"look up MX of d.example: the domain takes no mail (null MX)":          newError(NullMX, "d.example", "MX", nil),
		"look up MX of d.example: mail for the domain loops back to us":        newError(Loop, "d.example", "MX", nil),
		"look up d..example: not a domain name: an empty label":                newError(BadName, "d..example", "", errors.New("an empty label")),
		"look up A of d.example: temporary failure: context deadline exceeded": newError(Temporary, "d.example", "A", context.DeadlineExceeded),
	} {
		if got := err.Error(); got != want {
			t.Errorf("text is %q, want %q", got, want)
		}
	}
}
