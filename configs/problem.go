package configs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong, or suspicious, in a configuration.
type Problem struct {
	// File is the configuration file's name, or the name of the environment
	// variable that set the key; "" when the value came from neither.
	File string
	// Row and Column are where in the file, both counted from 1, columns in
	// bytes; 0 outside a file.
	Row, Column int
	// Key is the key's path, with the index of its table from 0 where there
	// can be many: "queue.lifetime", "route[0].via". "" for a syntax error.
	Key string
	// Text says what is wrong, in one line that names the key.
	Text string
	// Suggestion is what was probably meant, or "".
	Suggestion string
}

// String is like
//
//	waypost.toml:12:3: unknown key "relay.netwoks" (did you mean "relay.networks"?)
func (p Problem) String() string {
	var text strings.Builder
	if p.File != "" {
		text.WriteString(p.File)
		if p.Row > 0 {
			fmt.Fprintf(&text, ":%d:%d", p.Row, p.Column)
		}
		text.WriteString(": ")
	}
	text.WriteString(p.Text)
	if p.Suggestion != "" {
		fmt.Fprintf(&text, " (did you mean %q?)", p.Suggestion)
	}
	return text.String()
}

// Problems is the error of a configuration that cannot be used: everything that
// is wrong with it, in the order of the file, then of the environment.
type Problems []Problem

// Error has one line for each problem.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.String()
	}
	return strings.Join(lines, "\n")
}

// InOrder sorts problems by place, and returns them: those of a file by row, then
// those of the environment by name, then the others as they came.
func InOrder(problems []Problem) []Problem {
	rank := func(p Problem) int {
		switch {
		case p.Row > 0:
			return 0
		case p.File != "":
			return 1
		default:
			return 2
		}
	}
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(rank(a), rank(b)),
			cmp.Compare(a.Row, b.Row),
			cmp.Compare(a.Column, b.Column),
			strings.Compare(a.File, b.File),
		)
	})
	return problems
}
