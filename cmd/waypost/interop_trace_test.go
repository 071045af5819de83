//go:build interop

package main_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"waypost/relay/control"
	"waypost/relay/relaytest"
)

// tracedRun is a run of many messages, of which some fail, wait, or go at the
// second attempt, and of what must be told of each.
type tracedRun struct {
	mu    sync.Mutex
	last  map[int]int // by connection of the sink, the message that is under way
	tried map[int]bool
	ids   []string
}

func (*tracedRun) fails(n int) bool  { return n%5 == 2 }
func (*tracedRun) waits(n int) bool  { return n%1000 == 1 }
func (*tracedRun) second(n int) bool { return n%5 == 3 }

// answer is how the next hop treats the messages.
func (r *tracedRun) answer(c relaytest.Command) (relaytest.Action, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.Verb == "RCPT" {
		n := -1 // a report
		_, _ = fmt.Sscanf(c.Mailbox, "r%d@", &n)
		r.last[c.Conn] = n
		switch tried := r.tried[n]; {
		case n < 0:
		case r.waits(n):
			return relaytest.Action{Reply: "451 4.7.1 not today"}, true
		case r.fails(n):
			return relaytest.Action{Reply: "550 5.1.1 no such user"}, true
		case r.second(n) && !tried:
			r.tried[n] = true
			return relaytest.Action{Reply: "450 4.3.2 too busy"}, true
		}
	}
	if n := r.last[c.Conn]; c.Verb == "DOT" && n >= 0 {
		return relaytest.Action{Reply: fmt.Sprintf("250 2.0.0 Ok: queued as NH%d", n)}, true
	}
	return relaytest.Action{}, false
}

// send has a session send every messages-th message from the first on.
func (r *tracedRun) send(address string, first, step int) error {
	c, err := dial(address)
	if err != nil {
		return err
	}
	defer c.close()
	for n := first; n < len(r.ids); n += step {
		if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		content := fmt.Sprintf("Message-ID: <%d@id.example>\r\nSubject: x\r\n\r\nx\r\n", n)
		id, err := c.data(envelope{from: fmt.Sprintf("s%d@a.example", n), to: []string{fmt.Sprintf("r%d@d%d.example", n, n%7)}}, []byte(content))
		if err != nil {
			return fmt.Errorf("message %d: %w", n, err)
		}
		r.ids[n] = id
	}
	return nil
}

// keys are what a message goes by.
func (r *tracedRun) keys(n int) []string {
	keys := []string{r.ids[n], fmt.Sprintf("<%d@id.example>", n), fmt.Sprintf("s%d@a.example", n), fmt.Sprintf("r%d@d%d.example", n, n%7)}
	if !r.fails(n) && !r.waits(n) {
		keys = append(keys, fmt.Sprintf("NH%d", n))
	}
	return keys
}

// check compares a message's story with what became of it.
func (r *tracedRun) check(n int, m *control.Message) error {
	state, attempts, reply := control.StateDelivered, 1, fmt.Sprintf("250 2.0.0 Ok: queued as NH%d", n)
	switch {
	case r.waits(n):
		state, attempts, reply = control.StateDeferred, max(m.Attempts, 1), "451 4.7.1 not today"
	case r.fails(n):
		state, reply = control.StateFailed, "550 5.1.1 no such user"
	case r.second(n):
		attempts = 2
	}
	if m.State != state || m.Attempts != attempts || m.Recipients[0].Reply != reply || len(m.AttemptLog) == 0 || (m.Left == nil) != r.waits(n) {
		return fmt.Errorf("message %d is %s after %d attempts, with %q", n, m.State, m.Attempts, m.Recipients[0].Reply)
	}
	if last := m.AttemptLog[len(m.AttemptLog)-1]; r.fails(n) && (len(last.Reports) != 1 || last.Reports[0].ID == "") {
		return fmt.Errorf("message %d: the story does not say which report was sent", n)
	}
	return nil
}

// TestTraceOfManyMessages asks a running waypost for each of 10,000 messages by
// each of its keys, follows one as it comes, and looks for some once more after
// a restart.
func TestTraceOfManyMessages(t *testing.T) {
	const messages, sessions, size, watched = 10_000, 10, 64_000_000, 7003
	r := &tracedRun{last: map[int]int{}, tried: map[int]bool{}, ids: make([]string, messages)}
	sink := relaytest.NewSink(t, "127.0.0.1:0", relaytest.WithCounting())
	sink.Script(r.answer)
	data := filepath.Join(memoryDir(t), "data")
	config := writeConfig(t, settings{dataDir: data, nextHop: sink.Address(), more: fmt.Sprintf("[history]\nsize = '%d'\n", size)})
	binary := build(t)
	p := start(t, binary, config)
	c, err := control.Dial(filepath.Join(data, "control.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	// One of them, as it happens.
	following, stop := context.WithCancel(t.Context())
	defer stop()
	begun, told, followed := make(chan bool), []string{}, make(chan error, 1)
	go func() {
		followed <- c.Follow(following, fmt.Sprintf("s%d@a.example", watched), func(f *control.Followed) error {
			if f.Begun {
				close(begun)
			}
			if f.Event != nil {
				told = append(told, string(f.Event))
			}
			if f.Story != nil && f.Story.Left != nil && f.Story.From != "" {
				stop()
			}
			return nil
		})
	}()
	<-begun

	var sending sync.WaitGroup
	for s := range sessions {
		sending.Go(func() {
			if err := r.send(p.smtp[0], s, sessions); err != nil {
				t.Error(err)
			}
		})
	}
	sending.Wait()
	if t.Failed() {
		return
	}
	const wait = messages / 1000
	waitFor(t, "what can leave to leave", func() bool { return p.metric("waypost_queue_messages") == wait })
	select {
	case <-followed:
	case <-time.After(patience):
		t.Fatal("the message that was followed is not told to have left")
	}
	story := strings.Join(told, "\n")
	for _, want := range []string{`"msg":"accepted","queue_id":"` + r.ids[watched], `too busy","status":"deferred"`, fmt.Sprintf(`queued as NH%d","status":"sent"`, watched)} {
		if !strings.Contains(story, want) {
			t.Errorf("whoever follows is not told %s, but\n%s", want, story)
		}
	}
	if len(told) != 3 {
		t.Errorf("whoever follows is told %d things:\n%s", len(told), story)
	}

	begin, asked := time.Now(), 0
	look := func(n int) {
		for _, key := range r.keys(n) {
			asked++
			found, err := c.Trace(t.Context(), key, 20)
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(found.Messages, func(m control.Message) bool { return m.ID == r.ids[n] })
			if i < 0 {
				t.Errorf("%s does not find message %d, %s", key, n, r.ids[n])
			} else if err := r.check(n, &found.Messages[i]); err != nil {
				t.Errorf("by %s: %v", key, err)
			}
		}
	}
	for n := range messages {
		look(n)
	}
	t.Logf("%d questions, %s each", asked, (time.Since(begin) / time.Duration(asked)).Round(time.Microsecond))
	p.stop()
	p = start(t, binary, config)
	if kept := p.metric("waypost_queue_history_bytes"); kept == 0 || kept > size {
		t.Errorf("the history has %v octets, and may have %d", kept, size)
	}
	for n := range 100 {
		look(n * messages / 100)
	}
}

// memoryDir is a directory in memory, for what is about anything but the disk.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "waypost")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
