package control

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"waypost/queue"
	"waypost/relay/smtp"
)

// populate puts n messages into the fake: message i is i octets long and i
// minutes old, was tried i times, and waits for a destination of its own.
func (f *fake) populate(n int) {
	now := time.Now()
	for i := 1; i <= n; i++ {
		id := queue.ID(i)
		f.entries = append(f.entries, queue.Entry{
			ID: id, Envelope: queue.Envelope{Arrival: now.Add(-time.Duration(i) * time.Minute), Size: int64(i), ReversePath: smtp.Path{Local: "s", Domain: fmt.Sprintf("%c.test", 'a'+i%3)}},
			Deliveries: []*queue.Delivery{{ID: id, Destination: fmt.Sprintf("d%d.test", i), Attempts: i, Recipients: []queue.Recipient{
				{Path: smtp.Path{Local: "r", Domain: "b.test"}, State: queue.Deferred, LastAttempt: now, Last: queue.Result{
					State: queue.Deferred, Reply: smtp.Reply{Code: 451, Enhanced: smtp.EnhancedCode{4, 7, 1}, Lines: []string{fmt.Sprintf("<r%d@b.test>: come back in %d seconds", i, 1000+i)}},
				}},
				{Path: smtp.Path{Local: "done", Domain: "b.test"}, State: queue.Delivered},
			}}},
		})
	}
}

func TestCount(t *testing.T) {
	f := &fake{}
	f.populate(10)
	c, _ := connect(t, f)
	var heard Progress
	got, err := c.Count(t.Context(), Selection{}, func(p Progress) { heard = p })
	if err != nil || got.Messages != 10 || got.Recipients != 10 || got.Bytes != 55 || got.UpTo != queue.ID(10).String() || got.Unknown != nil {
		t.Errorf("all: %+v, %v", got, err)
	}
	if heard.Looked != 10 || heard.Of < 10 {
		t.Errorf("progress: %+v", heard)
	}
	got, err = c.Count(t.Context(), Selection{IDs: []string{queue.ID(3).String(), queue.ID(99).String()}}, nil)
	if err != nil || got.Messages != 1 || got.Bytes != 3 || !slices.Equal(got.Unknown, []string{queue.ID(99).String()}) {
		t.Errorf("by ID: %+v, %v", got, err)
	}
	_, err = c.Count(t.Context(), Selection{State: "asleep"}, nil)
	wantCode(t, err, CodeBadRequest)
	f.fail = queue.ErrStore
	_, err = c.Count(t.Context(), Selection{}, nil)
	wantCode(t, err, CodeStorage)
}

func TestSort(t *testing.T) {
	f := &fake{}
	f.populate(100)
	c, _ := connect(t, f)
	for _, test := range []struct {
		by      string
		reverse bool
		want    []int // sizes, which are the IDs
	}{
		{"size", false, []int{100, 99, 98}},
		{"size", true, []int{1, 2, 3}},
		{"age", false, []int{1, 2, 3}},
		{"age", true, []int{100, 99, 98}},
		{"attempts", false, []int{100, 99, 98}},
		{"from", false, []int{3, 6, 9}},
		{"destination", false, []int{1, 10, 100}},
		{"to", true, []int{100, 99, 98}},
	} {
		got, err := c.Sort(t.Context(), SortRequest{Selection: Selection{Limit: 3}, By: test.by, Reverse: test.reverse}, nil)
		if err != nil {
			t.Fatal(err)
		}
		var sizes []int
		for _, m := range got.Messages {
			sizes = append(sizes, int(m.Size))
		}
		if !slices.Equal(sizes, test.want) || got.Of.Messages != 100 || got.Of.Bytes != 5050 {
			t.Errorf("%s, %v: %v of %+v, want %v", test.by, test.reverse, sizes, got.Of, test.want)
		}
	}
	for _, bad := range []SortRequest{{By: "colour"}, {By: "size", Selection: Selection{Limit: 1001}}, {By: "size", Selection: Selection{LargerThan: -1}}} {
		_, err := c.Sort(t.Context(), bad, nil)
		wantCode(t, err, CodeBadRequest)
	}
}

