package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"waypost/metrics"
	"waypost/queue"
	"waypost/relay/smtp"
)

func listAll(t *testing.T, c *Client, s Selection, limit int) (ids []string, more bool) {
	t.Helper()
	for list, err := range c.List(t.Context(), s, limit) {
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list.Messages {
			ids = append(ids, m.ID)
		}
		more = list.Next != ""
	}
	return ids, more
}

func TestListGoesThroughAllPages(t *testing.T) {
	f := &fake{}
	f.fill(450)
	c, _ := connect(t, f)
	for _, test := range []struct {
		limit, want int
		more        bool
		pages       []int
	}{
		{0, 450, false, []int{200, 200, 50}},
		{1, 1, true, []int{1}},
		{200, 200, true, []int{200}},
		{201, 201, true, []int{200, 1}},
		{450, 450, false, []int{200, 200, 50}},
		{1000, 450, false, []int{200, 200, 50}},
	} {
		f.pages = nil
		ids, more := listAll(t, c, Selection{}, test.limit)
		if len(ids) != test.want || more != test.more || !slices.Equal(f.pages, test.pages) {
			t.Errorf("limit %d: %d messages, more %v, pages of %v; want %d, %v, %v",
				test.limit, len(ids), more, f.pages, test.want, test.more, test.pages)
		}
		if !slices.IsSorted(ids) || len(slices.Compact(ids)) != test.want {
			t.Errorf("limit %d: the messages are out of order or double", test.limit)
		}
	}
}

func TestListStopsWhenNobodyReadsOn(t *testing.T) {
	f := &fake{}
	f.fill(450)
	c, _ := connect(t, f)
	for range c.List(t.Context(), Selection{}, 0) {
		break
	}
	if len(f.pages) != 1 {
		t.Errorf("%d pages were asked for, want 1", len(f.pages))
	}
}

func TestListOfIDs(t *testing.T) {
	f := &fake{}
	f.fill(300)
	c, _ := connect(t, f)
	var ids []string
	for id := queue.ID(2500); id > 0; id-- { // more than one request takes
		ids = append(ids, id.String())
	}
	var found, unknown []string
	for list, err := range c.List(t.Context(), Selection{IDs: append(ids, ids[0])}, 0) {
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list.Messages {
			found = append(found, m.ID)
		}
		unknown = append(unknown, list.Unknown...)
	}
	// The first ID was given twice, and not in the same lot.
	if len(found) != 300 || len(unknown) != 2201 || slices.Contains(found, unknown[0]) {
		t.Errorf("%d messages and %d unknown IDs, want 300 and 2201", len(found), len(unknown))
	}
}

func TestChange(t *testing.T) {
	f := &fake{}
	f.fill(450)
	c, _ := connect(t, f)
	f.changed = func(filter queue.Filter) int { return len(filter.IDs) - 1 }
	sum, err := c.Change(t.Context(), Hold, Selection{All: true}, nil)
	if err != nil || sum.Matched != 450 || sum.Changed != 447 || len(f.asked) != 3 {
		t.Errorf("all: %+v, %v, in %d pages", sum, err, len(f.asked))
	}
	f.asked, f.changed = nil, nil
	known, unknown := queue.ID(7).String(), queue.ID(1000).String()
	sum, err = c.Change(t.Context(), Remove, Selection{IDs: []string{known, unknown, known}, ToDomain: "Bücher.example"}, nil)
	if err != nil || sum.Matched != 1 || sum.Changed != 1 || !slices.Equal(sum.Unknown, []string{unknown}) {
		t.Errorf("by ID: %+v, %v", sum, err)
	}
	// The filter goes with the IDs, so that only fitting recipients are removed.
	if got := f.asked[0]; !slices.Equal(got.IDs, []queue.ID{7}) || got.ToDomain != "xn--bcher-kva.example" {
		t.Errorf("the queue was asked for %+v", got)
	}
}

// A destination alone is the next hop itself; with anything else it selects
// messages.
func TestChangeDestination(t *testing.T) {
	f := &fake{}
	f.fill(3)
	c, _ := connect(t, f)
	alone := Selection{Destination: "b.test"}
	for _, step := range []struct {
		action  Action
		changed bool
	}{{Hold, true}, {Retry, false}, {Release, true}, {Release, false}, {Retry, true}} {
		sum, err := c.Change(t.Context(), step.action, alone, nil)
		if err != nil || sum.Destination == nil || *sum.Destination != (ChangedDestination{"b.test", step.changed, 3}) {
			t.Errorf("%s: %+v, %v", step.action, sum.Destination, err)
		}
	}
	if len(f.asked) != 0 {
		t.Errorf("messages were changed: %v", f.asked)
	}
	_, err := c.Change(t.Context(), Hold, Selection{Destination: "bad"}, nil)
	wantCode(t, err, CodeBadRequest)
	for action, s := range map[Action]Selection{Remove: alone, Hold: {Destination: "b.test", From: "a.test"}} {
		f.asked = nil
		if sum, err := c.Change(t.Context(), action, s, nil); err != nil || sum.Destination != nil || len(f.asked) != 1 || f.asked[0].Destination != "b.test" {
			t.Errorf("%s: %+v, %v, asked %+v", action, sum, err, f.asked)
		}
	}
}

