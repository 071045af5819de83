package control

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"waypost/queue"
	"waypost/relay/tap"
)

// Followed is one thing that is told of messages while they are followed; one
// of its fields is set.
type Followed struct {
	// Story is a message as it stands: those that are there in the beginning,
	// and each again when it has left the queue.
	Story *Message `json:"story,omitempty"`
	// Event is a line of the log, in its own keys.
	Event json.RawMessage `json:"event,omitempty"`
	// Begun says that the stories of the beginning are over: whatever happens
	// from here on is told.
	Begun bool `json:"begun,omitempty"`
	// Missed says that so many lines of the log came too fast.
	Missed int `json:"missed,omitempty"`
}

const (
	// followBuffer is how many lines may wait for who follows.
	followBuffer = 4096
	// maxFollowed is how many messages are followed at once: of more, the
	// oldest are forgotten.
	maxFollowed = 10_000
	// pulse is how often a stream says that it is still there, and looks for
	// what the log does not tell, as that an operator removed a message.
	pulse = time.Second
	// again is for how many pulses a message is looked for after an event: the
	// log has a delivery before the queue has settled it.
	again = 60
)

// follow tells of the messages that go by a key, until who asked has gone; by a
// queue ID, until that message has left.
func (h *handler) follow(w http.ResponseWriter, r *http.Request) {
	asked := TraceRequest{}
	err := readJSON(http.MaxBytesReader(w, r.Body, maxRequest), &asked)
	if err == nil && asked.Key == "" {
		err = badRequest("there is no key to follow")
	}
	if err == nil && h.log == nil {
		err = errNotRunning
	}
	if err != nil {
		writeProblem(w, err)
		return
	}
	stream(w, func(item func(any)) (any, error) {
		f := &follower{handler: h, key: asked.Key, ids: map[string]bool{}, soon: map[queue.ID]int{}, item: item}
		watcher := h.log.Watch(slog.LevelInfo, followBuffer, func(r *tap.Record) bool { return r.Text("queue_id") != "" })
		defer watcher.Stop()
		return struct{}{}, f.run(r.Context(), watcher)
	})
}

// follower is one who follows.
type follower struct {
	*handler
	key  string
	item func(any)
	ids  map[string]bool  // of messages that go by the key, and whether it was told that they have left
	last []string         // the same, in the order in which they came
	soon map[queue.ID]int // those that may have left since, and for how many pulses they are looked for
}

func (f *follower) run(ctx context.Context, watcher *tap.Watcher) error {
	begun := time.Now() // whatever was logged before is in the stories
	stories, _, err := f.queue.Trace(f.key, defaultTrace)
	if err != nil {
		return err
	}
	single := queue.ID(0) // what is followed, where the key is a queue ID
	for i := range stories {
		f.tell(&stories[i])
		if id := stories[i].ID; strings.EqualFold(id.String(), f.key) {
			single = id
		}
		if single != 0 && !stories[i].Left.IsZero() {
			return nil
		}
	}
	f.item(Followed{Begun: true})
	beat := time.NewTicker(pulse)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-beat.C:
			f.item(Followed{})
			if single != 0 {
				f.soon[single] = again
			}
			gone, err := f.look()
			if err != nil {
				return err
			}
			// What the log has of them was written before they left.
			for range len(watcher.Lines) {
				if err := f.line(<-watcher.Lines, begun); err != nil {
					return err
				}
			}
			if err := f.bye(gone); err != nil || slices.Contains(gone, single) {
				return err
			}
		case line := <-watcher.Lines:
			if err := f.line(line, begun); err != nil {
				return err
			}
		}
	}
}

// tell tells the story of a message, and follows it unless it has left.
func (f *follower) tell(s *queue.Story) {
	m := f.story(s, time.Now())
	f.item(Followed{Story: &m})
	if s.Left.IsZero() {
		f.add(m.ID)
	}
}

func (f *follower) add(id string) {
	f.ids[id] = false
	if f.last = append(f.last, id); len(f.last) > maxFollowed {
		delete(f.ids, f.last[0])
		f.last = f.last[1:]
	}
}

// line tells of a line of the log, if it is about a message that is followed.
func (f *follower) line(l tap.Line, begun time.Time) error {
	if l.Missed > 0 {
		f.item(Followed{Missed: l.Missed})
	}
	if l.Time.Before(begun) {
		return nil
	}
	var said struct {
		ID    string `json:"queue_id"`
		Reply string `json:"reply"`
	}
	if err := json.Unmarshal(l.JSON, &said); err != nil {
		return err
	}
	id, err := queue.ParseID(said.ID)
	if err != nil {
		return nil
	}
	left, known := f.ids[said.ID]
	if !known {
		if !f.meant(id, l.Message, said.Reply) {
			return nil
		}
		f.add(said.ID)
	}
	f.item(Followed{Event: l.JSON})
	if !left {
		f.soon[id] = again
	}
	return nil
}

// look returns the messages that have left since.
func (f *follower) look() (gone []queue.ID, err error) {
	for id := range f.soon {
		_, err := f.queue.Show(id)
		if err != nil && !errors.Is(err, queue.ErrUnknown) {
			return nil, err
		}
		if err != nil {
			gone = append(gone, id)
		}
		if f.soon[id]--; err != nil || f.soon[id] <= 0 {
			delete(f.soon, id)
		}
	}
	slices.Sort(gone)
	return gone, nil
}

// bye tells the stories of messages that have left.
func (f *follower) bye(gone []queue.ID) error {
	for _, id := range gone {
		stories, _, err := f.queue.Trace(id.String(), 1)
		if err != nil {
			return err
		}
		if len(stories) == 1 && !stories[0].Left.IsZero() {
			f.tell(&stories[0])
		}
		if _, known := f.ids[id.String()]; known {
			f.ids[id.String()] = true
		}
		delete(f.soon, id)
	}
	return nil
}

// meant reports whether a message that is new here goes by the key.
func (f *follower) meant(id queue.ID, event, reply string) bool {
	if event == "delivery" {
		return strings.Contains(reply, f.key) // the next hop's ID, perhaps
	}
	if event != "accepted" && event != "imported" {
		return false
	}
	stories, _, err := f.queue.Trace(id.String(), 1)
	return err == nil && len(stories) == 1 && queue.GoesBy(f.key, &stories[0].Entry)
}

// Follow calls tell with what is to be told of the messages that go by a key,
// until ctx is done, or tell returns an error; by a queue ID, until that message
// has left.
func (c *Client) Follow(ctx context.Context, key string, tell func(*Followed) error) error {
	var nothing struct{}
	return c.stream(ctx, "/v1/follow", TraceRequest{Key: key}, &nothing, func(item json.RawMessage) error {
		f := &Followed{}
		if err := json.Unmarshal(item, f); err != nil {
			return err
		}
		return tell(f)
	})
}
