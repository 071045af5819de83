package configs

import (
	"reflect"
	"strings"
)

// keyPath is the path of a configuration key, or of a table, without indexes:
// "queue.lifetime", "route.via".
type keyPath = string

// schema is what Config's struct tags say: the names of all keys and of all
// tables, each in the order in which they are declared.
type schema struct {
	keys   []keyPath
	tables []keyPath
	// lists are the tables of which there can be many. Those that [isShort] tells
	// are keys as well.
	lists []keyPath
}

// newSchema reads the tags of Config, so that a key cannot exist in one place
// and be forgotten in another.
func newSchema() schema {
	var s schema
	s.add("", reflect.TypeFor[Config]())
	return s
}

func (s *schema) add(prefix keyPath, table reflect.Type) {
	for field := range table.Fields() {
		name := tag(field)
		if name == "" {
			continue
		}
		path := join(prefix, name)
		switch {
		case field.Type.Kind() == reflect.Struct:
			s.tables = append(s.tables, path)
			s.add(path, field.Type)
		case isTableList(field.Type):
			s.tables = append(s.tables, path)
			s.lists = append(s.lists, path)
			if isShort(field.Type) {
				s.keys = append(s.keys, path)
			}
			s.add(path, field.Type.Elem())
		default:
			s.keys = append(s.keys, path)
		}
	}
}

// isTableList tells a list of tables, such as [[route]], from a list of values.
func isTableList(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct
}

// isShort tells a list of tables in which a text stands for a table that has
// nothing but To.
func isShort(t reflect.Type) bool { return t == reflect.TypeFor[[]Leg]() }

// tag is a field's name in the file, or "" where it is not of the file.
func tag(field reflect.StructField) string {
	if name := field.Tag.Get("toml"); name != "-" {
		return name
	}
	return ""
}

// child is the field of a table that a name stands for.
func child(table reflect.Value, name string) (reflect.Value, bool) {
	for field, value := range table.Fields() {
		if tag(field) == name && name != "" {
			return value, true
		}
	}
	return reflect.Value{}, false
}

func join(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return prefix + "." + name
}

// nearest is the candidate that is most like a misspelt key, or "" where none
// is much like it. A key that stands in the wrong table is found by its last name.
func nearest(wrong keyPath, candidates []keyPath) string {
	last := func(path keyPath) string { return path[strings.LastIndex(path, ".")+1:] }
	best, found := max(2, len(last(wrong))/3)+1, ""
	for _, candidate := range candidates {
		d := distance(wrong, candidate)
		// One more than a misspelling: the right table comes first.
		d = min(d, distance(last(wrong), last(candidate))+1)
		if d < best {
			best, found = d, candidate
		}
	}
	return found
}

// distance is how many letters must be put in, taken out or replaced to make b
// of a (Levenshtein's distance).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