func TestNothingThatFitsIsNotEverything(t *testing.T) {
	f := &fake{}
	f.fill(3)
	c, _ := connect(t, f)
	sum, err := c.Change(t.Context(), Remove, Selection{IDs: []string{queue.ID(99).String()}}, nil)
	if err != nil || sum.Matched != 0 || len(f.asked) != 0 {
		t.Errorf("%+v, %v, and the queue was asked to remove %v", sum, err, f.asked)
	}
}

func TestWholeQueueMustBeMeant(t *testing.T) {
	for _, s := range []Selection{
		{}, {IDs: []string{}}, {All: true, From: "a@example.org"}, {All: true, IDs: []string{queue.ID(1).String()}}, {Limit: 5},
	} {
		f := &fake{}
		f.fill(3)
		c, _ := connect(t, f)
		for _, action := range []Action{Retry, Hold, Release, Remove} {
			_, err := c.Change(t.Context(), action, s, nil)
			wantCode(t, err, CodeBadRequest)
		}
		if len(f.asked) != 0 {
			t.Errorf("%+v: the queue was asked to change %v", s, f.asked)
		}
	}
}

func TestPartlyDoneIsSaid(t *testing.T) {
	f := &fake{fail: fmt.Errorf("%w: commit: disk on fire", queue.ErrStore), failAt: 3}
	f.fill(450)
	c, _ := connect(t, f)
	sum, err := c.Change(t.Context(), Remove, Selection{All: true}, nil)
	wantCode(t, err, CodeStorage)
	if sum.Changed != 400 || !strings.Contains(err.Error(), "disk on fire") {
		t.Errorf("%d changed and %v, want the 400 of the first two pages", sum.Changed, err)
	}
}

func TestProblems(t *testing.T) {
	for _, test := range []struct {
		err  error
		want Code
	}{
		{queue.ErrUnknown, CodeUnknownID},
		{fmt.Errorf("record is %w", queue.ErrDamaged), CodeDamaged},
		{queue.ErrStore, CodeStorage},
		{queue.ErrClosed, CodeTemporary},
		{errors.New("anything else"), CodeTemporary},
	} {
		f := &fake{fail: test.err}
		f.fill(1)
		c, _ := connect(t, f)
		_, err := c.Show(t.Context(), queue.ID(1).String())
		wantCode(t, err, test.want)
	}
}

func TestBadSelections(t *testing.T) {
	for name, s := range map[string]Selection{
		"an ID that is none":   {IDs: []string{"../../etc/passwd"}},
		"a page after nothing": {After: "0"},
		"a final state":        {State: "delivered"},
		"a negative age":       {OlderThanSeconds: -1},
		"an age out of range":  {OlderThanSeconds: 1e300},
		"a negative limit":     {Limit: -1},
		"too much":             {From: strings.Repeat("x", maxRequest)},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := connect(t, &fake{})
			err := c.call(t.Context(), "POST", "/v1/list", s, &List{})
			wantCode(t, err, CodeBadRequest)
		})
	}
}

func TestContent(t *testing.T) {
	text := strings.Repeat("Subject: \x1b[31m\xff\r\n", 10_000)
	f := &fake{content: func() io.ReadCloser { return io.NopCloser(strings.NewReader(text)) }}
	f.fill(1)
	c, _ := connect(t, f)
	var out strings.Builder
	if err := c.Content(t.Context(), queue.ID(1).String(), &out); err != nil || out.String() != text {
		t.Errorf("%d octets of %d, or other ones, and %v", out.Len(), len(text), err)
	}
	wantCode(t, c.Content(t.Context(), queue.ID(2).String(), &out), CodeUnknownID)
	wantCode(t, c.Content(t.Context(), "..", &out), CodeBadRequest)
}

func TestDamagedContentIsSaid(t *testing.T) {
	for _, size := range []int{0, 10, 100_000} {
		f := &fake{content: func() io.ReadCloser { return broken{strings.NewReader(strings.Repeat("x", size))} }}
		f.fill(1)
		c, _ := connect(t, f)
		wantCode(t, c.Content(t.Context(), queue.ID(1).String(), io.Discard), CodeDamaged)
	}
}

