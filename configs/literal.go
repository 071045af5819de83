package configs

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// kind is what a value looks like where it is written.
type kind int

const (
	kindText    kind = iota + 1 // a string in a file
	kindInteger                 // 12
	kindFloat                   // 0.5
	kindBoolean                 // true
	kindTime                    // a date, a time, or both
	kindList                    // [ … ]
	kindTable                   // { … }
	kindBare                    // a value in the environment, which can be any of the above
)

// String is the kind's name with its article.
func (k kind) String() string {
	return map[kind]string{
		kindText: "text", kindInteger: "a whole number", kindFloat: "a number with a fraction", kindBoolean: "a boolean",
		kindTime: "a date or time", kindList: "a list", kindTable: "a table", kindBare: "text",
	}[k]
}

// literal is a value as it is written in a file or in the environment.
type literal struct {
	kind  kind
	text  string    // of a scalar; a string's without its quotes
	items []literal // of a list
	place place
}

// is tells whether the literal can be read as one of the kinds.
func (l literal) is(kinds ...kind) bool {
	for _, k := range kinds {
		if l.kind == k {
			return true
		}
	}
	return l.kind == kindBare
}

// wants is the error of a literal of the wrong kind.
func (l literal) wants(what string) error {
	return fmt.Errorf("must be %s, not %s", what, l.kind)
}

// list is the literal's items. In the environment they are separated by commas.
func (l literal) list() []literal {
	if l.kind != kindBare {
		return l.items
	}
	if strings.TrimSpace(l.text) == "" {
		return nil
	}
	var items []literal
	for text := range strings.SplitSeq(l.text, ",") {
		items = append(items, literal{kind: kindBare, text: strings.TrimSpace(text), place: l.place})
	}
	return items
}

// assign sets a field of Config, given by its address, to a literal. In a list it
// tells fail of each wrong item and leaves that one zero, so that the others
// keep their index.
func assign(field any, l literal, fail func(item int, err error)) error {
	switch field := field.(type) {
	case *[]string:
		return assignList(field, l, `["a", "b"]`, fail)
	case *[]Duration:
		return assignList(field, l, `["30m", "1h"]`, fail)
	default:
		return assignScalar(field, l)
	}
}

func assignList[T any](list *[]T, l literal, example string, fail func(int, error)) error {
	if !l.is(kindList) {
		return l.wants("a list such as " + example)
	}
	*list = nil
	for i, item := range l.list() {
		var value T
		if err := assignScalar(&value, item); err != nil {
			fail(i, err)
		}
		*list = append(*list, value)
	}
	return nil
}

func assignScalar(field any, l literal) (err error) {
	switch field := field.(type) {
	case *string:
		if !l.is(kindText) {
			return l.wants("text in quotes")
		}
		*field = l.text
	case *int:
		if !l.is(kindInteger) {
			return l.wants("a whole number")
		}
		*field, err = parseInt(l.text)
	case *bool:
		if !l.is(kindBoolean) {
			return l.wants("true or false")
		}
		*field, err = parseBool(l.text)
	case *float64:
		if !l.is(kindFloat, kindInteger) {
			return l.wants("a number")
		}
		*field, err = parseFloat(l.text)
	case *Duration:
		if !l.is(kindText) {
			return l.wants(`a duration in quotes, such as "5d"`)
		}
		*field, err = ParseDuration(l.text)
	case *Size:
		if !l.is(kindText, kindInteger) {
			return l.wants(`a size, such as "50MB"`)
		}
		*field, err = ParseSize(l.text)
	default:
		// Only a change to Config that forgets this switch can come here.
		return fmt.Errorf("has the type %T, which a configuration cannot set", field)
	}
	return err
}

// parseInt reads TOML's whole numbers, which may have underscores and a base.
func parseInt(text string) (int, error) {
	n, err := strconv.ParseInt(text, 0, strconv.IntSize)
	if errors.Is(err, strconv.ErrRange) {
		return 0, fmt.Errorf("%s is too large", text)
	}
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number", text)
	}
	return int(n), nil
}

func parseBool(text string) (bool, error) {
	if text != "true" && text != "false" {
		return false, fmt.Errorf("%q is neither true nor false", text)
	}
	return text == "true", nil
}

func parseFloat(text string) (float64, error) {
	f, err := strconv.ParseFloat(strings.ReplaceAll(text, "_", ""), 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number", text)
	}
	return f, nil
}
