package relay

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// allowed says which of our packages each package may import: the house's
// directions, from cmd at the top down to the leaves. A package that is not
// listed may not exist.
var allowed = map[string][]string{
	"cmd/waypost": {"cmd/waypost/internal/bench", "cmd/waypost/internal/letter", "cmd/waypost/internal/sendmail", "cmd/waypost/internal/sink", "cmd/waypost/internal/terminal",
		"configs", "metrics", "queue", "relay", "relay/alias", "relay/auth", "relay/certs", "relay/control", "relay/dialogue", "relay/dkim", "relay/drop", "relay/pseudonym", "relay/smtp"},
	"cmd/waypost/internal/bench":    {},
	"cmd/waypost/internal/letter":   {},
	"cmd/waypost/internal/sendmail": {"relay/drop", "relay/smtp"},
	"cmd/waypost/internal/sink":     {"cmd/waypost/internal/terminal", "relay/smtp"},
	"cmd/waypost/internal/terminal": {"relay/smtp"},

	"configs":          {},
	"deploy":           {},
	"metrics":          {},
	"queue":            {"metrics", "relay/smtp"},
	"relay":            {"configs", "metrics", "queue", "relay/account", "relay/alias", "relay/auth", "relay/certs", "relay/control", "relay/dialogue", "relay/dkim", "relay/drop", "relay/dsn", "relay/gateway", "relay/inbound", "relay/message", "relay/mtasts", "relay/outbound", "relay/pace", "relay/policy", "relay/recipient", "relay/reply", "relay/route", "relay/smtp", "relay/smtpclient", "relay/smtpserver", "relay/tap", "relay/tlspolicy", "resolver"},
	"relay/account":    {},
	"relay/alias":      {"relay/smtp", "relay/watch"},
	"relay/auth":       {"metrics", "relay/rate", "relay/smtp", "relay/smtpserver", "relay/watch"},
	"relay/certs":      {"relay/watch"},
	"relay/control":    {"metrics", "queue", "relay/dialogue", "relay/smtp", "relay/tap"},
	"relay/dkim":       {"metrics", "relay/message", "relay/sevenbit", "relay/smtp", "relay/watch"},
	"relay/dialogue":   {"relay/pseudonym"},
	"relay/drop":       {},
	"relay/dane":       {"resolver"},
	"relay/dsn":        {"relay/message", "relay/smtp"},
	"relay/gateway":    {},
	"relay/inbound":    {"metrics", "queue", "relay/alias", "relay/auth", "relay/dkim", "relay/message", "relay/policy", "relay/recipient", "relay/smtp", "relay/smtpserver"},
	"relay/message":    {"relay/smtp"},
	"relay/mtasts":     {"metrics", "resolver"},
	"relay/outbound":   {"metrics", "queue", "resolver", "relay/account", "relay/dialogue", "relay/message", "relay/pace", "relay/reply", "relay/route", "relay/sevenbit", "relay/smtp", "relay/smtpclient", "relay/tlspolicy"},
	"relay/pace":       {"metrics", "relay/smtp"},
	"relay/policy":     {"relay/rate", "relay/smtp"},
	"relay/pseudonym":  {},
	"relay/rate":       {},
	"relay/recipient":  {"metrics", "queue", "relay/policy", "relay/smtp", "relay/watch"},
	"relay/relaytest":  {},
	"relay/reply":      {"relay/smtp"},
	"relay/route":      {"relay/smtp"},
	"relay/sevenbit":   {},
	"relay/smtp":       {},
	"relay/smtpclient": {"relay/dialogue", "relay/smtp"},
	"relay/smtpserver": {"metrics", "relay/dialogue", "relay/smtp"},
	"relay/tap":        {},
	"relay/tlspolicy":  {"metrics", "relay/dane", "relay/mtasts", "relay/route", "resolver"},
	"relay/watch":      {},
	"resolver":         {},
	"resolver/dnstest": {},
}

// noIO are packages that must stay pure, and what they must not import.
var noIO = map[string][]string{
	"relay/sevenbit": {"net", "os", "os/exec", "net/http"},
	"relay/smtp":     {"net", "os", "io/fs", "os/exec", "net/http"},
	"relay/policy":   {"net", "os", "os/exec", "net/http"},
	"relay/reply":    {"net", "os", "os/exec", "net/http"},
	"relay/route":    {"os", "os/exec", "net/http"},
	"queue":          {"net", "github.com/emersion/go-smtp"},
}

// L-01 L-11: no shell, no SQL, no MIME file names.
func TestImports(t *testing.T) {
	root := ".."
	seen := map[string]bool{}
	err := filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, name)
		if e.IsDir() && (strings.HasPrefix(e.Name(), ".") && name != root || e.Name() == "testdata") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		pkg := path.Dir(filepath.ToSlash(rel))
		seen[pkg] = true
		list, ok := allowed[pkg]
		if !ok {
			t.Errorf("package %s has no place in the house", pkg)
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			if ours, ok := strings.CutPrefix(imported, "waypost/"); ok && !slices.Contains(list, ours) {
				t.Errorf("%s imports %s", rel, ours)
			}
			if slices.Contains(noIO[pkg], imported) {
				t.Errorf("%s imports %s, which %s must not", rel, imported, pkg)
			}
			// No shell, no other program: the daemon has no need of either.
			if imported == "os/exec" {
				t.Errorf("%s imports os/exec", rel)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range allowed {
		if !seen[pkg] {
			t.Errorf("there is no package %s", pkg)
		}
	}
}

func TestEveryPackageHasADocComment(t *testing.T) {
	for pkg := range allowed {
		files, err := filepath.Glob(filepath.Join("..", pkg, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		documented := 0
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.PackageClauseOnly)
			if err != nil {
				t.Fatal(err)
			}
			if file.Doc != nil {
				documented++
			}
		}
		if documented != 1 {
			t.Errorf("package %s has %d doc comments, want 1", pkg, documented)
		}
	}
}
