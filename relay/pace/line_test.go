package pace

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// Who is more urgent goes first, every tenth turn goes to a lower one, and nobody
// stands in line twice.
func TestUrgencyInLine(t *testing.T) {
	var l line
	for i := range 20 {
		if !l.add(fmt.Sprint("bulk", i), -10) || l.add(fmt.Sprint("bulk", i), -10) {
			t.Fatal("who stands in line is not known")
		}
	}
	for i := range 30 {
		l.add(fmt.Sprint("otp", i), 10)
	}
	if l.add("bulk19", 0); l.length() != 50 || !l.has("bulk19") {
		t.Errorf("%d in line", l.length())
	}
	if !l.remove("otp0") || l.remove("otp0") || l.has("otp0") {
		t.Error("it is still there")
	}
	var got []string
	for l.length() > 0 {
		got = append(got, l.next())
	}
	var want []string
	add := func(name string, from, to int) {
		for i := from; i <= to; i++ {
			want = append(want, fmt.Sprint(name, i))
		}
	}
	add("otp", 1, 9)
	add("bulk", 19, 19)
	add("bulk", 0, 0)
	add("otp", 10, 18)
	add("bulk", 1, 1)
	add("otp", 19, 27)
	add("bulk", 2, 2)
	add("otp", 28, 29)
	add("bulk", 3, 18)
	if !slices.Equal(got, want) || len(l.levels) != 0 {
		t.Errorf("in turn: %v, want %v", got, want)
	}
}

// At a site that many destinations lead to, one with urgent mail gets the next place,
// also when it stands in line already.
func TestUrgentGoesNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c := New(Options{Default: Bounds{MaxConnections: 1}}), &callers{}
		pass := admitted(t, p, "first", at("mx"))
		for i := range 100 {
			name := fmt.Sprint("d", i)
			p.mu.Lock()
			p.rehome(name, pass.site, time.Now())
			p.mu.Unlock()
			if _, ok := p.Admit(name, 0, c.again); ok {
				t.Fatal("admitted beside another")
			}
		}
		if _, ok := p.Admit("d70", 10, c.again); ok {
			t.Fatal("admitted beside another")
		}
		for _, want := range []string{"d70", "d0", "d1"} {
			pass.End()
			if called := c.called(); !slices.Equal(called, []string{want}) {
				t.Fatalf("called %v, want %s", called, want)
			}
			var ok bool
			if pass, ok = p.Admit(want, 0, c.again); !ok {
				t.Fatalf("%s was called and not admitted", want)
			}
		}
	})
}
