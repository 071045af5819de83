package pace

import "time"

// slots is into how many parts the time of a rate is cut.
const slots = 60

// meter counts what is sent within a time. What was counted in a part of that
// time stays counted until the whole of it is over, so that no more than the rate
// says is ever sent within its time, wherever that begins.
type meter struct {
	rate   Rate
	counts [slots + 1]int64 // by part, in turn
	part   int64            // the present one, counted from the beginning of time
	sum    int64
}

// width is how long a part is, so that all parts but one are never less than the
// whole time.
func (m *meter) width() time.Duration { return (m.rate.Per + slots - 1) / slots }

// slide forgets the parts that are over.
func (m *meter) slide(now time.Time) {
	part := now.UnixNano() / int64(m.width())
	for gone := min(part-m.part, int64(len(m.counts))); gone > 0; gone-- {
		at := (part - gone + 1) % int64(len(m.counts))
		m.sum -= m.counts[at]
		m.counts[at] = 0
	}
	m.part = max(part, m.part)
}

// room returns how much may still be sent, and when there is more.
func (m *meter) room(now time.Time) (left int64, more time.Time) {
	m.slide(now)
	if left = m.rate.Max - m.sum; left > 0 {
		return left, now
	}
	// Less than nothing is left where a message had many recipients: then several
	// parts must be over.
	free := left
	for i := range int64(len(m.counts)) {
		part := m.part - slots + i
		if free += m.counts[(part+int64(len(m.counts)))%int64(len(m.counts))]; free > 0 {
			return left, time.Unix(0, (part+slots+1)*int64(m.width()))
		}
	}
	return left, now.Add(m.rate.Per)
}

// add counts n more, and returns the part in which it stands.
func (m *meter) add(now time.Time, n int64) (part int64) {
	m.slide(now)
	m.counts[m.part%int64(len(m.counts))] += n
	m.sum += n
	return m.part
}

// remove takes back what was counted in a part.
func (m *meter) remove(part, n int64) {
	if m.part-part < int64(len(m.counts)) {
		m.counts[part%int64(len(m.counts))] -= n
		m.sum -= n
	}
}
