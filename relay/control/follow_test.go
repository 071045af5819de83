package control

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"waypost/queue"
	"waypost/relay/smtp"
	"waypost/relay/tap"
)

// leaving is a queue with a message that leaves it at a time.
type leaving struct {
	*fake
	at time.Time
}

func (l *leaving) Show(queue.ID) (queue.Entry, error) {
	if !time.Now().Before(l.at) {
		return queue.Entry{}, queue.ErrUnknown
	}
	return l.entries[0], nil
}

func (l *leaving) Trace(string, int) ([]queue.Story, bool, error) {
	s := queue.Story{Entry: l.entries[0]}
	if !time.Now().Before(l.at) {
		s.Left = l.at
	}
	return []queue.Story{s}, false, nil
}

// A message leaves some time after the log has told of its delivery, or before
// that is read. Every line is told, and then once that it has left, whether it is
// followed by its queue ID or by another key.
func TestLeavingIsTold(t *testing.T) {
	for _, test := range []struct {
		name  string
		after time.Duration // it leaves, from the beginning on
		byID  bool
	}{
		{"late", 20 * time.Second, false},
		{"late, by its ID", 20 * time.Second, true},
		{"before the log is read", time.Second / 2, false},
		{"before the log is read, by its ID", time.Second / 2, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &leaving{fake: &fake{}, at: time.Now().Add(test.after)}
				f.fill(1)
				f.entries[0].ReversePath = smtp.Path{Local: "s", Domain: "a.test"}
				key, id := "s@a.test", f.entries[0].ID.String()
				if test.byID {
					key = id
				}
				log := tap.New(slog.DiscardHandler)
				var told []string
				follower := &follower{handler: &handler{queue: f}, key: key, ids: map[string]bool{}, soon: map[queue.ID]int{}, item: func(v any) {
					switch one := v.(Followed); {
					case one.Begun:
						slog.New(log).Info("delivery", "queue_id", id, "status", "deferred")
						time.Sleep(time.Second)
						slog.New(log).Info("delivery", "queue_id", id, "status", "sent")
					case one.Story != nil && one.Story.Left != nil:
						told = append(told, "left")
					case one.Story != nil:
						told = append(told, "story")
					case one.Event != nil:
						told = append(told, "event")
					}
				}}
				watcher := log.Watch(slog.LevelInfo, followBuffer, func(*tap.Record) bool { return true })
				defer watcher.Stop()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				err := follower.run(ctx, watcher)
				if test.byID && err != nil || !test.byID && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("it ends with %v", err)
				}
				if want := []string{"story", "event", "event", "left"}; !slices.Equal(told, want) {
					t.Errorf("told %q, want %q", told, want)
				}
			})
		})
	}
}
