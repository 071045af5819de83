package configs

import (
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
// index stands after the table's name: WAYPOST_ROUTE_0_VIA.
func (s schema) variable(key keyPath, index int) string {
	name := key
	for _, list := range s.lists {
		if rest, ok := strings.CutPrefix(key, list+"."); ok {
			name = fmt.Sprintf("%s.%d.%s", list, index, rest)
		}
	}
	return prefix + strings.ToUpper(strings.ReplaceAll(name, ".", "_"))
}

// setting is one variable that sets a key.
type setting struct {
	name, value string
	key         keyPath
	index       int
}

// readEnvironment sets all keys that variables name. Variables are taken in the
// order of the tables that they index, so that a list grows from its beginning.
func (d *draft) readEnvironment(env environment) {
	var settings []setting
	for name, value := range env {
		if !strings.HasPrefix(name, prefix) || name == fileVariable {
			continue
		}
		key, index, ok := d.schema.lookUp(name)
		switch {
		case ok:
			settings = append(settings, setting{name, value, key, index})
		case !isServiceVariable(name, value):
			d.warnings = append(d.warnings, d.unknownVariable(name))
		}
	}
	slices.SortFunc(settings, func(a, b setting) int {
		if a.index != b.index {
			return a.index - b.index
		}
		return strings.Compare(a.name, b.name)
	})
	for _, s := range settings {
		d.apply(s)
	}
}

// lookUp finds the key that a variable sets.
func (s schema) lookUp(name string) (key keyPath, index int, ok bool) {
	if m := regexp.MustCompile(`^WAYPOST_[A-Z]+_(0|[1-9][0-9]{0,3})_`).FindStringSubmatch(name); m != nil {
		index, _ = strconv.Atoi(m[1]) // at most four digits
	}
	for _, key := range s.keys {
		if s.variable(key, index) == name {
			return key, index, true
		}
	}
	return "", 0, false
}

// apply sets one key, in a new table where the index is the next of its list.
func (d *draft) apply(s setting) {
	at := place{file: s.name}
	here := d.root()
	for name := range strings.SplitSeq(s.key, ".") {
		here, _ = here.into(name) // the key is of the schema
		if !here.isList() {
			continue
		}
		switch n := here.value.Len(); {
		case s.index < n:
			here = here.item(s.index)
		case s.index == n:
			here = here.grow()
			d.places[here.path] = at
		default:
			d.failAt(at, index(here.path, s.index), fmt.Errorf("there is no number %d before it; they are counted from 0", n))
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
	_, index, _ := d.schema.lookUp(name)
	if m := regexp.MustCompile(`_([0-9]{1,4})_`).FindStringSubmatch(name); m != nil {
		index, _ = strconv.Atoi(m[1]) // at most four digits
	}
	for _, key := range d.schema.keys {
		known = append(known, d.schema.variable(key, index))
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
