package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// jsonDocument is JSON.md, read by somebody who knows nothing else.
type jsonDocument struct {
	commands map[string][]string          // the types that a command prints
	fields   map[string]map[string]string // by type and name, what each is
	within   map[string][]string          // the types whose fields a type has as well
}

var (
	jsonSection = regexp.MustCompile(`^## (\w+)$`)
	jsonWithin  = regexp.MustCompile(`^It has the fields of \[(\w+)\]`)
	jsonCommand = regexp.MustCompile("^\\| `(waypost[^`]*)` \\| (.*) \\|$")
	jsonField   = regexp.MustCompile("^\\| `(\\w+)` \\| ([^|]+) \\|")
	jsonLink    = regexp.MustCompile(`\[(\w+)\]\(#\w+\)`)
)

func readJSONDocument(text string) *jsonDocument {
	d := &jsonDocument{map[string][]string{}, map[string]map[string]string{}, map[string][]string{}}
	var section string
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if m := jsonSection.FindStringSubmatch(line); m != nil {
			section = m[1]
			d.fields[section] = map[string]string{}
		} else if m := jsonWithin.FindStringSubmatch(line); m != nil {
			d.within[section] = append(d.within[section], m[1])
		} else if m := jsonCommand.FindStringSubmatch(line); m != nil {
			for _, link := range jsonLink.FindAllStringSubmatch(m[2], -1) {
				d.commands[m[1]] = append(d.commands[m[1]], link[1])
			}
		} else if m := jsonField.FindStringSubmatch(line); m != nil {
			d.fields[section][m[1]] = jsonLink.ReplaceAllString(m[2], "$1")
		}
	}
	return d
}

// field is what a field of a type is; "" when there is none of that name.
func (d *jsonDocument) field(kind, name string) string {
	if is := d.fields[kind][name]; is != "" {
		return is
	}
	for _, other := range d.within[kind] {
		if is := d.field(other, name); is != "" {
			return is
		}
	}
	return ""
}

// check compares a value with what it is said to be.
func (d *jsonDocument) check(where, is string, value any) error {
	wrong := fmt.Errorf("%s is %v, and should be: %s", where, value, is)
	if rest, ok := strings.CutPrefix(is, "array of "); ok {
		list, ok := value.([]any)
		if !ok {
			return wrong
		}
		for i, v := range list {
			if err := d.check(fmt.Sprintf("%s[%d]", where, i), rest, v); err != nil {
				return err
			}
		}
		return nil
	}
	object, isObject := value.(map[string]any)
	text, isText := value.(string)
	_, isNumber := value.(float64)
	_, isBool := value.(bool)
	_, badTime := time.Parse(time.RFC3339Nano, text)
	fits, simple := map[string]bool{
		"string": isText, "number": isNumber, "true or false": isBool, "object": isObject, "object of number": isObject,
		"time": isText && badTime == nil && strings.HasSuffix(text, "Z"),
	}[is]
	switch {
	case simple && fits:
		return nil
	case simple || !isObject:
		return wrong
	}
	for name, v := range object {
		kind := d.field(is, name)
		if kind == "" {
			return fmt.Errorf("%s: %s has no field %q", where, is, name)
		}
		if err := d.check(where+"."+name, kind, v); err != nil {
			return err
		}
	}
	return nil
}

// documented has a file hold JSON, and nothing else, as JSON.md says that a
// command prints it.
func documented(t *testing.T) func(*testscript.TestScript, bool, []string) {
	text, err := os.ReadFile("JSON.md")
	if err != nil {
		t.Fatal(err)
	}
	d := readJSONDocument(string(text))
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 2 || d.commands[args[0]] == nil {
			ts.Fatalf("usage: documented COMMAND FILE, with a command that JSON.md has")
		}
		values := json.NewDecoder(strings.NewReader(ts.ReadFile(args[1])))
		for n := 0; ; n++ {
			var value any
			err := values.Decode(&value)
			if errors.Is(err, io.EOF) && n > 0 {
				return
			}
			ts.Check(err)
			list, ok := value.([]any)
			if !ok {
				list = []any{value}
			}
			for _, v := range list {
				var all []error
				for _, kind := range d.commands[args[0]] {
					all = append(all, d.check(kind, kind, v))
				}
				if !containsNil(all) {
					ts.Fatalf("%v", errors.Join(all...))
				}
			}
		}
	}
}

func containsNil(all []error) bool {
	for _, err := range all {
		if err == nil {
			return true
		}
	}
	return false
}
