package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"waypost/relay/smtp"
)

// Records in the index. Numbers are unsigned varints, strings have their
// length in front, and every record ends in the CRC-32C of what is before it
// and of the key that it stands under:
//
//	message    flags reverse-path envid ret arrival size client sum(content) [fields] crc [content]
//	delivery   flags destination size attempts next n recipient… [fields] crc
//	recipient  path notify state orcpt last-attempt [result]
//	result     state flags code enhanced n line… reason status host [fields]
//
// The flags octet comes first, so that a scan need not decode the rest. Its
// flagFields says that fields follow (see fields.go), and its flagKeyed that the
// key is in the checksum; in records of programs before version 5 it is not.

// ErrDamaged means that a record or a content does not match its checksum.
var ErrDamaged = errors.New("damaged")

const (
	flagUTF8 = 1 << iota
	flagEightBit
	flagFile   // the content is a file of its own
	flagKeyed  = 1 << 6
	flagFields = 1 << 7

	messageFlags = flagUTF8 | flagEightBit | flagFile | flagKeyed | flagFields
)

const (
	flagHeld = 1 << iota
	flagWarned
	flagDone // no recipient is open

	deliveryFlags = flagHeld | flagWarned | flagDone | flagKeyed | flagFields
)

const (
	flagReported = 1 << iota
	flagRelayed

	resultFlags = flagReported | flagRelayed | flagFields
)

func checksum(b []byte) uint32 { return checksumOf(b) }

func checksumOf(parts ...[]byte) (sum uint32) {
	for _, b := range parts {
		sum = crc32.Update(sum, crc32.MakeTable(crc32.Castagnoli), b)
	}
	return sum
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendPath(b []byte, p smtp.Path) []byte {
	return appendString(appendString(b, p.Local), p.Domain)
}

// appendTime keeps milliseconds; the zero time is 0.
func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, 0)
	}
	return binary.AppendUvarint(b, uint64(max(t.UnixMilli(), 1)))
}

func appendSum(b []byte) []byte { return binary.BigEndian.AppendUint32(b, checksum(b)) }

// appendKeyedSum ends a record that has flagKeyed.
func appendKeyedSum(b, key []byte) []byte {
	return binary.BigEndian.AppendUint32(b, checksumOf(b, key))
}

func bit(on bool, flag byte) byte {
	if on {
		return flag
	}
	return 0
}

func encodeMessage(m *Message) []byte {
	b := make([]byte, 0, 256+len(m.inline))
	f := messageFields(m)
	b = append(b, bit(m.UTF8, flagUTF8)|bit(m.EightBit, flagEightBit)|bit(m.file, flagFile)|flagKeyed|f.flag())
	b = appendPath(b, m.ReversePath)
	b = appendString(b, m.EnvelopeID)
	b = appendString(b, m.Return)
	b = appendTime(b, m.Arrival)
	b = binary.AppendUvarint(b, uint64(m.Size))
	b = appendString(b, m.Client)
	b = binary.BigEndian.AppendUint32(b, m.sum)
	b = f.appendTo(b)
	return append(appendKeyedSum(b, m.ID.key()), m.inline...)
}

// decodeMessage does not copy the content: m.inline is a part of b.
func decodeMessage(id ID, b []byte) (*Message, error) {
	d := decoder{b: b}
	flags := d.flags(messageFlags)
	m := &Message{ID: id, file: flags&flagFile != 0}
	m.UTF8, m.EightBit = flags&flagUTF8 != 0, flags&flagEightBit != 0
	m.ReversePath = d.path()
	m.EnvelopeID, m.Return = d.string(), d.string()
	m.Arrival = d.time()
	m.Size = int64(d.number())
	m.Client = d.string()
	m.sum = d.sum()
	d.fields(flags, m.setField)
	d.checkKeyed(flags, id.key())
	if err := d.err(); err != nil {
		return nil, fmt.Errorf("message %s: record is %w", id, err)
	}
	if !m.file {
		m.inline = b[d.at:]
	}
	return m, nil
}

