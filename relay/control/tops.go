package control

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"unicode"
)

// top is one name with what is counted under it.
type top[T any] struct {
	name  string
	count int64
	value T
}

// tops counts by names, of which there can be any number: when there are too
// many, the less frequent half is forgotten.
type tops[T any] struct {
	most    int // names that are kept apart
	all     map[string]*top[T]
	dropped bool
}

// add counts one under a name.
func (t *tops[T]) add(name []byte) *top[T] {
	one := t.all[string(name)]
	if one == nil {
		if len(t.all) >= t.most {
			t.halve()
		}
		if t.all == nil {
			t.all = map[string]*top[T]{}
		}
		one = &top[T]{name: string(name)}
		t.all[one.name] = one
	}
	one.count++
	return one
}

// halve forgets the less frequent half.
func (t *tops[T]) halve() {
	t.dropped = true
	counts := make([]int64, 0, len(t.all))
	for _, one := range t.all {
		counts = append(counts, one.count)
	}
	slices.Sort(counts)
	half := len(counts) / 2
	median := counts[half]
	below, _ := slices.BinarySearch(counts, median)
	for name, one := range t.all {
		switch {
		case one.count == median && below < half:
			below++
			fallthrough
		case one.count < median:
			delete(t.all, name)
		}
	}
}

// first returns the names with the most, up to limit.
func (t *tops[T]) first(limit int) (all []*top[T]) {
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

// appendGeneral appends a reply without what differs from message to message: what
// has an at sign or stands in angle brackets, long numbers, and other long words
// with digits in them, as queue IDs are. The code at its beginning stays.
func appendGeneral(b []byte, reply string) []byte {
	from, first := len(b), true
	for word := range strings.FieldsSeq(reply) {
		if first {
			b, first = append(b, word...), false
			continue
		}
		b = append(b, ' ')
		if start, end := special(word); start < end {
			b = append(b, word[:start]...)
			b = append(b, "…"...)
			b = append(b, word[end:]...)
		} else {
			b = append(b, word...)
		}
	}
	if len(b)-from > maxGeneral {
		b = append(bytes.ToValidUTF8(b[:from+maxGeneral], nil), "…"...)
	}
	return b
}

// special finds what in a word may be of one message alone: what is left of it
// without punctuation around. Where nothing is, start is end.
func special(word string) (start, end int) {
	at, bracket, digit := false, false, false
	for i := range len(word) {
		c := word[i]
		at, bracket, digit = at || c == '@', bracket || c == '<', digit || isDigit(c)
	}
	if !at && !bracket && !digit { // as most words
		return 0, 0
	}
	around := func(r rune) bool { return r != '@' && (unicode.IsPunct(r) || r == '<' || r == '>') }
	left := strings.TrimLeftFunc(word, around)
	bare := strings.TrimRightFunc(left, around)
	if at || bracket && strings.HasPrefix(word, "<") && strings.HasSuffix(word, ">") ||
		digit && !enhanced(bare) && (len(bare) > 5 || !strings.ContainsFunc(bare, unicode.IsLetter)) {
		start = len(word) - len(left)
		return start, start + len(bare)
	}
	return 0, 0
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// enhanced reports whether a word is like an enhanced status code (RFC 3463 §2).
func enhanced(word string) bool {
	class, rest, _ := strings.Cut(word, ".")
	subject, detail, ok := strings.Cut(rest, ".")
	return ok && len(class) == 1 && len(subject) <= 3 && len(detail) <= 3 && strings.Trim(subject+detail, "0123456789") == "" && isDigit(class[0])
}
