package control

import (
	"context"
	"io"
	"strings"
	"testing"

	"waypost/queue"
	"waypost/relay/smtp"
)

// idle is what a queue needs that is never run.
type idle struct{}

func (idle) Deliver(context.Context, *queue.Message, *queue.Delivery) queue.Outcome {
	return queue.Outcome{}
}
func (idle) Destination(_ *queue.Envelope, r *queue.Recipient) string { return r.Path.DomainKey() }
func (idle) Compose(io.Writer, queue.Report) (eightBit, utf8 bool, err error) {
	return false, false, nil
}

// TestWithQueue goes the whole way once, through the queue that is served.
func TestWithQueue(t *testing.T) {
	q, err := queue.Open(queue.Options{Dir: t.TempDir(), Deliverer: idle{}, Router: idle{}, Reporter: idle{}})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for range 3 {
		d := q.NewDraft()
		if _, err := io.WriteString(d, "Subject: test\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		err := d.Commit(queue.Envelope{ReversePath: smtp.Path{Local: "a", Domain: "example.com"}}, []queue.Recipient{
			{Path: smtp.Path{Local: "b", Domain: "example.org"}}, {Path: smtp.Path{Local: "c", Domain: "example.net"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, d.ID().String())
	}
	ln := mustListen(t, socketPath(t))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, ln, Service{Queue: q}) }()
	c, err := Dial(ln.(*listener).path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	if got, more := listAll(t, c, Selection{From: "@EXAMPLE.com", ToDomain: "@example.net"}, 2); len(got) != 2 || !more {
		t.Errorf("list: %v, more %v; want two of three", got, more)
	}
	if sum, err := c.Change(t.Context(), Hold, Selection{IDs: ids[:1], ToDomain: "example.org"}, nil); err != nil || sum.Changed != 1 {
		t.Errorf("hold: %+v, %v", sum, err)
	}
	if m, err := c.Show(t.Context(), strings.ToLower(ids[0])); err != nil || m.Held || !m.Recipients[0].Held || m.Recipients[1].Held {
		t.Errorf("show: %+v, %v; want one recipient on hold", m, err)
	}
	if got, _ := listAll(t, c, Selection{State: StateHeld}, 0); len(got) != 1 || got[0] != ids[0] {
		t.Errorf("list of what is held: %v", got)
	}
	if sum, err := c.Change(t.Context(), Remove, Selection{ToDomain: "example.org"}, nil); err != nil || sum.Changed != 3 {
		t.Errorf("remove: %+v, %v", sum, err)
	}
	if s, err := c.Stats(t.Context()); err != nil || s.Messages != 3 || s.Queued != 3 || s.Held != 0 {
		t.Errorf("stats: %+v, %v", s, err)
	}
	var content strings.Builder
	if err := c.Content(t.Context(), ids[1], &content); err != nil || content.String() != "Subject: test\r\n\r\n" {
		t.Errorf("content: %q, %v", content.String(), err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
}