// TestRankingKeepsLittle has far more messages go by than are kept.
func TestRankingKeepsLittle(t *testing.T) {
	r := ranking{order: orders["size"], limit: 10}
	most := 0
	for i := range 10_000 {
		r.add(&queue.Entry{ID: queue.ID(i + 1), Envelope: queue.Envelope{Size: int64(i * 7919 % 10_007)}})
		most = max(most, len(r.kept))
	}
	if most > 21 || len(r.first()) != 10 {
		t.Errorf("%d were kept to find %d", most, len(r.first()))
	}
}

func TestShape(t *testing.T) {
	f := &fake{}
	f.populate(30)
	c, _ := connect(t, f)
	got, err := c.Shape(t.Context(), ShapeRequest{By: "domain"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	// Minutes 1 to 4, 5 to 9, 10 to 19, and 20 to 30.
	want := []int64{4, 5, 10, 11, 0, 0, 0, 0, 0, 0}
	if len(got.Groups) != 1 || got.Groups[0].Name != "b.test" || got.Groups[0].Recipients != 30 || !slices.Equal(got.Groups[0].Ages, want) || !slices.Equal(got.Total.Ages, want) || got.Rest.Recipients != 0 {
		t.Errorf("by domain: %+v", got)
	}
	if len(got.Reasons) != 1 || got.Reasons[0].Text != "451 4.7.1 <…>: come back in … seconds" || got.Reasons[0].Recipients != 30 || got.Reasons[0].ID != queue.ID(1).String() {
		t.Errorf("reasons: %+v", got.Reasons)
	}
	got, err = c.Shape(t.Context(), ShapeRequest{Selection: Selection{Limit: 2}, By: "sender"}, nil)
	if err != nil || len(got.Groups) != 2 || got.Rest.Recipients != 10 {
		t.Errorf("by sender: %+v, %v", got, err)
	}
	_, err = c.Shape(t.Context(), ShapeRequest{By: "colour"}, nil)
	wantCode(t, err, CodeBadRequest)
}

// TestTopsAreBounded counts under a million names, of which one is frequent.
func TestTopsAreBounded(t *testing.T) {
	const bound = 10_000
	all, most := tops[int]{most: bound}, 0
	for i := range 1_000_000 {
		all.add(fmt.Append(nil, "name", i))
		if i%100 == 0 {
			all.add([]byte("frequent"))
		}
		most = max(most, len(all.all))
	}
	first := all.first(1)[0]
	if most > bound || len(all.all) < bound/2 || !all.dropped || first.name != "frequent" || first.count != 10_000 {
		t.Errorf("%d names were kept, and the first is %+v", most, first)
	}
}

func TestGeneral(t *testing.T) {
	for reply, want := range map[string]string{
		"451 4.7.1 Greylisted, come back":                       "451 4.7.1 Greylisted, come back",
		"452 4.2.2 <bob@b.test>: mailbox full":                  "452 4.2.2 <…>: mailbox full",
		"421 4.7.0 [10.1.2.3] Our system":                       "421 4.7.0 […] Our system",
		"450 4.7.1 try again in 300 seconds (id 06F8TKQ2C0000)": "450 4.7.1 try again in … seconds (id …)",
		"550-5.7.26 mail from a@b.test is x":                    "550-5.7.26 mail from … is x",
		"dial tcp 10.0.0.1:25: connection refused":              "dial tcp …: connection refused",
		"TLS1 is old":                     "TLS1 is old",
		"550 " + strings.Repeat("ä", 400): "550 " + strings.Repeat("ä", 148) + "…",
		"":                                "",
	} {
		if got := string(appendGeneral(nil, reply)); got != want {
			t.Errorf("%q: got %q, want %q", reply, got, want)
		}
	}
}
