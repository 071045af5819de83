package configs

import (
	"fmt"
	"reflect"
)

// assign gives a key its value, or notes why that cannot be. The key may be a list
// that texts can stand for.
func (d *draft) assign(s spot, l literal) {
	for i, item := range l.items {
		d.places[fmt.Sprintf("%s[%d]", s.path, i)] = item.place
	}
	field := s.value.Addr().Interface()
	var texts []string
	if s.isList() {
		field = &texts
	}
	err := assign(field, l, func(i int, err error) {
		d.failAt(l.list()[i].place, fmt.Sprintf("%s[%d]", s.path, i), err)
	})
	if err != nil {
		d.failAt(l.place, s.path, err)
	} else if s.isList() {
		s.value.Set(reflect.ValueOf(Legs(texts...)))
	}
}

// fail notes what is wrong with a table or a key.
func (d *draft) fail(at place, s spot, err error) { d.failAt(at, s.path, err) }

func (d *draft) failAt(at place, path string, err error) {
	d.broken[path] = true
	d.problems = append(d.problems, at.problem(path, path+": "+err.Error(), ""))
}

// unknown notes a key or table that does not exist.
func (d *draft) unknown(at place, s spot, what string, candidates []keyPath) {
	text := fmt.Sprintf("unknown %s %q", what, s.key)
	d.problems = append(d.problems, at.problem(s.path, text, nearest(s.key, candidates)))
}

// finish fills in what depends on other keys and validates the whole.
func (d *draft) finish(fs files) (*Config, error) {
	d.config.fill()
	v := validation{config: &d.config, files: fs, places: d.places, broken: d.broken}
	v.all()
	d.config.places = d.places
	d.config.Warnings = InOrder(append(d.warnings, v.warnings...))
	if problems := InOrder(append(d.problems, v.problems...)); len(problems) > 0 {
		return &d.config, Problems(problems)
	}
	return &d.config, nil
}
