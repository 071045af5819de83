package queue

import (
	"encoding/binary"
	"fmt"
	"time"
)

// A record may end in fields, which only the messages that have them pay for:
//
//	fields  length of all, then for each: tag, length, value
//
// A tag, once given, keeps its meaning. One that this program does not know
// was written by a newer one: the record is set aside and never read in part,
// since what is left out may be what matters.

// Tags of a message.
const (
	tagLogin = 1 + iota
	tagClass
	tagPriority
	tagMessageID
	tagRequireTLS
	tagBinary
	tagDeadline
	tagDeliverBy
	tagHoldUntil
	tagListener
	tagProtocol
	tagTLS
	tagReportOn
	tagClassRule
)

// Tags of a delivery.
const (
	tagDeliveryClass = 1 + iota
	tagDeliveryPriority
	tagDeliveryHoldUntil
	tagDeliveryNotices
	tagDeliveryDeadline
	tagDeliveryReturn
)

// Tags of a result.
const (
	tagResultTLS = 1 + iota
	tagResultDuration
)

// The octet of tagDeliverBy.
const (
	byReturn = 1 << iota
	byTrace
)

// fields are encoded fields.
type fields []byte

func (f fields) flag() byte { return bit(len(f) > 0, flagFields) }

func (f fields) appendTo(b []byte) []byte {
	if len(f) == 0 {
		return b
	}
	return appendBytes(b, f)
}

func (f *fields) add(tag uint64, value []byte) {
	*f = appendBytes(binary.AppendUvarint(*f, tag), value)
}

func (f *fields) string(tag uint64, s string) {
	if s != "" {
		*f = appendString(binary.AppendUvarint(*f, tag), s)
	}
}

func (f *fields) flagged(tag uint64, on bool) {
	if on {
		f.add(tag, nil)
	}
}

func (f *fields) octet(tag uint64, b byte) {
	if b != 0 {
		f.add(tag, []byte{b})
	}
}

func (f *fields) number(tag uint64, n int64) {
	if n > 0 {
		f.add(tag, binary.AppendUvarint(nil, uint64(n)))
	}
}

func (f *fields) time(tag uint64, t time.Time) {
	if !t.IsZero() {
		f.add(tag, appendTime(nil, t))
	}
}

func messageFields(m *Message) (f fields) {
	f.string(tagLogin, m.Login)
	f.string(tagClass, m.Class)
	f.string(tagClassRule, m.ClassRule)
	f.octet(tagPriority, byte(m.Priority))
	f.string(tagMessageID, m.MessageID)
	f.flagged(tagRequireTLS, m.RequireTLS)
	f.flagged(tagBinary, m.Binary)
	f.time(tagDeadline, m.DeliverBy.Deadline)
	f.octet(tagDeliverBy, bit(m.DeliverBy.Return, byReturn)|bit(m.DeliverBy.Trace, byTrace))
	f.time(tagHoldUntil, m.HoldUntil)
	f.string(tagListener, m.Listener)
	f.string(tagProtocol, m.Protocol)
	f.string(tagTLS, m.TLS)
	if m.ReportOn != 0 {
		f.add(tagReportOn, m.ReportOn.key())
	}
	return f
}

func (m *Message) setField(tag uint64, v *decoder) (known bool) {
	switch tag {
	case tagLogin:
		m.Login = v.rest()
	case tagClass:
		m.Class = v.rest()
	case tagClassRule:
		m.ClassRule = v.rest()
	case tagPriority:
		m.Priority = int8(v.octet())
	case tagMessageID:
		m.MessageID = v.rest()
	case tagRequireTLS:
		m.RequireTLS = true
	case tagBinary:
		m.Binary = true
	case tagDeadline:
		m.DeliverBy.Deadline = v.time()
	case tagDeliverBy:
		how := v.flags(byReturn | byTrace)
		m.DeliverBy.Return, m.DeliverBy.Trace = how&byReturn != 0, how&byTrace != 0
	case tagHoldUntil:
		m.HoldUntil = v.time()
	case tagListener:
		m.Listener = v.rest()
	case tagProtocol:
		m.Protocol = v.rest()
	case tagTLS:
		m.TLS = v.rest()
	case tagReportOn:
		m.ReportOn = v.id()
	default:
		return false
	}
	return true
}

func deliveryFields(d *Delivery) (f fields) {
	f.string(tagDeliveryClass, d.Class)
	f.octet(tagDeliveryPriority, byte(d.Priority))
	f.time(tagDeliveryHoldUntil, d.HoldUntil)
	f.number(tagDeliveryNotices, int64(d.Notices))
	f.time(tagDeliveryDeadline, d.Deadline)
	f.flagged(tagDeliveryReturn, d.Return)
	return f
}

func (d *Delivery) setField(tag uint64, v *decoder) (known bool) {
	switch tag {
	case tagDeliveryClass:
		d.Class = v.rest()
	case tagDeliveryPriority:
		d.Priority = int8(v.octet())
	case tagDeliveryHoldUntil:
		d.HoldUntil = v.time()
	case tagDeliveryNotices:
		d.Notices = int(v.number())
	case tagDeliveryDeadline:
		d.Deadline = v.time()
	case tagDeliveryReturn:
		d.Return = true
	default:
		return false
	}
	return true
}

func resultFields(r *Result) (f fields) {
	f.string(tagResultTLS, r.TLS)
	f.number(tagResultDuration, r.Duration.Milliseconds())
	return f
}

func (r *Result) setField(tag uint64, v *decoder) (known bool) {
	switch tag {
	case tagResultTLS:
		r.TLS = v.rest()
	case tagResultDuration:
		r.Duration = time.Duration(v.number()) * time.Millisecond
	default:
		return false
	}
	return true
}

// fields reads the fields of a record whose flags say that it has some. Each
// value must be used to its end.
func (d *decoder) fields(flags byte, set func(tag uint64, v *decoder) (known bool)) {
	if flags&flagFields == 0 {
		return
	}
	all := decoder{b: d.bytes()}
	for all.at < len(all.b) && !all.bad {
		tag := all.number()
		value := decoder{b: all.bytes()}
		switch known := set(tag, &value); {
		case all.bad:
		case !known:
			d.newer = fmt.Sprintf("a field %d", tag)
		case value.newer != "":
			d.newer = value.newer
		case value.bad || value.at < len(value.b):
			all.bad = true
		}
	}
	d.bad = d.bad || all.bad
}

// rest returns all that is left as a string.
func (d *decoder) rest() string { return string(d.take(uint64(len(d.b) - d.at))) }