func TestStats(t *testing.T) {
	f := &fake{stats: metrics.QueueStats{
		Messages: 1, Queued: 2, Deferred: 3, Held: 4, Destinations: 5, Waiting: 6, Bytes: 7, OldestAge: 8500 * time.Millisecond, DiskFree: 9,
	}}
	c, _ := connect(t, f)
	got, err := c.Stats(t.Context())
	want := Stats{Messages: 1, Queued: 2, Deferred: 3, Held: 4, Destinations: 5, DestinationsWaiting: 6, Bytes: 7, OldestAgeSeconds: 8.5, DiskFreeBytes: 9}
	if err != nil || !reflect.DeepEqual(*got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestInterrupt(t *testing.T) {
	f := &fake{}
	f.fill(450)
	c, _ := connect(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	f.changed = func(filter queue.Filter) int {
		if slices.Contains(filter.IDs, 201) { // the second page
			cancel()
		}
		return len(filter.IDs)
	}
	sum, err := c.Change(ctx, Retry, Selection{All: true}, nil)
	if !errors.Is(err, context.Canceled) || sum.Changed < 200 || sum.Changed > 400 {
		t.Errorf("%+v, %v", sum, err)
	}
}

func TestDescription(t *testing.T) {
	arrival := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	open := queue.Recipient{Path: smtp.Path{Local: "a b", Domain: "example.org"}, State: queue.Deferred,
		LastAttempt: arrival.Add(time.Minute), Last: queue.Result{
			Reply: smtp.NewReply(451, smtp.EnhancedCode{4, 7, 1}, "later\x1b[2J"), Status: smtp.EnhancedCode{4, 7, 1}, Host: "mx[192.0.2.1]:25"}}
	final := queue.Recipient{Path: smtp.Path{Local: "c", Domain: "example.org"}, State: queue.Delivered}
	fresh := queue.Recipient{Path: smtp.Path{Local: "d", Domain: "example.net"}}
	e := queue.Entry{ID: 1, Envelope: queue.Envelope{Arrival: arrival, Size: 5}, Deliveries: []*queue.Delivery{
		{Destination: "example.org", Attempts: 3, Recipients: []queue.Recipient{open, final}},
		{Destination: "example.net", Held: true, Recipients: []queue.Recipient{fresh}},
	}}
	h := &handler{queue: &fake{waits: arrival.Add(time.Hour)}}
	m := h.message(&e, arrival.Add(90*time.Second))
	if m.State != StateDeferred || m.Held || m.Attempts != 3 || m.NextAttempt == nil || !m.NextAttempt.Equal(arrival.Add(time.Hour)) || m.AgeSeconds != 90 {
		t.Errorf("the message is %+v", m)
	}
	a, c, d := m.Recipients[0], m.Recipients[1], m.Recipients[2]
	if a.Address != `"a b"@example.org` || a.Reply != "451 4.7.1 later?[2J" || a.Status != "4.7.1" || !a.LastAttempt.Equal(arrival.Add(time.Minute)) {
		t.Errorf("the deferred recipient is %+v", a)
	}
	if c.State != StateDelivered || c.NextAttempt != nil || c.Waits() {
		t.Errorf("the final recipient is %+v", c)
	}
	if !d.Held || d.State != StateQueued || d.NextAttempt != nil || d.LastAttempt != nil || d.Reply != "" {
		t.Errorf("the held recipient is %+v", d)
	}
	e.Deliveries[0].Held = true
	if m := h.message(&e, arrival); m.State != StateHeld || !m.Held || m.NextAttempt != nil {
		t.Errorf("with everything on hold the message is %+v", m)
	}
}

// A bounce, and nothing else, has a reason, which can stand in a report.
func TestReasons(t *testing.T) {
	f := &fake{}
	f.fill(3)
	c, _ := connect(t, f)
	if sum, err := c.Change(t.Context(), Bounce, Selection{All: true, Reason: "sent by mistake"}, nil); err != nil || sum.Changed != 3 || f.reason != "sent by mistake" {
		t.Errorf("bounce: %+v, %v, with %q", sum, err, f.reason)
	}
	if sum, err := c.Change(t.Context(), Reroute, Selection{All: true}, nil); err != nil || sum.Changed != 3 {
		t.Errorf("reroute: %+v, %v", sum, err)
	}
	for reason, action := range map[string]Action{"": Bounce, "two\r\nlines": Bounce, strings.Repeat("x", maxReason+1): Bounce, "why": Remove} {
		_, err := c.Change(t.Context(), action, Selection{All: true, Reason: reason}, nil)
		wantCode(t, err, CodeBadRequest)
	}
}
