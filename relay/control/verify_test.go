package control

import (
	"testing"

	"waypost/queue"
)

// Each damage arrives, and then the sum or what went wrong.
func TestVerify(t *testing.T) {
	f := &fake{}
	f.fill(3)
	c, _ := connect(t, f)
	var ids []string
	found := func(d Damage) { ids = append(ids, d.ID) }
	v, err := c.Verify(t.Context(), found)
	if err != nil || v.Messages != 3 || v.Damages != 3 || len(ids) != 3 || ids[0] != queue.ID(1).String() {
		t.Errorf("%+v, %v (%v)", v, ids, err)
	}
	f.fail = queue.ErrStore
	_, err = c.Verify(t.Context(), found)
	wantCode(t, err, CodeStorage)
	if len(ids) != 6 {
		t.Errorf("%d damages before the problem, want 3", len(ids)-3)
	}
}

func TestCompact(t *testing.T) {
	f := &fake{}
	c, _ := connect(t, f)
	if done, err := c.Compact(t.Context()); err != nil || *done != (Compacted{Before: 2, After: 1, Seconds: 1}) {
		t.Errorf("%+v (%v)", done, err)
	}
	f.fail = queue.ErrNoRoom
	_, err := c.Compact(t.Context())
	wantCode(t, err, CodeTemporary)
}
