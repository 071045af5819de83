package queue

import "time"

// batch is what operations change, and what they see: each sees the changes of
// those before it. The committer holds the lock while an operation runs.
type batch struct {
	view
	changes []byte
	counted []classTally
	// checkpoint, when it is not empty, asks for one behind this batch, and is
	// called at its end.
	checkpoint []func(*store)
}

// run runs one operation of a batch.
func (b *batch) run(apply func(*batch) error) error {
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	defer b.end()
	return apply(b)
}

func (b *batch) insert(id ID, message []byte, deliveries []deliveryRow) {
	b.store.active.insert(id, message, deliveries)
	b.changes = appendInsert(b.changes, id, message, deliveries)
}

func (b *batch) put(k deliveryKey, record []byte) {
	b.store.active.put(k, record)
	b.changes = appendPut(b.changes, k, record)
}

func (b *batch) attempt(id ID, a attemptRow) {
	b.store.active.attempt(id, a)
	b.changes = appendAttempt(b.changes, id, a)
}

// leave removes a message that is done with, and keeps its story where there is
// a history.
func (b *batch) leave(m *Message, keys []uint64, deliveries []deliveryRow, attempts []attemptRow) {
	if !b.store.history.on() {
		b.store.history.missed()
		b.remove(m.ID)
		return
	}
	s := story{keys, encodeStory(m.ID, time.Now(), encodeHead(m), deliveries, attempts)}
	b.store.active.leave(m.ID, s)
	b.changes = appendLeave(b.changes, m.ID, s)
}

func (b *batch) remove(id ID) {
	b.store.active.remove(id)
	b.changes = appendRemove(b.changes, id)
}
