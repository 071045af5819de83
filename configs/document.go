package configs

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// draft is a configuration while it is put together.
type draft struct {
	config Config
	schema schema
	places places
	// broken are the keys whose value could not be read. They keep their
	// default, and validation has nothing to say about them.
	broken   map[string]bool
	problems []Problem
	warnings []Problem
}

func newDraft(c Config) *draft {
	return &draft{config: c, schema: newSchema(), places: places{}, broken: map[string]bool{}}
}

// spot is a table or a key in the configuration: the value itself, its path with
// indexes, and its path without.
type spot struct {
	value reflect.Value
	path  string
	key   keyPath
}

func (d *draft) root() spot { return spot{value: reflect.ValueOf(&d.config).Elem()} }

func (s spot) isTable() bool { return s.value.Kind() == reflect.Struct }
func (s spot) isList() bool  { return isTableList(s.value.Type()) }

// into goes to a table's child.
func (s spot) into(name string) (spot, bool) {
	value, ok := child(s.value, name)
	return spot{value: value, path: join(s.path, name), key: join(s.key, name)}, ok
}

// item goes to a table of a list.
func (s spot) item(i int) spot {
	return spot{value: s.value.Index(i), path: fmt.Sprintf("%s[%d]", s.path, i), key: s.key}
}

// grow adds a table with its defaults to a list, and goes to it.
func (s spot) grow() spot {
	var table any
	switch s.value.Interface().(type) {
	case []Listener:
		table = newListener()
	case []TLS:
		table = TLS{}
	case []Login:
		table = newLogin()
	case []DKIM:
		table = newDKIM()
	case []Class:
		table = newClass()
	case []Route:
		table = newRoute()
	case []Leg:
		table = Leg{}
	case []Pace:
		table = newPace()
	case []Reply:
		table = Reply{}
	}
	s.value.Set(reflect.Append(s.value, reflect.ValueOf(table)))
	return s.item(s.value.Len() - 1)
}

// document reads one TOML file into a draft. The library's own decoder would
// stop at the first value of a wrong type and keeps no places, hence the walk
// over its syntax tree.
type document struct {
	*draft
	file   string
	parser unstable.Parser
}

// read sets all keys that a file has. It is false when the file is not TOML.
func (d *draft) read(file string, text []byte) bool {
	// The syntax tree alone would let pass what only the whole file shows, such
	// as a key that is set twice.
	var whole map[string]any
	if err := toml.Unmarshal(text, &whole); err != nil {
		d.problems = append(d.problems, syntaxProblem(file, err))
		return false
	}
	doc := &document{draft: d, file: file}
	doc.parser.Reset(text)
	table, known := d.root(), true
	for doc.parser.NextExpression() {
		switch node := doc.parser.Expression(); node.Kind {
		case unstable.KeyValue:
			if known {
				doc.keyValue(table, node)
			}
		case unstable.Table, unstable.ArrayTable:
			table, known = doc.header(node)
		}
	}
	return true
}

func syntaxProblem(file string, err error) Problem {
	at := place{file: file}
	if detail, ok := errors.AsType[*toml.DecodeError](err); ok {
		at.row, at.column = detail.Position()
	}
	return at.problem("", strings.TrimPrefix(err.Error(), "toml: "), "")
}

// header enters [table] or [[list]]; false when there is no such table.
func (doc *document) header(node *unstable.Node) (spot, bool) {
	names, at := doc.names(node.Key())
	table := doc.root()
	for i, name := range names {
		next, ok := table.into(name)
		last := i == len(names)-1
		switch {
		case !ok:
			doc.unknown(at, next, "table", doc.schema.tables)
			return spot{}, false
		case next.isTable() && !(last && node.Kind == unstable.ArrayTable):
			table = next
		case next.isList() && last && node.Kind == unstable.ArrayTable:
			table = next.grow()
		case next.isList() && !last && next.value.Len() > 0:
			// In TOML [list.name] is of the list's last table.
			table = next.item(next.value.Len() - 1)
			continue
		default:
			doc.fail(at, next, errors.New(shape(next)))
			return spot{}, false
		}
		doc.places[table.path] = at
	}
	return table, true
}

