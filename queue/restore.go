package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// trailers completes messages by what their content files say: those of which
// something is damaged, and all when messages may be missing.
func (r *repair) trailers() error {
	entries, err := readDirectory(filepath.Join(r.dir, contentName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		id, err := ParseID(e.Name())
		if err != nil || !r.broken && !r.known[id].damaged || r.leftByJournal(id) {
			continue
		}
		if err := r.trailer(id); err != nil {
			return err
		}
	}
	return r.ctx.Err()
}

// leftByJournal reports whether the journal says that a message has left.
func (r *repair) leftByJournal(id ID) bool {
	return slices.ContainsFunc(r.layers, func(o *overlay) bool { return o.rows[id] != nil && o.rows[id].gone })
}

func (r *repair) trailer(id ID) error {
	f, err := openRegular(filepath.Join(r.dir, contentPath(id)), os.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	row, owner, _, err := readTrailer(f)
	if err != nil || owner != id || !goodRecord(id.key(), row.message) {
		return nil // it was said, or it is one that a crash left behind
	}
	if r.tx.Bucket(bucketMessage).Get(id.key()) == nil {
		r.outside[id] = true
		if err := r.put(id.key(), row.message); err != nil {
			return err
		}
	}
	there, present := r.deliveries(id)
	missing := slices.DeleteFunc(row.deliveries, func(d deliveryRow) bool { return there[d.index] })
	for _, d := range missing {
		if err := r.restoreDelivery(deliveryKey{id, d.index}, d.record, present); err != nil {
			return err
		}
	}
	return nil
}

// deliveries returns what is there of a message: the deliveries, and the
// recipients in them.
func (r *repair) deliveries(id ID) (there map[uint16]bool, present map[string]bool) {
	there, present = map[uint16]bool{}, map[string]bool{}
	c := r.tx.Bucket(bucketDelivery).Cursor()
	for key, record := c.Seek(id.key()); key != nil; key, record = c.Next() {
		k, ok := parseDeliveryKey(key)
		if !ok || k.id != id {
			break
		}
		there[k.index] = true
		if d, err := decodeDelivery(k, record); err == nil {
			for i := range d.Recipients {
				present[d.Recipients[i].Path.String()] = true
			}
		}
	}
	return there, present
}

// restoreDelivery writes a delivery as it was at first, without the recipients
// that are in another one by now.
func (r *repair) restoreDelivery(key deliveryKey, record []byte, present map[string]bool) error {
	d, err := decodeDelivery(key, record)
	if err != nil {
		return nil
	}
	d.Recipients = slices.DeleteFunc(d.Recipients, func(r Recipient) bool { return present[r.Path.String()] })
	if len(d.Recipients) == 0 {
		return nil
	}
	r.outside[key.id] = true
	return r.put(key.bytes(), encodeDelivery(d))
}

// whole takes out what does not make a whole message, and sets it aside.
func (r *repair) whole() error {
	ids := map[ID]bool{}
	for _, name := range [][]byte{bucketMessage, bucketDelivery, bucketAttempt} {
		c := r.tx.Bucket(name).Cursor()
		for key, _ := c.First(); key != nil; key, _ = c.Next() {
			ids[ID(binary.BigEndian.Uint64(key))] = true
		}
	}
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		reason, err := r.unfit(id)
		if err != nil {
			return err
		}
		if reason == "" {
			r.Repair.Messages++
			if r.outside[id] {
				r.Recovered = append(r.Recovered, id)
			}
			continue
		}
		if err := r.setAside(id, reason); err != nil {
			return err
		}
	}
	return r.ctx.Err()
}

// unfit says why a message cannot be kept; empty when it can.
func (r *repair) unfit(id ID) (string, error) {
	record := r.tx.Bucket(bucketMessage).Get(id.key())
	if record == nil {
		return "its envelope is missing", nil
	}
	m, err := decodeMessage(id, record)
	if err != nil {
		return err.Error(), nil
	}
	if key, _ := r.tx.Bucket(bucketDelivery).Cursor().Seek(id.key()); len(key) < 8 || ID(binary.BigEndian.Uint64(key)) != id {
		return "its recipients are missing", nil
	}
	if !m.file {
		return "", nil
	}
	probe := newInspection(r.ctx, r.dir, func(Damage) {})
	err = probe.content(id, known{size: m.Size, sum: m.sum})
	if errors.Is(err, fs.ErrNotExist) {
		return "the file of its content is missing", nil
	}
	if probe.known[id].damaged {
		return "its content is damaged", nil
	}
	return "", err
}

// setAside takes a message out of the new index and keeps what there is of it.
func (r *repair) setAside(id ID, reason string) error {
	known := false
	for _, name := range [][]byte{bucketMessage, bucketDelivery, bucketAttempt} {
		c := r.tx.Bucket(name).Cursor()
		for key, value := c.Seek(id.key()); len(key) >= 8 && ID(binary.BigEndian.Uint64(key)) == id; key, value = c.Next() {
			known = known || string(name) != string(bucketAttempt)
			r.aside.record(asideHead{ID: id.String(), Bucket: string(name), Key: fmt.Sprintf("%x", key), Reason: reason}, value)
		}
	}
	if known {
		r.SetAside = append(r.SetAside, id)
	}
	return removeFromIndex(r.tx, id)
}
