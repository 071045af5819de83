package configs

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// prefix begins the name of every variable that is ours; fileVariable names the
// configuration file.
const (
	prefix       = "WAYPOST_"
	fileVariable = "WAYPOST_CONFIG"
)

// environment is the variables of a process by name.
type environment map[string]string

// newEnvironment reads "NAME=value" lines; of a name that stands twice the last counts.
func newEnvironment(lines []string) environment {
	env := environment{}
	for _, line := range lines {
		if name, value, ok := strings.Cut(line, "="); ok {
			env[name] = value
		}
	}
	return env
}

// variable is the name of the variable that sets a key. In a list of tables the
// index stands after the table's name: WAYPOST_ROUTE_0_VIA. An index that is not
// given is 0.
func (s schema) variable(key keyPath, indexes ...int) string {
	name, path := strings.TrimSuffix(prefix, "_"), ""
	for part := range strings.SplitSeq(key, ".") {
		path = join(path, part)
		name += "_" + strings.ToUpper(part)
		if path == key || !slices.Contains(s.lists, path) {
			continue
		}
		at := 0
		if len(indexes) > 0 {
			at, indexes = indexes[0], indexes[1:]
		}
		name += "_" + strconv.Itoa(at)
	}
	return name
}

// setting is one variable that sets a key.
type setting struct {
	name, value string
	key         keyPath
	indexes     []int // of the tables that it is in
}

// readEnvironment sets all keys that variables name. Variables are taken in the
// order of the tables that they index, so that a list grows from its beginning.
func (d *draft) readEnvironment(env environment) {
	var settings []setting
	for name, value := range env {
		if !strings.HasPrefix(name, prefix) || name == fileVariable {
			continue
		}
		key, indexes, ok := d.schema.lookUp(name)
		switch {
		case ok:
			settings = append(settings, setting{name, value, key, indexes})
		case !isServiceVariable(name, value):
			d.warnings = append(d.warnings, d.unknownVariable(name))
		}
	}
	slices.SortFunc(settings, func(a, b setting) int {
		return cmp.Or(slices.Compare(a.indexes, b.indexes), strings.Compare(a.name, b.name))
	})
	for _, s := range settings {
		d.apply(s)
	}
}

// lookUp finds the key that a variable sets.
func (s schema) lookUp(name string) (key keyPath, indexes []int, ok bool) {
	indexes = numbers(name)
	for _, key := range s.keys {
		if s.variable(key, indexes...) == name {
			return key, indexes, true
		}
	}
	return "", nil, false
}

// numbers are those of up to four digits in a variable's name. No key has one.
func numbers(name string) (all []int) {
	for part := range strings.SplitSeq(name, "_") {
		if n, err := strconv.Atoi(part); err == nil && len(part) <= 4 && strconv.Itoa(n) == part {
			all = append(all, n)
		}
	}
	return all
}

// apply sets one key, in a new table where the index is the next of its list.
func (d *draft) apply(s setting) {
	at := place{file: s.name}
	here, indexes := d.root(), s.indexes
	for name := range strings.SplitSeq(s.key, ".") {
		here, _ = here.into(name) // the key is of the schema
		if !here.isList() || here.key == s.key {
			continue
		}
		i := indexes[0]
		indexes = indexes[1:]
		switch n := here.value.Len(); {
		case i < n:
			here = here.item(i)
		case i == n:
			here = here.grow()
			d.places[here.path] = at
		default:
			d.failAt(at, index(here.path, i), fmt.Errorf("there is no number %d before it; they are counted from 0", n))
			return
		}
	}
	// What the file said of this key, its items included, no longer counts.
	for path := range d.places {
		if strings.HasPrefix(path, here.path+"[") {
			delete(d.places, path)
		}
	}
	delete(d.broken, here.path)
	d.places[here.path] = at
	d.assign(here, literal{kind: kindBare, text: s.value, place: at})
}

// unknownVariable is only a warning: other programs, and the platforms that
// start us, name variables as they like.
func (d *draft) unknownVariable(name string) Problem {
	var known []string
	indexes := numbers(name)
	for _, key := range d.schema.keys {
		known = append(known, d.schema.variable(key, indexes...))
	}
	return place{file: name}.problem("", "unknown environment variable", nearest(name, known))
}

// isServiceVariable tells the variables that Kubernetes and Docker set for a
// service or a linked container called waypost, which nobody wrote.
func isServiceVariable(name, value string) bool {
	if strings.HasSuffix(name, "_SERVICE_HOST") || regexp.MustCompile(`_SERVICE_PORT(_[A-Z0-9_]+)?$`).MatchString(name) {
		return true
	}
	if regexp.MustCompile(`_PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$`).MatchString(name) {
		return true
	}
	if strings.HasSuffix(name, "_PORT") {
		return regexp.MustCompile(`^(tcp|udp|sctp)://`).MatchString(value)
	}
	return strings.HasPrefix(name, "WAYPOST_ENV_") || name == "WAYPOST_NAME" && strings.HasPrefix(value, "/")
}
