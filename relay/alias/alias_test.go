package alias

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waypost/relay/smtp"
)

func path(t testing.TB, s string) smtp.Path {
	t.Helper()
	p, err := smtp.SplitPath(s, true)
	if err != nil {
		t.Fatal(s, err)
	}
	return p
}

// told writes an alias as "member member/owner".
func told(a Alias) string {
	var all []string
	for _, m := range a.Members {
		s := m.Path.String()
		if !m.Owner.IsNull() {
			s += "/" + m.Owner.String()
		}
		all = append(all, s)
	}
	return strings.Join(all, " ")
}

func TestExpand(t *testing.T) {
	table, _, problems := Parse("aliases", `# the usual
root:	admin@corp.example

# nested, over several lines, with a comment between
everybody: devs,
	ops,
# here

	"odd, one"@corp.example
devs: ann@corp.example, bob
bob: <Bob@corp.example>
ops: carol@corp.example, ann@CORP.example,
Keep@Corp.Example: keep@corp.example, archive@corp.example
here: here, copy@corp.example
plain: \root
list: ann@corp.example, devs
owner-list: bob
Grüße: ann@corp.example
team@corp.example: list, zoe@corp.example
owner-team@corp.example: zoe@corp.example
"two words": ann@corp.example
`, "relay.example", nil)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for address, want := range map[string]string{
		"root@relay.example":       "admin@corp.example",
		"ROOT@Relay.Example":       "admin@corp.example",
		"root@localhost":           "admin@corp.example",
		"postmaster":               "admin@corp.example",
		"postmaster@relay.example": "admin@corp.example",
		"postmaster@corp.example":  "",
		"root@corp.example":        "",
		"nobody@relay.example":     "",
		"everybody@relay.example":  `ann@corp.example Bob@corp.example carol@corp.example "odd, one"@corp.example`,
		"keep@corp.example":        "keep@corp.example archive@corp.example",
		"here@relay.example":       "here@relay.example copy@corp.example",
		"plain@relay.example":      "root@relay.example",
		"list@relay.example":       "ann@corp.example/owner-list@relay.example Bob@corp.example/owner-list@relay.example",
		"owner-list@relay.example": "Bob@corp.example",
		"team@corp.example":        "ann@corp.example/owner-list@relay.example Bob@corp.example/owner-list@relay.example zoe@corp.example/owner-team@corp.example",
		"grüße@relay.example":      "ann@corp.example",
		"two words@relay.example":  "ann@corp.example",
	} {
		a, ok := table.Expand(path(t, address))
		if told(a) != want || ok != (want != "") {
			t.Errorf("%s: %q (%v), want %q", address, told(a), ok, want)
		}
	}
	if a, _ := table.Expand(path(t, "postmaster@relay.example")); a.Name != "root" || a.Row != 2 {
		t.Errorf("postmaster comes from %q in line %d", a.Name, a.Row)
	}
	var none *File
	if _, ok := none.Table().Expand(path(t, "root@relay.example")); ok {
		t.Error("no file has an alias")
	}
}

func TestMistakesAreNamed(t *testing.T) {
	for text, want := range map[string]string{
		"root admin@corp.example":                    `1: there is no colon: an alias is "name: address, address"`,
		"\n root: x@corp.example":                    "2: the line begins with a blank, and there is none that it could go on with",
		"root:\nx: ,":                                `1: "root" leads to nobody|2: "x" leads to nobody`,
		"a b: x@corp.example":                        `1: the name "a b" is no local part and no address`,
		"a: x@corp.example\nb: y@corp.example\nA: z": `3: "A" stands in line 1 already`,
		"a: x@, y@corp.example, <z":                  `1: "x@" is no address`,
		"a: |/bin/sh":                                "is a command, and waypost runs none",
		"a: \"|/bin/sh -c 'x, y'\"":                  "is a command, and waypost runs none",
		"a: /dev/null":                               "is a file, and waypost delivers to none",
		"a: :fail:no":                                "is not known; there is :include:/path",
		"a: b\nb: c, x@corp.example\nc: a":           "1: the alias leads back to itself: a → b → c → a",
		"a: b\nb: a\nc: d\nd: c":                     "1: the alias leads back to itself: a → b → a|3: the alias leads back to itself: c → d → c",
		"root: postmaster":                           "",
		"postmaster: root\nroot: postmaster":         "1: the alias leads back to itself: postmaster → root → postmaster",
		"x@corp.example: y@corp.example\ny@CORP.example: X@corp.example": "1: the alias leads back to itself",
		"a: one two":                        `1: "one two" is no address`,
		"a: x@corp.example # not a comment": "is no address",
		"a: \x00":                           "is no address",
		"":                                  "",
	} {
		_, _, problems := Parse("aliases", text, "relay.example", nil)
		var got []string
		for _, p := range problems {
			got = append(got, fmt.Sprintf("%d: %s", p.Row, p.Text))
		}
		wants := strings.Split(want, "|")
		if want == "" {
			wants = nil
		}
		bad := len(wants) > 0 && len(got) == 0 || len(wants) == 0 && len(got) > 0
		for i, w := range wants {
			bad = bad || i >= len(got) || !strings.Contains(got[i], w)
		}
		if bad {
			t.Errorf("%q: %q, want %q", text, got, wants)
		}
	}
}

func TestFileIsReadAgain(t *testing.T) {
	name := filepath.Join(t.TempDir(), "aliases")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a: x\nb:\n")
	if _, err := Load(name, "relay.example", nil); err == nil || err.Error() != name+`:2: "b" leads to nobody` {
		t.Fatalf("the error is %v", err)
	}
	write("a: x@corp.example\n")
	f, err := Load(name, "relay.example", nil)
	if err != nil {
		t.Fatal(err)
	}
	write("nonsense\n")
	if err := f.table.Reload(); err == nil {
		t.Error("a mistake was taken")
	}
	if a, _ := f.Table().Expand(path(t, "a@relay.example")); told(a) != "x@corp.example" {
		t.Errorf("after a mistake: %q", told(a))
	}
	write("a: y@corp.example\n")
	if err := f.table.Reload(); err != nil {
		t.Error(err)
	}
	if a, _ := f.Table().Expand(path(t, "a@relay.example")); told(a) != "y@corp.example" {
		t.Errorf("after a change: %q", told(a))
	}
}

// FuzzParse: whatever a file says, what comes of it can be expanded, and ends.
func FuzzParse(f *testing.F) {
	f.Add("a: b, c\nb: \\a, x@y.example\n owner-a: z\n")
	f.Add("a: :include:b, \":INCLUDE:/c, d\"\n")
	f.Add("a: a\n@: \"\n\"a\\\": <b>\n")
	f.Fuzz(func(t *testing.T, text string) {
		// Every file says the same, and so may include itself.
		table, _, problems := Parse("aliases", text, "relay.example", func(name string) (string, error) {
			_, rest, _ := strings.Cut(text, ":")
			return rest, nil
		})
		if len(problems) > 0 {
			return
		}
		for _, e := range table.entries {
			for _, m := range e.members {
				if s := m.path.String(); smtp.Printable(s) != s && !strings.ContainsFunc(s, func(r rune) bool { return r > 127 }) {
					t.Errorf("%q leads to %q", e.name, s)
				}
			}
			p := smtp.Path{Local: e.name, Domain: "relay.example"}
			if a, ok := table.Expand(p); ok && len(a.Members) == 0 {
				t.Errorf("%q leads to nobody", e.name)
			}
		}
	})
}
