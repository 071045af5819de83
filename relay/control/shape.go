package control

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"waypost/queue"
)

// ShapeRequest asks for the shape of the queue: how old what waits is, by what
// it waits for, and why it waits.
type ShapeRequest struct {
	// Selection selects messages, and of these the recipients that wait count.
	// Limit is how many groups and reasons are wanted: 0 is 20, and 1000 is the
	// most. After is not for this.
	Selection
	// By is one of Groupings; "" is "destination".
	By string `json:"by,omitempty"`
}

// Shape is how old recipients are that wait, and why they wait.
type Shape struct {
	// By is what the groups go by.
	By string `json:"by"`
	// AgeSeconds are the ages at which the columns of Ages end; one more
	// column has what is older than all of them.
	AgeSeconds []int64 `json:"age_seconds"`
	// Total is everything.
	Total Group `json:"total"`
	// Groups are the largest ones, the largest first. Rest is what is not in
	// them.
	Groups []Group `json:"groups"`
	Rest   Group   `json:"rest"`
	// Reasons are the most frequent last replies, with what differs from
	// message to message taken out of them, the most frequent first.
	Reasons []Reason `json:"reasons"`
	// Approximate says that there were more groups or reasons than can be
	// kept apart: those that are named may have more than they say, and what
	// that is counts in Rest.
	Approximate bool `json:"approximate,omitempty"`
}

// Group is one line of a Shape.
type Group struct {
	Name string `json:"name,omitempty"`
	// Recipients is how many wait, and Ages how many of them by age.
	Recipients int64   `json:"recipients"`
	Ages       []int64 `json:"ages"`
}

// Reason is why recipients wait.
type Reason struct {
	Text string `json:"text"`
	// Recipients is how many wait for it.
	Recipients int64 `json:"recipients"`
	// Destination is the next hop of one of them, and ID its message.
	Destination string `json:"destination"`
	ID          string `json:"id"`
}

// Bounds of ShapeRequest.Limit.
const (
	defaultGroups = 20
	maxGroups     = 1000

	// How many names are kept apart: of groups, as many as there are destinations in
	// a large queue, and of reasons more than anybody has.
	mostGroups  = 200_000
	mostReasons = 10_000
)

// ages are the columns of the table, in minutes: each is twice as long as the
// one before, as Postfix's qshape has them.
var ages = [...]int64{5, 10, 20, 40, 80, 160, 320, 640, 1280}

// byAge is one line of the table; one more column has what is older.
type byAge [len(ages) + 1]int64

// groupings say what a recipient that waits is counted under.
var groupings = map[string]func(*queue.Entry, *queue.Delivery, *queue.Recipient) string{
	"destination": func(_ *queue.Entry, d *queue.Delivery, _ *queue.Recipient) string { return d.Destination },
	"domain":      func(_ *queue.Entry, _ *queue.Delivery, r *queue.Recipient) string { return r.Path.DomainKey() },
	"sender": func(e *queue.Entry, _ *queue.Delivery, _ *queue.Recipient) string {
		if e.ReversePath.IsNull() {
			return "<>"
		}
		return e.ReversePath.DomainKey()
	},
	"class": func(e *queue.Entry, _ *queue.Delivery, _ *queue.Recipient) string {
		return cmp.Or(e.Class, queue.DefaultClass)
	},
}

// Groupings are the words for what a Shape can go by.
func Groupings() []string { return []string{"class", "destination", "domain", "sender"} }

// shape answers with the shape of a selection.
func (h *handler) shape(w http.ResponseWriter, r *http.Request) {
	asked := &ShapeRequest{}
	f, err := readAsked(w, r, asked)
	if err != nil {
		writeProblem(w, err)
		return
	}
	stream(w, func(item func(any)) (any, error) {
		s := newShaper(asked.By)
		err := h.look(r.Context(), f, asked.By == "sender", item, s.add)
		return s.shape(asked.By, asked.Limit), err
	})
}

func (s *ShapeRequest) check() error {
	s.By = cmp.Or(s.By, "destination")
	if groupings[s.By] == nil {
		return badRequest("%.40q is nothing to count by", s.By)
	}
	if s.Limit < 0 || s.Limit > maxGroups {
		return badRequest("a table has up to %d lines", maxGroups)
	}
	s.Limit = cmp.Or(s.Limit, defaultGroups)
	return nil
}

// shaper counts what waits.
type shaper struct {
	by      func(*queue.Entry, *queue.Delivery, *queue.Recipient) string
	now     time.Time
	total   Group
	groups  tops[byAge]
	reasons tops[Reason]
	name    []byte // used again for each
}

func newShaper(by string) *shaper {
	return &shaper{
		by: groupings[by], now: time.Now(), total: Group{Ages: make([]int64, len(ages)+1)},
		groups: tops[byAge]{most: mostGroups}, reasons: tops[Reason]{most: mostReasons},
	}
}

func (s *shaper) add(e *queue.Entry) {
	column, _ := slices.BinarySearch(ages[:], int64(s.now.Sub(e.Arrival)/time.Minute)+1)
	for _, d := range e.Deliveries {
		for i := range d.Recipients {
			r := &d.Recipients[i]
			if !r.State.Open() {
				continue
			}
			s.total.Recipients++
			s.total.Ages[column]++
			s.name = append(s.name[:0], s.by(e, d, r)...)
			s.groups.add(s.name).value[column]++
			if r.LastAttempt.IsZero() {
				continue
			}
			s.name = appendGeneral(s.name[:0], r.Last.Text())
			if reason := s.reasons.add(s.name); reason.value.ID == "" {
				reason.value = Reason{Destination: strings.Clone(d.Destination), ID: e.ID.String()}
			}
		}
	}
}

func (s *shaper) shape(by string, limit int) *Shape {
	shape := &Shape{By: by, Total: s.total, Groups: []Group{}, Reasons: []Reason{}, Approximate: s.groups.dropped || s.reasons.dropped}
	for _, minutes := range ages {
		shape.AgeSeconds = append(shape.AgeSeconds, minutes*60)
	}
	shape.Rest = Group{Recipients: s.total.Recipients, Ages: slices.Clone(s.total.Ages)}
	for _, top := range s.groups.first(limit) {
		shape.Groups = append(shape.Groups, Group{top.name, top.count, top.value[:]})
		shape.Rest.Recipients -= top.count
		for i, n := range top.value {
			shape.Rest.Ages[i] -= n
		}
	}
	for _, top := range s.reasons.first(limit) {
		top.value.Text, top.value.Recipients = top.name, top.count
		shape.Reasons = append(shape.Reasons, top.value)
	}
	return shape
}

// Shape returns the shape of a selection.
func (c *Client) Shape(ctx context.Context, r ShapeRequest, tell func(Progress)) (*Shape, error) {
	shape := &Shape{}
	return shape, c.stream(ctx, "/v1/shape", r, shape, progress(tell))
}
