package alias

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"waypost/relay/smtp"
)

// Problem is one mistake, in the line Row of File.
type Problem struct {
	File string
	Row  int
	Text string
}

// String is the mistake with its place.
func (p Problem) String() string { return fmt.Sprintf("%s:%d: %s", p.File, p.Row, p.Text) }

// BadFile is the error of a file with mistakes.
type BadFile struct{ Problems []Problem }

// Error has each mistake on a line, with its place.
func (b *BadFile) Error() string {
	var lines []string
	for _, p := range b.Problems {
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}

// place is a line of a file.
type place struct {
	file string
	row  int
}

// parser reads a file, and those that it includes.
type parser struct {
	table    *Table
	problems []Problem
	included included
}

func (p *parser) fail(at place, format string, args ...any) {
	p.problems = append(p.problems, Problem{at.file, at.row, fmt.Sprintf(format, args...)})
}

// Parse reads the text of the file called name, and returns all that is wrong with
// it, and with the files that it includes, which read returns and which are returned
// by their names. hostname is our own name, which what has no domain is of.
func Parse(name, text, hostname string, read func(name string) (string, error)) (t *Table, files []string, problems []Problem) {
	p := &parser{table: &Table{hostname: hostname, entries: map[string]*entry{}}, included: included{read: read, texts: map[string]string{}}}
	p.aliases(name, text)
	p.loops(name)
	slices.SortStableFunc(p.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Row, b.Row))
	})
	return p.table, p.included.files, slices.Compact(p.problems) // a file may be included twice
}

// aliases takes the lines of the file.
func (p *parser) aliases(name, text string) {
	row, begin, logical := 0, 0, []byte(nil)
	for line := range strings.Lines(text) {
		row++
		line = strings.TrimRight(line, "\r\n")
		blank := strings.TrimSpace(line)
		switch {
		case blank == "" || blank[0] == '#':
		case line[0] == ' ' || line[0] == '\t':
			if begin == 0 {
				p.fail(place{name, row}, "the line begins with a blank, and there is none that it could go on with")
				continue
			}
			logical = append(append(logical, ' '), blank...)
		default:
			p.line(place{name, begin}, string(logical))
			begin, logical = row, append(logical[:0], blank...)
		}
	}
	p.line(place{name, begin}, string(logical))
}

// line takes one whole alias.
func (p *parser) line(at place, text string) {
	if at.row == 0 {
		return
	}
	name, rest, ok := cutUnquoted(text, ':')
	if !ok {
		p.fail(at, `there is no colon: an alias is "name: address, address"`)
		return
	}
	path, bare, err := p.address(strings.TrimSpace(name))
	if err != nil {
		p.fail(at, "the name %.80q is no local part and no address: %v", strings.TrimSpace(name), err)
		return
	}
	e := &entry{name: path.Local, row: at.row}
	key := strings.ToLower(path.Local)
	if !bare {
		e.name, key = path.String(), key+"@"+path.DomainKey()
	}
	if other := p.table.entries[key]; other != nil {
		p.fail(at, "%q stands in line %d already", e.name, other.row)
		return
	}
	before := len(p.problems)
	p.members(e, at, rest, nil)
	if len(e.members) == 0 && len(p.problems) == before {
		p.fail(at, "%q leads to nobody", e.name)
	}
	p.table.entries[key] = e
}

// members adds what stands in a line of addresses with commas between, in the files
// within.
func (p *parser) members(e *entry, at place, rest string, within []string) {
	for more := true; more; {
		var one string
		one, rest, more = cutUnquoted(rest, ',')
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		if name, ok := cutInclude(one); ok {
			p.include(e, at, name, within)
			continue
		}
		m, err := p.member(one)
		if err != nil {
			p.fail(at, "%v", err)
			continue
		}
		e.members = append(e.members, m)
	}
}

// member reads what an alias leads to.
func (p *parser) member(text string) (member, error) {
	plain := strings.TrimPrefix(text, `"`)
	switch {
	case strings.HasPrefix(plain, "|"):
		return member{}, fmt.Errorf("%.80q is a command, and waypost runs none: name an address whose host does", text)
	case strings.HasPrefix(plain, "/"):
		return member{}, fmt.Errorf("%.80q is a file, and waypost delivers to none; addresses in a file are :include:/path", text)
	case strings.HasPrefix(plain, ":"):
		return member{}, fmt.Errorf("%.80q is not known; there is :include:/path", text)
	}
	bare, last := strings.CutPrefix(text, `\`)
	path, _, err := p.address(bare)
	if err != nil {
		return member{}, fmt.Errorf("%.80q is no address: %w", text, err)
	}
	return member{path, last}, nil
}

// address reads an address, with angle brackets or without. One without a domain
// is of this host, and bare.
func (p *parser) address(text string) (path smtp.Path, bare bool, err error) {
	if in, ok := strings.CutPrefix(text, "<"); ok {
		text = strings.TrimSuffix(in, ">")
	}
	path, rest, err := smtp.ParsePath("<"+text+"@"+p.table.hostname+">", true)
	if err == nil && rest == "" {
		return path, true, nil
	}
	path, rest, err = smtp.ParsePath("<"+text+">", true)
	if err == nil && (rest != "" || path.IsNull()) {
		err = errors.New("there is more than one, or none")
	}
	return path, false, err
}

// cutUnquoted is strings.Cut for a separator outside of quotes.
func cutUnquoted(s string, separator byte) (before, after string, found bool) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == separator && !quoted:
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

// loops finds aliases that lead back to themselves by others. One that has itself
// among its members keeps a copy where its mail always went.
func (p *parser) loops(file string) {
	const open, done = 1, 2
	state := map[*entry]int{}
	var walk func(e *entry, path []*entry)
	walk = func(e *entry, path []*entry) {
		state[e] = open
		path = append(slices.Clip(path), e)
		for _, m := range e.members {
			next := p.table.find(m.path)
			switch {
			case m.last || next == nil || next == e:
			case state[next] == open:
				var names []string
				for _, on := range path[slices.Index(path, next):] {
					names = append(names, on.name)
				}
				p.fail(place{file, next.row}, "the alias leads back to itself: %s → %s", strings.Join(names, " → "), next.name)
			case state[next] == 0:
				walk(next, path)
			}
		}
		state[e] = done
	}
	for _, e := range p.sorted() {
		if state[e] == 0 {
			walk(e, nil)
		}
	}
}

// sorted are the entries in the order of the file.
func (p *parser) sorted() (all []*entry) {
	for _, e := range p.table.entries {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b *entry) int { return a.row - b.row })
	return all
}
