package alias

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"waypost/relay/watch"
)

const (
	// maxDepth is how many files may include each other.
	maxDepth = 10
	// maxIncludes bounds how often files are included, and maxMembers what they
	// may come to.
	maxIncludes = 10_000
	maxMembers  = 1_000_000
)

// included are the files that an aliases file includes. Each is read once.
type included struct {
	read    func(name string) (string, error)
	files   []string // that were read, or should have been
	texts   map[string]string
	octets  int
	times   int
	members int
	full    bool // one of the bounds is reached, which is said once
}

// cutInclude returns the name of the file in ":include:/path", which may stand in
// quotes.
func cutInclude(text string) (name string, ok bool) {
	const include = ":include:"
	quoted := strings.HasPrefix(text, `"`)
	text = strings.TrimPrefix(text, `"`)
	if len(text) < len(include) || !strings.EqualFold(text[:len(include)], include) {
		return "", false
	}
	name = text[len(include):]
	if quoted {
		name = strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(strings.TrimSuffix(name, `"`))
	}
	return strings.TrimSpace(name), true
}

// include adds the addresses in a file: lines like what stands behind a name, and
// comments. A name that does not begin with a slash is beside the file that has it.
func (p *parser) include(e *entry, at place, name string, within []string) {
	if p.included.full {
		return
	}
	if name == "" {
		p.fail(at, ":include: names no file")
		return
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(at.file), name)
	}
	name = filepath.Clean(name)
	if first := slices.Index(within, name); first >= 0 {
		p.fail(at, "the file includes itself: %s", strings.Join(append(within[first:len(within):len(within)], name), " → "))
		return
	}
	if len(within) >= maxDepth {
		p.fail(at, "more than %d files include each other", maxDepth)
		return
	}
	text, err := p.included.text(name)
	if err != nil {
		p.fail(at, "%.200q cannot be included: %v", name, err)
		return
	}
	within = append(slices.Clip(within), name)
	before, row := len(e.members), 0
	for line := range strings.Lines(text) {
		row++
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			p.members(e, place{name, row}, line, within)
		}
	}
	p.included.members += len(e.members) - before
}

// text returns what is in a file.
func (i *included) text(name string) (string, error) {
	i.times++
	switch {
	case i.times > maxIncludes:
		i.full = true
		return "", fmt.Errorf("it is one of more than %d", maxIncludes)
	case i.members > maxMembers:
		i.full = true
		return "", fmt.Errorf("there are more than %d addresses already", maxMembers)
	}
	if text, known := i.texts[name]; known {
		return text, nil
	}
	i.files = append(i.files, name)
	text, err := i.read(name)
	if err != nil {
		return "", err
	}
	if i.octets += len(text); i.octets > maxFile {
		i.full = true
		return "", fmt.Errorf("the files that are included have more than %d octets", maxFile)
	}
	i.texts[name] = text
	return text, nil
}

// readIncluded reads a file that is included. Who can change it says where mail
// goes.
func readIncluded(name string) (string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return "", err
	}
	if info.Mode().Perm()&0o002 != 0 {
		return "", errors.New("everybody on this host can change it: take that right away (chmod o-w)")
	}
	text, err := watch.ReadFile(name, maxFile)
	return string(text), err
}
