package queue

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"waypost/relay/smtp"
)

// crash copies the data directory as it is now, which is what a process that
// is killed now leaves, and opens the copy with a deliverer that records.
func crash(t *testing.T, q *Queue) (*Queue, *world) {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(q.dir)); err != nil {
		t.Fatal(err)
	}
	w := &world{}
	return open(t, w, func(o *Options) { o.Dir = dir }), w
}

// each state of README.md, as a crash leaves it: what was acknowledged is
// delivered after the next start, what was not is not there.
func TestCrashInEachState(t *testing.T) {
	small, large := "x\r\n", strings.Repeat("0123456789abcdef\r\n", 10_000)
	for name, content := range map[string]string{"small": small, "large": large} {
		rcpt := []Recipient{{Path: path("r@b.test")}}
		env := Envelope{ReversePath: path("s@a.test")}
		write := func(t *testing.T, q *Queue) *Draft {
			d := q.NewDraft()
			if _, err := io.WriteString(d, content); err != nil {
				t.Fatal(err)
			}
			return d
		}
		for _, tc := range []struct {
			state string
			// reach brings q there and returns what to do after the crash.
			reach     func(t *testing.T, q *Queue, w *world) (after func())
			delivered []string // first recipients' local parts, after the next start
			left      int      // content files
		}{
			{"S1 receiving", func(t *testing.T, q *Queue, _ *world) func() {
				return write(t, q).Discard
			}, nil, 1},
			{"S2 received", func(t *testing.T, q *Queue, _ *world) func() {
				d := write(t, q)
				if _, err := d.prepare(env, rcpt); err != nil {
					t.Fatal(err)
				}
				return d.Discard
			}, nil, 1},
			{"S3 queued", func(t *testing.T, q *Queue, _ *world) func() {
				if err := write(t, q).Commit(env, rcpt); err != nil {
					t.Fatal(err)
				}
				return func() {}
			}, []string{"r"}, 0},
			{"S4 in flight", func(t *testing.T, q *Queue, w *world) func() {
				hold, begun := make(chan struct{}), make(chan struct{})
				w.answer = func(_ *Message, d *Delivery) Outcome {
					close(begun)
					<-hold
					return all(d, Result{State: Delivered})
				}
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					q.Run(ctx, time.Minute)
				}()
				if err := write(t, q).Commit(env, rcpt); err != nil {
					t.Fatal(err)
				}
				<-begun
				return func() {
					close(hold)
					cancel()
					<-ended
				}
			}, []string{"r"}, 0},
			{"S5 settled in part", func(t *testing.T, q *Queue, w *world) func() {
				settleOnce(t, q, write(t, q), env, []Recipient{{Path: path("bad@b.test")}, {Path: path("r@b.test")}}, Failed, Deferred)
				return func() {}
			}, []string{"bad", "s"}, 0}, // "bad" is the first of its delivery
			{"S6 removed", func(t *testing.T, q *Queue, w *world) func() {
				settleOnce(t, q, write(t, q), env, rcpt, Delivered)
				return func() {}
			}, nil, 1},
			{"S6 removed, with a report", func(t *testing.T, q *Queue, w *world) func() {
				settleOnce(t, q, write(t, q), env, rcpt, Failed)
				return func() {}
			}, []string{"s"}, 1},
		} {
			t.Run(tc.state+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := &world{}
					q := open(t, w, nil)
					after := tc.reach(t, q, w)
					again, told := crash(t, q)
					after()
					if err := q.Close(); err != nil {
						t.Fatal(err)
					}
					stop := running(t, again)
					time.Sleep(time.Hour)
					synctest.Wait()
					for _, who := range tc.delivered {
						if n := len(told.tried(who)); n != 1 {
							t.Errorf("%s: %d attempts, want 1", who, n)
						}
					}
					if len(told.attempts) != len(tc.delivered) {
						t.Errorf("attempts %v, want %v", told.attempts, tc.delivered)
					}
					if s := again.Stats(); s.Messages != 0 || s.Bytes != 0 || s.Queued+s.Deferred+s.Held != 0 {
						t.Errorf("left: %+v", s)
					}
					left := tc.left
					if name == "small" {
						left = 0
					}
					if files, _ := os.ReadDir(again.contentDir()); len(files) != left {
						t.Errorf("%d content files left, want %d", len(files), left)
					}
					stop()
				})
			})
		}
	}
}

// settleOnce commits a message and the outcome of one attempt, and stops right
// behind that commit.
func settleOnce(t *testing.T, q *Queue, d *Draft, env Envelope, rcpts []Recipient, states ...State) {
	t.Helper()
	if err := d.Commit(env, rcpts); err != nil {
		t.Fatal(err)
	}
	m, delivery, err := q.read(deliveryKey{d.ID(), 0})
	if err != nil {
		t.Fatal(err)
	}
	out := Outcome{}
	for _, state := range states {
		out.Results = append(out.Results, Result{State: state, Reply: smtp.NewReply(450, smtp.EnhancedCode{}, "x")})
	}
	s := q.judge(m, delivery, out)
	if err := s.compose(); err != nil {
		t.Fatal(err)
	}
	s.encode()
	if err := q.commit(s.apply); err != nil {
		t.Fatal(err)
	}
}

// a content without a message goes when it is 36 hours old.
func TestOldOrphansAreRemoved(t *testing.T) {
	w := &world{}
	q := open(t, w, nil)
	d := q.NewDraft()
	io.WriteString(d, strings.Repeat("x", inlineLimit+1))
	old := time.Now().Add(-orphanAge - time.Minute)
	if err := os.Chtimes(q.contentFile(d.ID()), old, old); err != nil {
		t.Fatal(err)
	}
	again, _ := crash(t, q)
	defer again.Close()
	d.Discard()
	defer q.Close()
	// CopyFS does not keep times, so age the copy's file and open it anew.
	name := filepath.Join(again.contentDir(), d.ID().String())
	if err := os.Chtimes(name, old, old); err != nil {
		t.Fatal(err)
	}
	if err := again.sweepContent(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(name); !os.IsNotExist(err) {
		t.Errorf("the old orphan is still there: %v", err)
	}
}