func encodeDelivery(d *Delivery) []byte {
	b := make([]byte, 0, 64+64*len(d.Recipients))
	f := deliveryFields(d)
	b = append(b, bit(d.Held, flagHeld)|bit(d.Warned, flagWarned)|bit(d.Open() == 0, flagDone)|flagKeyed|f.flag())
	b = appendString(b, d.Destination)
	b = binary.AppendUvarint(b, uint64(d.Size))
	b = binary.AppendUvarint(b, uint64(d.Attempts))
	b = appendTime(b, d.Next)
	b = binary.AppendUvarint(b, uint64(len(d.Recipients)))
	for i := range d.Recipients {
		b = appendRecipient(b, &d.Recipients[i])
	}
	return appendKeyedSum(f.appendTo(b), d.key().bytes())
}

// recordSum returns the checksum that a delivery's record ends in.
func recordSum(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b[len(b)-4:])
}

func appendRecipient(b []byte, r *Recipient) []byte {
	b = appendPath(b, r.Path)
	b = append(b, byte(r.Notify), byte(r.State))
	b = appendString(b, r.OriginalRecipient)
	b = appendTime(b, r.LastAttempt)
	if r.LastAttempt.IsZero() {
		return b
	}
	return appendResult(b, &r.Last)
}

func appendResult(b []byte, r *Result) []byte {
	f := resultFields(r)
	b = append(b, byte(r.State), bit(r.Reported, flagReported)|bit(r.Relayed, flagRelayed)|f.flag())
	b = binary.AppendUvarint(b, uint64(r.Reply.Code))
	b = appendEnhanced(b, r.Reply.Enhanced)
	b = binary.AppendUvarint(b, uint64(len(r.Reply.Lines)))
	for _, line := range r.Reply.Lines {
		b = appendString(b, line)
	}
	b = appendString(b, r.Reason)
	b = appendEnhanced(b, r.Status)
	b = appendString(b, r.Host)
	return f.appendTo(b)
}

func appendEnhanced(b []byte, e smtp.EnhancedCode) []byte {
	for _, n := range e {
		b = binary.AppendUvarint(b, uint64(n))
	}
	return b
}

func decodeDelivery(k deliveryKey, b []byte) (*Delivery, error) {
	r, d := decoder{b: b}, &Delivery{}
	if err := r.delivery(k, d); err != nil {
		return nil, err
	}
	return d, nil
}

// delivery reads a whole record into d, whatever was there before: of that it uses the
// memory again.
func (r *decoder) delivery(k deliveryKey, d *Delivery) error {
	flags := r.flags(deliveryFlags)
	*d = Delivery{ID: k.id, Index: k.index, Held: flags&flagHeld != 0, Warned: flags&flagWarned != 0, Recipients: d.Recipients[:0]}
	d.Destination = r.string()
	d.Size = int64(r.number())
	d.Attempts = int(r.number())
	d.Next = r.time()
	n := r.number()
	if n > uint64(len(r.b)) { // each recipient takes more than an octet
		r.bad = true
	}
	for range n {
		if r.bad {
			break
		}
		if n := len(d.Recipients); n < cap(d.Recipients) {
			d.Recipients = d.Recipients[:n+1]
		} else {
			d.Recipients = append(d.Recipients, Recipient{})
		}
		r.recipient(&d.Recipients[len(d.Recipients)-1])
	}
	if flags&flagFields != 0 {
		r.fields(flags, d.setField)
	}
	key := k.array()
	r.checkKeyed(flags, key[:])
	d.sum = recordSum(r.b)
	if err := r.err(); err != nil {
		return fmt.Errorf("message %s: record of delivery %d is %w", k.id, k.index, err)
	}
	return nil
}

// decoder reads a record; after the first fault everything reads as zero.
type decoder struct {
	b     []byte
	text  string // what b has; where it is set, strings are parts of it and take no memory
	at    int
	bad   bool
	newer string // what a newer program wrote and this one does not know
}

