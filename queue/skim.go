package queue

// skim reads one message after the other into the same place.
type skim struct {
	entry      Entry
	deliveries []*Delivery // as many as a message has had
}

// read reads what the records of its deliveries know of a message, and the envelope if
// that is wanted. The next call overwrites what is returned, but for its texts.
func (s *skim) read(v *view, id ID, rows []deliveryRow, whole bool) (*Entry, error) {
	s.entry = Entry{ID: id, Deliveries: s.entry.Deliveries[:0]}
	if len(rows) == 0 {
		return nil, ErrUnknown
	}
	for i, row := range rows {
		if i == len(s.deliveries) {
			s.deliveries = append(s.deliveries, &Delivery{})
		}
		d := s.deliveries[i]
		r := decoder{b: row.record, text: string(row.record)}
		if err := r.delivery(deliveryKey{id, row.index}, d); err != nil {
			return nil, err
		}
		s.entry.Deliveries = append(s.entry.Deliveries, d)
	}
	if !whole {
		d := s.deliveries[0]
		s.entry.Arrival, s.entry.Size, s.entry.Class = id.Arrived(), d.Size, d.Class
		return &s.entry, nil
	}
	record, _ := v.message(id)
	if record == nil {
		return nil, ErrUnknown
	}
	m, err := decodeMessage(id, record)
	if err == nil {
		s.entry.Envelope = m.Envelope
	}
	return &s.entry, err
}
