package rate

import (
	"strconv"
	"testing"
	"time"
)

func TestWindowSlides(t *testing.T) {
	table := NewTable(time.Minute, 10)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range int64(10) {
		if got := table.Add("a", 1, now); got != i+1 {
			t.Fatalf("count %d, want %d", got, i+1)
		}
	}
	if table.Add("b", 10, now) != 10 || table.Count("c", now) != 0 {
		t.Error("keys are not counted each for itself")
	}
	// Half a window into the next one, half of the last still counts.
	now = now.Add(90 * time.Second)
	if got := table.Count("a", now); got != 5 {
		t.Errorf("count %d, want 5", got)
	}
	if got := table.Add("a", 3, now); got != 8 {
		t.Errorf("count %d, want 8", got)
	}
	if got := table.Count("a", now.Add(2*time.Minute)); got != 0 {
		t.Errorf("count %d after two windows, want 0", got)
	}
	if got := table.Count("nobody", now); got != 0 {
		t.Errorf("count %d of nobody", got)
	}
}

func TestTableIsBounded(t *testing.T) {
	table := NewTable(time.Minute, 100)
	now := time.Now()
	table.Add("kept", 1, now)
	for i := range 100000 {
		table.Add(strconv.Itoa(i), 1, now)
		table.Add("kept", 0, now)
	}
	if table.Len() != 100 || table.Count("kept", now) != 1 || table.Count("5", now) != 0 || table.Count("99999", now) != 1 {
		t.Errorf("%d keys, kept %d, old %d, new %d", table.Len(), table.Count("kept", now), table.Count("5", now), table.Count("99999", now))
	}
	table.Forget("kept")
	if table.Count("kept", now) != 0 || table.Len() != 99 {
		t.Error("not forgotten")
	}
}
