package pseudonym

import (
	"regexp"
	"strings"
	"testing"
)

func TestText(t *testing.T) {
	m := New()
	bob := m.name("bob")
	for in, want := range map[string]string{
		"":                       "",
		"no address":             "no address",
		"bob@example.org":        bob + "@example.org",
		"BOB@example.org":        bob + "@example.org",
		`"bob"@example.org`:      bob + "@example.org",
		"<bob@example.org>":      "<" + bob + "@example.org>",
		"MAIL FROM:<bob@b.test>": "MAIL FROM:<" + bob + "@b.test>",
		"550 5.1.1 <bob@b.test>: no such user, bob@c.test": "550 5.1.1 <" + bob + "@b.test>: no such user, " + bob + "@c.test",
		"bob@[192.0.2.1]": bob + "@[192.0.2.1]",
		"a @ b":           "a @ b",
	} {
		if got := m.Text(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	for _, hostile := range []string{`"a b@c"@d.test`, `"a\"b"@d.test`, "bücher+x=y!%/?@d.test", strings.Repeat("x", 1000) + "@d.test"} {
		local := hostile[:strings.LastIndexByte(hostile, '@')]
		if got := m.Text(hostile); strings.Contains(got, local) || !regexp.MustCompile(`user-[0-9a-f]{10}@d\.test$`).MatchString(got) {
			t.Errorf("%q: got %q", hostile, got)
		}
	}
	if New().name("bob") == bob || m.name("carol") == bob {
		t.Error("pseudonyms can be guessed, or are the same for different people")
	}
}
