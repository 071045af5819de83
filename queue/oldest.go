package queue

// oldest returns the oldest message, 0 when there is none, or when that cannot be
// told. What it looks at does not depend on how many there are: it passes by each
// message that has left once or twice, and remembers that.
func (s *store) oldest() (oldest ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := &view{store: s}
	// What is wrong with the index ends the process, and who watches Failed says
	// it. A queue that is being closed has no oldest message.
	_ = s.guard(func() error {
		defer v.end()
		oldest = v.oldestStored()
		return v.err
	})
	for _, o := range []*overlay{s.active, s.frozen} {
		if o == nil {
			continue
		}
		// Until a checkpoint is done what came before it may leave by the next one.
		for len(o.fresh) > 0 && (o.rows[o.fresh[0]] == nil || v.gone(o.fresh[0])) {
			o.fresh = o.fresh[1:]
		}
		if len(o.fresh) > 0 && (oldest == 0 || o.fresh[0] < oldest) {
			oldest = o.fresh[0]
		}
	}
	return oldest
}

// oldestStored returns the oldest message in the index that has not left.
func (v *view) oldestStored() ID {
	tx := v.index()
	if tx == nil {
		return 0
	}
	c := tx.Bucket(bucketDelivery).Cursor()
	id := nextStored(c, v.store.passed)
	for id != 0 && v.gone(id) {
		v.store.passed = id + 1
		id = nextStored(c, v.store.passed)
	}
	return id
}
