package resolver

import (
	"context"
	"errors"
	"sync"
)

// flights are the look-ups under way. Whoever asks what is being asked already
// waits for the same answer.
type flights struct {
	cache   *cache
	resolve func(context.Context, question) *answer
	// panicked is told of a fault of ours in the look-up of a name.
	panicked func(name string, fault any)

	mu    sync.Mutex
	calls map[question]*call
}

// call is one look-up under way.
type call struct {
	done    chan struct{} // closed when answer is set
	answer  *answer
	cancel  context.CancelFunc
	waiters int // when the last one leaves, the look-up is cancelled
}

// pending is an answer that is there, or one to be waited for. Every pending has
// to be waited for, once.
type pending struct {
	q      question
	answer *answer
	call   *call
}

func newFlights(c *cache, resolve func(context.Context, question) *answer, panicked func(string, any)) *flights {
	return &flights{cache: c, resolve: resolve, panicked: panicked, calls: make(map[question]*call)}
}

// begin takes the answer from the cache, joins the look-up that is under way,
// or starts one. It does not block.
func (f *flights) begin(q question) pending {
	f.mu.Lock()
	defer f.mu.Unlock()
	// Within the lock, as an answer is remembered before its call is forgotten:
	// there is no moment at which neither is found.
	if a := f.cache.get(q); a != nil {
		return pending{q: q, answer: a}
	}
	c, ok := f.calls[q]
	if !ok {
		// The look-up belongs to all who wait, so it must not end with the first.
		ctx, cancel := context.WithCancel(context.Background())
		c = &call{done: make(chan struct{}), cancel: cancel}
		f.calls[q] = c
		go f.run(ctx, q, c)
	}
	c.waiters++
	return pending{q: q, call: c}
}

// run looks up q for those who wait. A fault of ours, which a reply may have led
// to, is a look-up that failed.
func (f *flights) run(ctx context.Context, q question, c *call) {
	a := f.safely(ctx, q)
	f.mu.Lock()
	defer f.mu.Unlock()
	// A look-up that everybody left says nothing about the name.
	if f.calls[q] == c {
		f.cache.put(q, a)
		delete(f.calls, q)
	}
	c.answer = a
	close(c.done)
	c.cancel()
}

// errFault: what went wrong is in the log, and no business of a sender.
var errFault = errors.New("a fault of the program")

func (f *flights) safely(ctx context.Context, q question) (a *answer) {
	defer func() {
		if fault := recover(); fault != nil {
			f.panicked(q.name, fault)
			a = failure(q, Temporary, errFault)
		}
	}()
	return f.resolve(ctx, q)
}

// wait returns the answer, or a temporary failure when ctx ends first.
func (f *flights) wait(ctx context.Context, p pending) *answer {
	if p.call == nil {
		return p.answer
	}
	select {
	case <-p.call.done:
		return p.call.answer
	case <-ctx.Done():
		f.leave(p)
		return &answer{err: newError(Temporary, p.q.name, p.q.typeName(), context.Cause(ctx))}
	}
}

// leave counts one waiter less. The last one takes the call out of the list
// before it is cancelled, so that nobody joins a look-up that is bound to fail.
func (f *flights) leave(p pending) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p.call.waiters--
	if p.call.waiters > 0 {
		return
	}
	if f.calls[p.q] == p.call {
		delete(f.calls, p.q)
	}
	p.call.cancel()
}
