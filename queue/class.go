package queue

import (
	"cmp"
	"log/slog"
	"slices"
	"sync"
)

// DefaultClass is the class of messages that have none, by its name in logs
// and metrics. A Class of that name says what else holds for them.
const DefaultClass = "default"

// Class is a kind of message that the schedule treats in its own way.
type Class struct {
	// Name is what Envelope.Class says.
	Name string
	// Rank says who goes first at a destination where both wait: the class
	// with the higher one. 0 is that of the default class.
	Rank int
	// Share is the part of the workers that is the class's own when it has
	// something due, from 0 to 1; what it leaves, others use. Classes with 0
	// have equal parts of what is left.
	Share float64
	// Retry says when attempts are made and given up.
	Retry RetryPolicy
}

// class is a Class in the schedule.
type class struct {
	Class
	index  int     // among all classes, by rank
	weight float64 // its share, never 0
}

// classes are those of the configuration. It is safe for concurrent use.
type classes struct {
	all     []*class // by rank, the highest first
	byName  map[string]*class
	log     *slog.Logger
	mu      sync.Mutex
	unknown map[string]bool // names that were logged
}

// newClasses makes the classes of a configuration, with the default one.
func newClasses(list []Class, retry RetryPolicy, log *slog.Logger) *classes {
	list = slices.Clone(list)
	if !slices.ContainsFunc(list, func(c Class) bool { return c.Name == DefaultClass }) {
		list = append(list, Class{Name: DefaultClass, Retry: retry})
	}
	slices.SortStableFunc(list, func(a, b Class) int { return cmp.Compare(b.Rank, a.Rank) })
	c := &classes{byName: map[string]*class{}, log: log, unknown: map[string]bool{}}
	left, without := 1.0, 0
	for i := range list {
		list[i].Retry.setDefaults()
		one := &class{Class: list[i], index: i, weight: list[i].Share}
		c.all = append(c.all, one)
		c.byName[one.Name] = one
		left -= one.Share
		if one.Share == 0 {
			without++
		}
	}
	for _, one := range c.all {
		if one.weight == 0 {
			// A class never has nothing, even if the others were promised all.
			one.weight = max(left, minShare) / float64(without)
		}
	}
	c.byName[""] = c.byName[DefaultClass]
	return c
}

// minShare is what classes without a share have together at the least.
const minShare = 0.05

// maxUnknown bounds the names that are remembered as logged.
const maxUnknown = 1000

// of returns the class of that name. One that is not in the configuration any
// more is the default one; that is logged once.
func (c *classes) of(name string) *class {
	if known := c.byName[name]; known != nil {
		return known
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.unknown[name] && len(c.unknown) < maxUnknown {
		c.unknown[name] = true
		c.log.Warn("unknown message class, its mail is treated as that of the default one", "class", name)
	}
	return c.byName[DefaultClass]
}