// shape says how a key is written, for one that was written as something else.
func shape(s spot) string {
	switch {
	case s.isTable():
		return fmt.Sprintf("is one table: write [%s]", s.key)
	case s.isList():
		return fmt.Sprintf("is a list of tables: write [[%s]]", s.key)
	default:
		return "is a key and not a table"
	}
}

// keyValue sets what "key = value" says, where the key may have dots and the
// value may be a table or a list of tables.
func (doc *document) keyValue(table spot, node *unstable.Node) {
	names, at := doc.names(node.Key())
	for i, name := range names {
		if !table.isTable() {
			doc.fail(at, table, errors.New(shape(table)))
			return
		}
		next, ok := table.into(name)
		if !ok {
			doc.unknown(at, next, "key", slices.Concat(doc.schema.keys, doc.schema.tables))
			return
		}
		table = next
		if i < len(names)-1 {
			continue
		}
		doc.places[table.path] = at
		doc.set(table, node.Value(), at)
	}
}

// set gives a table or a key its value.
func (doc *document) set(s spot, node *unstable.Node, at place) {
	switch {
	case s.isTable() && node.Kind == unstable.InlineTable:
		doc.inline(s, node)
	case isShort(s.value.Type()) && node.Kind == unstable.Array:
		doc.short(s, node, at)
	case isShort(s.value.Type()):
		doc.assign(s, doc.literal(node, at))
	case s.isList() && node.Kind == unstable.Array:
		items := node.Children()
		for items.Next() {
			if items.Node().Kind != unstable.InlineTable {
				doc.fail(at, s, errors.New(shape(s)))
				return
			}
			item := s.grow()
			doc.places[item.path] = at
			doc.inline(item, items.Node())
		}
	case s.isTable() || s.isList():
		doc.fail(at, s, errors.New(shape(s)))
	default:
		doc.assign(s, doc.literal(node, at))
	}
}

// short sets a list of tables in which a text may stand for a table.
func (doc *document) short(s spot, node *unstable.Node, at place) {
	items := node.Children()
	for items.Next() {
		item, child := s.grow(), items.Node()
		if child.Kind == unstable.InlineTable {
			doc.places[item.path] = doc.beginning(child, at)
			doc.inline(item, child)
			continue
		}
		text := doc.literal(child, at)
		doc.places[item.path] = text.place
		to, _ := item.into("to")
		if err := assignScalar(to.value.Addr().Interface(), text); err != nil {
			doc.fail(text.place, item, err)
		}
	}
}

// beginning is where the first key of a table stands; at is the place of one that
// has none.
func (doc *document) beginning(table *unstable.Node, at place) place {
	if pairs := table.Children(); pairs.Next() {
		_, at = doc.names(pairs.Node().Key())
	}
	return at
}

func (doc *document) inline(s spot, node *unstable.Node) {
	pairs := node.Children()
	for pairs.Next() {
		doc.keyValue(s, pairs.Node())
	}
}

// literal turns a node into a literal, at its own place where it has one.
func (doc *document) literal(node *unstable.Node, at place) literal {
	if node.Raw.Length > 0 {
		at = doc.place(node.Raw)
	}
	l := literal{text: string(node.Data), place: at}
	switch node.Kind {
	case unstable.String:
		l.kind = kindText
	case unstable.Integer:
		l.kind = kindInteger
	case unstable.Float:
		l.kind = kindFloat
	case unstable.Bool:
		l.kind = kindBoolean
	case unstable.InlineTable:
		l.kind = kindTable
	case unstable.Array:
		l.kind = kindList
		items := node.Children()
		for items.Next() {
			l.items = append(l.items, doc.literal(items.Node(), at))
		}
	default:
		l.kind = kindTime
	}
	return l
}

// names is a key's parts, and where it begins.
func (doc *document) names(key unstable.Iterator) (names []string, at place) {
	for key.Next() {
		if len(names) == 0 {
			at = doc.place(key.Node().Raw)
		}
		names = append(names, string(key.Node().Data))
	}
	return names, at
}

func (doc *document) place(r unstable.Range) place {
	start := doc.parser.Shape(r).Start
	return place{file: doc.file, row: start.Line, column: start.Column}
}
