package recipient

import (
	"errors"
	"fmt"
	"strings"

	"waypost/relay/smtp"
	"waypost/relay/watch"
)

// maxFile is the greatest size of a recipients file, in octets.
const maxFile = 256 << 20

// List is a set of recipients. It does not change; see [Load].
type List struct {
	addresses map[string]struct{}
	domains   map[string]struct{}
}

// Load returns the recipients of a file, which is read again when it changes.
// report is as for [watch.New].
func Load(name string, report func(error)) (*watch.Value[*List], error) {
	return watch.New(func() (*List, error) {
		text, err := watch.ReadFile(name, maxFile)
		if err != nil {
			return nil, fmt.Errorf("read the recipients: %w", err)
		}
		list, err := Parse(text)
		if err != nil {
			return nil, fmt.Errorf("read the recipients: %s:%w", name, err)
		}
		return list, nil
	}, report, name)
}

// Parse reads a recipients file: an address a line, or "@example.org" for every
// recipient of a domain. Empty lines and lines that begin with # count for
// nothing. An error begins with the row that is wrong.
func Parse(text []byte) (*List, error) {
	l := &List{addresses: map[string]struct{}{}, domains: map[string]struct{}{}}
	row := 0
	for line := range strings.Lines(string(text)) {
		row++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := l.add(line); err != nil {
			return nil, fmt.Errorf("%d: %.80q: %w", row, line, err)
		}
	}
	return l, nil
}

var errLine = errors.New("a line is an address or @domain")

func (l *List) add(line string) error {
	if domain, ok := strings.CutPrefix(line, "@"); ok {
		p, err := smtp.SplitPath("x@"+domain, true)
		if err != nil {
			return errLine
		}
		l.domains[p.DomainKey()] = struct{}{}
		return nil
	}
	p, rest, err := smtp.ParsePath("<"+line+">", true)
	if err != nil || rest != "" || p.Domain == "" || p.IsNull() {
		return errLine
	}
	l.addresses[key(p)] = struct{}{}
	return nil
}

// key is an address as it is looked up. Case has no weight, see
// policy.Match.
func key(p smtp.Path) string { return strings.ToLower(p.Local) + "@" + p.DomainKey() }

// Has reports whether a recipient is in the list.
func (l *List) Has(p smtp.Path) bool {
	if _, ok := l.addresses[key(p)]; ok {
		return true
	}
	_, ok := l.domains[p.DomainKey()]
	return ok
}

// Len returns the number of addresses and domains.
func (l *List) Len() int { return len(l.addresses) + len(l.domains) }
