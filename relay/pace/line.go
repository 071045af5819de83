package pace

import (
	"container/list"
	"slices"
)

// line has the destinations that wait for a site, those with urgent mail before the
// others, and else the one first that came first.
type line struct {
	levels []*level // those that somebody stands in, the most urgent first
	places map[string]place
}

// level is those with mail that is as urgent.
type level struct {
	urgency int
	names   list.List
	passed  int // how often a more urgent one was called before
}

type place struct {
	level *level
	name  *list.Element
}

// maxPassed is how many turns in a row more urgent ones may have.
const maxPassed = 9

func (l *line) length() int { return len(l.places) }

func (l *line) has(name string) bool {
	_, ok := l.places[name]
	return ok
}

// add puts a destination in line, or further to the front when it has become more
// urgent. It reports whether it is new.
func (l *line) add(name string, urgency int) bool {
	before, there := l.places[name]
	if there && before.level.urgency >= urgency {
		return false
	}
	l.remove(name)
	at, ok := slices.BinarySearchFunc(l.levels, urgency, func(one *level, urgency int) int { return urgency - one.urgency })
	if !ok {
		l.levels = slices.Insert(l.levels, at, &level{urgency: urgency})
	}
	if l.places == nil {
		l.places = map[string]place{}
	}
	l.places[name] = place{l.levels[at], l.levels[at].names.PushBack(name)}
	return !there
}

// remove takes a destination out of the line, and reports whether it stood there.
func (l *line) remove(name string) bool {
	p, ok := l.places[name]
	if !ok {
		return false
	}
	delete(l.places, name)
	if p.level.names.Remove(p.name); p.level.names.Len() == 0 {
		l.levels = slices.DeleteFunc(l.levels, func(one *level) bool { return one == p.level })
	}
	return true
}

// next takes the destination out of the line whose turn it is. There must be one.
func (l *line) next() string {
	turn := l.levels[0]
	for _, one := range l.levels[1:] {
		if one.passed >= maxPassed {
			turn = one
			break
		}
	}
	for _, one := range l.levels {
		if one.urgency < turn.urgency {
			one.passed++
		}
	}
	turn.passed = 0
	name := turn.names.Front().Value.(string)
	l.remove(name)
	return name
}
