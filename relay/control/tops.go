package control

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
)

// maxTops is how many names are kept apart.
const maxTops = 10_000

// top is one name with what is counted under it.
type top[T any] struct {
	name  string
	count int64
	value T
}

// tops counts by names, of which there can be any number: when there are too
// many, the less frequent half is forgotten.
type tops[T any] struct {
	all     map[string]*top[T]
	dropped bool
}

// add counts one under a name.
func (t *tops[T]) add(name string) *top[T] {
	one := t.all[name]
	if one == nil {
		if len(t.all) >= maxTops {
			t.halve()
		}
		if t.all == nil {
			t.all = map[string]*top[T]{}
		}
		one = &top[T]{name: strings.Clone(name)}
		t.all[one.name] = one
	}
	one.count++
	return one
}

func (t *tops[T]) halve() {
	t.dropped = true
	for _, one := range t.most(len(t.all))[maxTops/2:] {
		delete(t.all, one.name)
	}
}

// most returns the names with the most, up to limit.
func (t *tops[T]) most(limit int) (all []*top[T]) {
	for _, one := range t.all {
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b *top[T]) int {
		return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(a.name, b.name))
	})
	return all[:min(len(all), limit)]
}

// maxGeneral bounds a reason, in octets.
const maxGeneral = 300

// general takes out of a reply what differs from message to message: what has
// an at sign or stands in angle brackets, long numbers, and other long words
// with digits in them, as queue IDs are. The code at its beginning stays.
func general(reply string) string {
	words := strings.Fields(reply)
	for i, word := range words {
		bare := strings.TrimFunc(word, func(r rune) bool { return r != '@' && (unicode.IsPunct(r) || r == '<' || r == '>') })
		switch {
		case bare == "" || i == 0:
		case strings.Contains(bare, "@"), strings.HasPrefix(word, "<") && strings.HasSuffix(word, ">"):
			words[i] = strings.Replace(word, bare, "…", 1)
		case strings.ContainsAny(bare, "0123456789") && !enhanced(bare) && (len(bare) > 5 || !strings.ContainsFunc(bare, unicode.IsLetter)):
			words[i] = strings.Replace(word, bare, "…", 1)
		}
	}
	text := strings.Join(words, " ")
	if len(text) > maxGeneral {
		text = strings.ToValidUTF8(text[:maxGeneral], "") + "…"
	}
	return text
}

// enhanced reports whether a word is like an enhanced status code (RFC 3463 §2).
func enhanced(word string) bool {
	parts := strings.Split(word, ".")
	return len(parts) == 3 && len(parts[0]) == 1 && len(parts[1]) <= 3 && len(parts[2]) <= 3 && strings.Trim(word, "0123456789.") == ""
}
