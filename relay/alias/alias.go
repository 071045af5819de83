// Package alias says to whom mail for a name goes: an aliases file as sendmail and
// Postfix have it.
//
// A line is "name: address, address"; lines that begin with a blank go on with
// the one before, and those that begin with # are comments. A name without a domain
// is one of this host; an address without one, too. What an alias leads to is
// looked for in the file again, unless it is the alias itself or has a backslash in
// front. Where there is also an alias "owner-name", name is a mailing list, and
// reports on its mail are the owner's. ":include:/path" stands for the addresses in
// another file.
//
// Everything is checked when the files are read: loops, names that stand twice, and
// what only a host with mailboxes can do (commands, files). What is not in order is
// left out as a whole, and what was read before stays. It delivers nothing.
package alias

import (
	"slices"
	"strings"

	"waypost/relay/smtp"
	"waypost/relay/watch"
)

// maxFile is the greatest size of an aliases file, in octets.
const maxFile = 16 << 20

// Table is what a file says. It does not change.
type Table struct {
	hostname string
	entries  map[string]*entry // by name: "local", or "local@domain" with the domain's key
}

// entry is one alias.
type entry struct {
	name    string
	row     int
	members []member
}

// member is one address that an alias leads to.
type member struct {
	path smtp.Path
	// last says that it is not looked for again.
	last bool
}

// Member is one recipient that an alias stands for.
type Member struct {
	Path smtp.Path
	// Owner is whose the reports are, where the recipient is one of a mailing list
	// that has an owner; else it is null, and they are the sender's.
	Owner smtp.Path
}

// Alias is what a file says of one address.
type Alias struct {
	// Name is the alias as it stands in the file, and Row its line there.
	Name string
	Row  int
	// Members are all recipients behind it, each once. At least one.
	Members []Member
}

// File is an aliases file, which is read again when it changes. The nil File has
// no aliases.
type File struct {
	Name  string
	table *watch.Value[*Table]
}

// Load reads a file and those that it includes. hostname is our own name. report is as for [watch.New].
func Load(name, hostname string, report func(error)) (*File, error) {
	v, err := watch.NewSet(func() (*Table, []string, error) {
		text, err := watch.ReadFile(name, maxFile)
		if err != nil {
			return nil, []string{name}, err
		}
		t, files, problems := Parse(name, string(text), hostname, readIncluded)
		files = append([]string{name}, files...)
		if len(problems) > 0 {
			return nil, files, &BadFile{problems}
		}
		return t, files, nil
	}, report, name)
	if err != nil {
		return nil, err
	}
	return &File{name, v}, nil
}

// Table returns what the file says now.
func (f *File) Table() *Table {
	if f == nil {
		return &Table{}
	}
	return f.table.Get()
}

// Len returns the number of aliases.
func (t *Table) Len() int { return len(t.entries) }

// Has reports whether there is an alias for a name of this host.
func (t *Table) Has(name string) bool { return t.entries[strings.ToLower(name)] != nil }

// IsLocal reports whether an address is one of this host, whose names are all in
// the file.
func (t *Table) IsLocal(p smtp.Path) bool {
	key := p.DomainKey()
	return key == "" || key == "localhost" || key == strings.ToLower(t.hostname)
}

// Expand returns the alias for an address, if there is one.
func (t *Table) Expand(p smtp.Path) (Alias, bool) {
	e := t.find(p)
	if e == nil {
		return Alias{}, false
	}
	x := expansion{table: t, seen: map[smtp.Path]bool{}}
	x.add(e, smtp.Path{}, nil)
	return Alias{e.name, e.row, x.members}, true
}

// find returns the entry for an address: one of its own before one for the name.
// Case has no weight (RFC 5321 §2.4 lets the host that owns the name say so).
func (t *Table) find(p smtp.Path) *entry {
	local := strings.ToLower(p.Local)
	if e := t.entries[local+"@"+p.DomainKey()]; e != nil {
		return e
	}
	if !t.IsLocal(p) {
		return nil
	}
	if e := t.entries[local]; e != nil {
		return e
	}
	if local == "postmaster" {
		return t.entries["root"] // RFC 5321 §4.5.1: somebody must read it
	}
	return nil
}

// expansion gathers the members of one alias.
type expansion struct {
	table   *Table
	members []Member
	seen    map[smtp.Path]bool
}

// add adds the members of an entry. within are the entries that led here, which
// Parse has made sure are no loop.
func (x *expansion) add(e *entry, owner smtp.Path, within []*entry) {
	if o := x.table.owner(e); !o.IsNull() {
		owner = o
	}
	within = append(slices.Clip(within), e)
	for _, m := range e.members {
		next := x.table.find(m.path)
		if m.last || next == nil || slices.Contains(within, next) {
			key := smtp.Path{Local: m.path.Local, Domain: m.path.DomainKey()}
			if !x.seen[key] {
				x.seen[key] = true
				x.members = append(x.members, Member{m.path, owner})
			}
			continue
		}
		x.add(next, owner, within)
	}
}

// owner returns the address of the owner of a list; null where there is none.
func (t *Table) owner(e *entry) smtp.Path {
	local, domain, _ := strings.Cut(e.name, "@")
	if cut := strings.LastIndexByte(e.name, '@'); cut >= 0 {
		local, domain = e.name[:cut], e.name[cut+1:]
	}
	if strings.HasPrefix(strings.ToLower(local), "owner-") {
		return smtp.Path{}
	}
	p := smtp.Path{Local: "owner-" + local, Domain: domain}
	if domain == "" {
		p.Domain = t.hostname
	}
	if t.find(p) == nil {
		return smtp.Path{}
	}
	return p
}
