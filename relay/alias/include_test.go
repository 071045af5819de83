package alias

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"waypost/relay/watch"
)

// reading reads from a map.
func reading(files map[string]string) func(string) (string, error) {
	return func(name string) (string, error) {
		text, ok := files[name]
		if !ok {
			return "", fs.ErrNotExist
		}
		return text, nil
	}
}

func TestInclude(t *testing.T) {
	files := map[string]string{
		"/etc/mail/lists/staff": "# who works here\n\nann@corp.example, bob\n  :include:night\n\\root\r\n\"odd, one\"@corp.example",
		"/etc/mail/lists/night": "zoe@corp.example\n",
		"/etc/mail/with, comma": "comma@corp.example",
		`/etc/mail/with"quote`:  "quote@corp.example",
	}
	table, read, problems := Parse("/etc/mail/aliases", `
staff: first@corp.example, :include:lists/staff,
	last@corp.example
again: :Include:/etc/mail/lists/../lists/night
owner-staff: ann@corp.example
odd: ":include:/etc/mail/with, comma", ":include:with\"quote"
bob: bob@corp.example
`, "relay.example", reading(files))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for address, want := range map[string]string{
		"staff@relay.example": `first@corp.example/O ann@corp.example/O bob@corp.example/O zoe@corp.example/O root@relay.example/O "odd, one"@corp.example/O last@corp.example/O`,
		"again@relay.example": "zoe@corp.example",
		"odd@relay.example":   "comma@corp.example quote@corp.example",
	} {
		a, _ := table.Expand(path(t, address))
		if got := told(a); got != strings.ReplaceAll(want, "/O", "/owner-staff@relay.example") {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
	slices.Sort(read)
	if want := []string{"/etc/mail/lists/night", "/etc/mail/lists/staff", "/etc/mail/with\"quote", "/etc/mail/with, comma"}; !slices.Equal(read, want) {
		t.Errorf("read %q, want %q", read, want)
	}
}

func TestMistakesOfIncludesAreNamed(t *testing.T) {
	deep := map[string]string{}
	for i := range maxDepth + 1 {
		deep[fmt.Sprintf("/%d", i)] = fmt.Sprintf(":include:%d\n", i+1)
	}
	for _, test := range []struct {
		text  string
		files map[string]string
		want  string
	}{
		{"a: :include:/gone", nil, `aliases:1: "/gone" cannot be included: file does not exist`},
		{"a: :include:", nil, "aliases:1: :include: names no file"},
		{"a: :include:/l", map[string]string{"/l": "# nobody\n\n,\n"}, `aliases:1: "a" leads to nobody`},
		{"a: :include:/l\nb: :include:/l", map[string]string{"/l": "x@corp.example\none two\n|prog"}, `/l:2: "one two" is no address`},
		{"a: :include:/l", map[string]string{"/l": "x@corp.example\n|prog"}, "/l:2: \"|prog\" is a command"},
		{"a: :include:/l", map[string]string{"/l": "/var/mail/a"}, "/l:1: \"/var/mail/a\" is a file"},
		{"a: :include:/l", map[string]string{"/l": ":include:/m", "/m": "x@corp.example, :include:l"}, "/m:1: the file includes itself: /l → /m → /l"},
		{"a: :include:/l", map[string]string{"/l": "b"}, ""},
		{"a: :include:/l\nb: a", map[string]string{"/l": "b, x@corp.example"}, "aliases:1: the alias leads back to itself: a → b → a"},
		{"a: :include:/0", deep, "more than 10 files include each other"},
	} {
		_, _, problems := Parse("aliases", test.text, "relay.example", reading(test.files))
		err := &BadFile{problems}
		if got := err.Error(); !strings.Contains(got, test.want) || (got == "") != (test.want == "") {
			t.Errorf("%q: %q, want %q", test.text, got, test.want)
		}
		for i, p := range problems {
			if slices.Contains(problems[:i], p) {
				t.Errorf("%q: %q is said twice", test.text, p)
			}
		}
	}
}

// However files include each other, there is an end.
func TestIncludesAreBounded(t *testing.T) {
	lines := func(n int, line string) string { return strings.Repeat(line+"\n", n) }
	for name, files := range map[string]map[string]string{
		"times":   {"/l": lines(200, ":include:/m"), "/m": lines(200, ":include:/n"), "/n": "x@corp.example"},
		"members": {"/l": lines(2000, ":include:/m"), "/m": lines(2000, "x@corp.example")},
		"octets":  {"/l": lines(20, ":include:/m"), "/m": strings.Repeat("#", maxFile)},
	} {
		_, _, problems := Parse("aliases", "a: :include:/l", "relay.example", reading(files))
		if len(problems) != 1 {
			t.Errorf("%s: %d problems, of which the first are %q", name, len(problems), problems[:min(len(problems), 3)])
		}
	}
}

// A file that is included is read again when it changes, comes or goes, and what
// anybody could change is not read at all.
func TestIncludedFilesAreReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		write := func(name, text string) {
			t.Helper()
			file := filepath.Join(dir, name)
			if err := errors.Join(os.WriteFile(file+".new", []byte(text), 0o644), os.Rename(file+".new", file)); err != nil {
				t.Fatal(err)
			}
		}
		write("aliases", "a: :include:one\n")
		write("one", "x@corp.example\n")
		var reportedError error
		f, err := Load(filepath.Join(dir, "aliases"), "relay.example", func(err error) { reportedError = err })
		if err != nil {
			t.Fatal(err)
		}
		expect := func(want, reported string) {
			t.Helper()
			time.Sleep(watch.Interval)
			a, _ := f.Table().Expand(path(t, "a@relay.example"))
			if got := told(a); got != want {
				t.Errorf("%q, want %q", got, want)
			}
			if text := fmt.Sprint(reportedError); !strings.Contains(text, reported) {
				t.Errorf("reported %q, want %q", text, reported)
			}
		}
		expect("x@corp.example", "<nil>")
		write("one", "y@corp.example, :include:two\n")
		expect("x@corp.example", filepath.Join(dir, "two")+`" cannot be included: stat`)
		write("two", "z@corp.example\n")
		expect("y@corp.example z@corp.example", "<nil>")
		write("two", "one two\n")
		expect("y@corp.example z@corp.example", "two:1: ")
		write("two", "v@corp.example\n")
		expect("y@corp.example v@corp.example", "<nil>")
		if err := os.Chmod(filepath.Join(dir, "one"), 0o666); err != nil {
			t.Fatal(err)
		}
		expect("y@corp.example v@corp.example", "everybody on this host can change it")
		if err := os.Chmod(filepath.Join(dir, "one"), 0o600); err != nil {
			t.Fatal(err)
		}
		expect("y@corp.example v@corp.example", "<nil>")
		write("one", "w@corp.example\n")
		expect("w@corp.example", "<nil>")
	})
}
