package configs

import "strings"

// place is where something is written: a file with row and column, or an
// environment variable's name without them.
type place struct {
	file        string
	row, column int
}

// places knows where each key of a configuration was set, by its path with
// indexes. What has a default and was not set is not there.
type places map[string]place

// find is the place of a key; for an item of a list that of the list where the
// item has none, and for a key that was not set that of its table.
func (p places) find(path string) place {
	for {
		if at, ok := p[path]; ok {
			return at
		}
		cut := strings.LastIndexAny(path, ".[")
		if cut < 0 {
			return place{}
		}
		path = path[:cut]
	}
}

// problem makes a Problem at a place.
func (at place) problem(key, text, suggestion string) Problem {
	return Problem{File: at.file, Row: at.row, Column: at.column, Key: key, Text: text, Suggestion: suggestion}
}