func (d *decoder) take(n uint64) []byte {
	if d.bad || n > uint64(len(d.b)-d.at) {
		d.bad = true
		return nil
	}
	b := d.b[d.at : d.at+int(n)]
	d.at += int(n)
	return b
}

func (d *decoder) octet() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) number() uint64 {
	n, size := binary.Uvarint(d.b[d.at:])
	if size <= 0 {
		d.bad = true
	}
	d.take(uint64(max(size, 0)))
	return n
}

func (d *decoder) signed() int64 {
	n, size := binary.Varint(d.b[d.at:])
	if size <= 0 {
		d.bad = true
	}
	d.take(uint64(max(size, 0)))
	return n
}

func (d *decoder) string() string {
	b := d.take(d.number())
	if d.text != "" {
		return d.text[d.at-len(b) : d.at]
	}
	return string(b)
}

func (d *decoder) path() smtp.Path { return smtp.Path{Local: d.string(), Domain: d.string()} }

func (d *decoder) time() time.Time {
	ms := d.number()
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(ms))
}

func (d *decoder) enhanced() smtp.EnhancedCode {
	return smtp.EnhancedCode{int(d.number()), int(d.number()), int(d.number())}
}

// recipient reads one into r, whatever was there before.
func (d *decoder) recipient(r *Recipient) {
	lines := r.Last.Reply.Lines[:0]
	*r = Recipient{Path: d.path()}
	r.Notify, r.State = smtp.Notify(d.octet()), State(d.octet())
	r.OriginalRecipient = d.string()
	if r.LastAttempt = d.time(); !r.LastAttempt.IsZero() {
		r.Last.Reply.Lines = lines
		d.result(&r.Last)
	}
}

// result reads one into r, of which the lines are used again.
func (d *decoder) result(r *Result) {
	lines := r.Reply.Lines[:0]
	*r = Result{State: State(d.octet())}
	flags := d.flags(resultFlags)
	r.Reported, r.Relayed = flags&flagReported != 0, flags&flagRelayed != 0
	r.Reply = smtp.Reply{Code: int(d.number()), Enhanced: d.enhanced(), Lines: lines}
	for range min(d.number(), uint64(len(d.b))) {
		r.Reply.Lines = append(r.Reply.Lines, d.string())
	}
	r.Reason, r.Status, r.Host = d.string(), d.enhanced(), d.string()
	if flags&flagFields != 0 {
		d.fields(flags, r.setField)
	}
}

func (d *decoder) sum() uint32 {
	if b := d.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// flags reads an octet of flags.
func (d *decoder) flags(known byte) byte {
	flags := d.octet()
	if flags&^known != 0 && !d.bad {
		d.newer = fmt.Sprintf("flags %#x", flags&^known)
	}
	return flags
}

// err says what is wrong with a record that was read to its end. What does
// not match its checksum is damaged, whatever stands in it.
func (d *decoder) err() error {
	switch {
	case d.bad:
		return ErrDamaged
	case d.newer != "":
		return newerError(d.newer)
	}
	return nil
}

// newerError tells what a newer program wrote. It is ErrFormat, and ErrDamaged
// too: the record is set aside in the same way.
type newerError string

func (e newerError) Error() string { return "of an " + ErrFormat.Error() + ": it has " + string(e) }

func (e newerError) Is(target error) bool { return target == ErrFormat || target == ErrDamaged }

// check compares the record so far with the checksum that follows.
func (d *decoder) check() { d.checkKeyed(0, nil) }

// checkKeyed is check for a record under a key, which counts if the record's
// flags say so.
func (d *decoder) checkKeyed(flags byte, key []byte) {
	so := d.at
	if flags&flagKeyed == 0 {
		key = nil
	}
	if want := d.sum(); d.bad || checksumOf(d.b[:so], key) != want {
		d.bad = true
	}
}
