package queue

import (
	"fmt"
	"testing"
	"time"
)

// As many recipients as a message can have have a delivery each, with its own number;
// one more is refused.
func TestMostRecipients(t *testing.T) {
	q := open(t, &world{}, nil)
	defer q.Close()
	var all []Recipient
	for i := range MaxRecipients + 1 {
		all = append(all, Recipient{Path: path(fmt.Sprintf("r@d%d.test", i))})
	}
	d := q.NewDraft()
	defer d.Discard()
	e := Envelope{ReversePath: path("s@a.test"), Arrival: time.Now()}
	if err := d.Commit(e, all); err == nil {
		t.Error("one more was taken")
	}
	if err := d.Commit(e, all[:MaxRecipients]); err != nil {
		t.Fatal(err)
	}
	entry, err := q.Show(d.ID())
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range entry.Deliveries {
		if int(d.Index) != i || d.Destination != all[i].Path.Domain {
			t.Fatalf("delivery %d is number %d, to %s", i, d.Index, d.Destination)
		}
	}
	if n := len(entry.Deliveries); n != MaxRecipients {
		t.Errorf("%d deliveries, want %d", n, MaxRecipients)
	}
}
