package queue

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// The bucket meta says how all the rest is to be read. Its values, and those of
// the small buckets, end in a CRC-32C of the key and of what is before it:
// neither a key nor a value that is damaged is believed. Only the version stands
// there a second time without one, for older programs.
var (
	keyFormat   = []byte("format")   // the version, 4 octets
	keyVersion  = []byte("version")  // the same, with its checksum
	keyApplied  = []byte("applied")  // the last segment of the journal that is in here
	keyBegun    = []byte("begun")    // a segment of the journal that there was, and how long its file was
	keyIdentity = []byte("identity") // what tells this queue from every other
)

// formatSealed is the version since which values have the key in their checksum.
const formatSealed = 4

// seal puts the checksum of a key and its value behind the value.
func seal(key, value []byte) []byte {
	return binary.BigEndian.AppendUint32(bytes.Clone(value), checksumOf(key, value))
}

// unseal returns the value without its checksum, if that is right. Version 0 is
// one that nobody knows.
func unseal(version uint32, key, b []byte) (value []byte, ok bool) {
	if len(b) < 4 {
		return nil, false
	}
	value = b[:len(b)-4]
	sum := binary.BigEndian.Uint32(b[len(value):])
	withKey := (version == 0 || version >= formatSealed) && checksumOf(key, value) == sum
	return value, withKey || version < formatSealed && checksum(value) == sum
}

// indexMeta is what the bucket meta says.
type indexMeta struct {
	version      uint32 // 0 when nobody knows
	applied      uint64
	appliedKnown bool
	begun        begunSegment
	identity     identity // zero when it has none yet
}

// begunSegment is a segment of the journal that there was, and how many octets
// its file had at least.
type begunSegment struct {
	number uint64
	length int64
}

// metaFault is what is wrong with one element of the bucket.
type metaFault struct {
	raw []byte
	err error
}

// readMeta reads the elements of the bucket, and says what is wrong with them.
// The error is ErrFormat.
func readMeta(values map[string][]byte) (m indexMeta, faults []metaFault, err error) {
	wrong := func(key []byte) {
		faults = append(faults, metaFault{values[string(key)], fmt.Errorf("%q in the bucket meta is %w", key, ErrDamaged)})
	}
	m.version, err = indexVersion(values)
	if damaged := errors.Is(err, ErrDamaged); damaged {
		wrong(keyVersion)
		m.version, err = formatVersion, nil // the key was made in that version
	} else if err != nil {
		return m, nil, err
	}
	value := func(key []byte, length int) []byte {
		b, there := values[string(key)]
		ok := len(b) == length
		if m.version >= formatSealed {
			b, ok = unseal(m.version, key, b)
		} else if !there {
			return nil
		}
		if !ok || len(b) != length {
			wrong(key)
			return nil
		}
		return b
	}
	if b := value(keyApplied, 8); b != nil {
		m.applied, m.appliedKnown = binary.BigEndian.Uint64(b), true
	}
	if m.version < formatSealed {
		if b := value(keyBegun, 8); b != nil {
			m.begun.number = binary.BigEndian.Uint64(b)
		}
	} else if b := value(keyBegun, 16); b != nil {
		m.begun = begunSegment{binary.BigEndian.Uint64(b), int64(binary.BigEndian.Uint64(b[8:]))}
	}
	if values[string(keyIdentity)] != nil { // it is made later than the rest
		copy(m.identity[:], value(keyIdentity, len(m.identity)))
	}
	for key := range values {
		switch key {
		case string(keyFormat), string(keyVersion), string(keyApplied), string(keyBegun), string(keyIdentity):
		default:
			wrong([]byte(key))
		}
	}
	return m, faults, nil
}

// indexVersion returns the version of an index, one that this program reads. It
// is ErrDamaged when the two places that name it do not agree.
func indexVersion(values map[string][]byte) (uint32, error) {
	format, sealed := values[string(keyFormat)], values[string(keyVersion)]
	if sealed != nil {
		value, ok := unseal(formatSealed, keyVersion, sealed)
		if !ok || len(value) != 4 || !bytes.Equal(value, format) {
			return 0, ErrDamaged
		}
	}
	if len(format) != 4 {
		return 0, fmt.Errorf("%w: no version", ErrFormat)
	}
	version := binary.BigEndian.Uint32(format)
	switch {
	case version > formatVersion:
		return 0, fmt.Errorf("%w: version %d, written by a newer waypost; this one reads versions up to %d", ErrFormat, version, formatVersion)
	case version == 0:
		return 0, fmt.Errorf("%w: version 0", ErrFormat)
	case version >= formatSealed && sealed == nil:
		return 0, ErrDamaged
	}
	return version, nil
}

// loadMeta reads the bucket of an open index, which must be that of a queue.
// The error names what is damaged.
func loadMeta(db *bolt.DB) (m indexMeta, err error) {
	err = db.View(func(tx *bolt.Tx) error {
		m, err = metaOf(tx)
		return err
	})
	return m, err
}

func metaOf(tx *bolt.Tx) (m indexMeta, err error) {
	meta := tx.Bucket(bucketMeta)
	if meta == nil || tx.Bucket(bucketMessage) == nil || tx.Bucket(bucketDelivery) == nil {
		return m, fmt.Errorf("%w: it is not a waypost queue", ErrFormat)
	}
	values := map[string][]byte{}
	err = meta.ForEach(func(key, value []byte) error {
		values[string(key)] = value
		return nil
	})
	if err != nil {
		return m, err
	}
	m, faults, err := readMeta(values)
	if err == nil && len(faults) > 0 {
		err = faults[0].err
	}
	return m, err
}

// putMeta writes one value.
func putMeta(tx *bolt.Tx, key, value []byte) error {
	return tx.Bucket(bucketMeta).Put(key, seal(key, value))
}

func putApplied(tx *bolt.Tx, segment uint64) error {
	return putMeta(tx, keyApplied, binary.BigEndian.AppendUint64(nil, segment))
}

func putBegun(tx *bolt.Tx, s begunSegment) error {
	b := binary.BigEndian.AppendUint64(nil, s.number)
	return putMeta(tx, keyBegun, binary.BigEndian.AppendUint64(b, uint64(s.length)))
}

// putVersion makes an index one of this version.
func putVersion(tx *bolt.Tx) error {
	version := binary.BigEndian.AppendUint32(nil, formatVersion)
	return errors.Join(tx.Bucket(bucketMeta).Put(keyFormat, version), putMeta(tx, keyVersion, version))
}

// upgrade makes an older index one of this version in one step, before anything
// is written that only this version understands. What is damaged is not made to
// look as if it were not.
func upgrade(db *bolt.DB, m indexMeta) error {
	if m.version == formatVersion {
		return nil
	}
	err := db.Update(func(tx *bolt.Tx) error {
		if _, err := tx.CreateBucketIfNotExists(bucketAttempt); err != nil {
			return err
		}
		for _, name := range [][]byte{bucketTotals, bucketHold, bucketImported} {
			if err := reseal(tx.Bucket(name), m.version); err != nil {
				return err
			}
		}
		if m.identity != (identity{}) {
			if err := putMeta(tx, keyIdentity, m.identity[:]); err != nil {
				return err
			}
		}
		return errors.Join(putApplied(tx, m.applied), putBegun(tx, m.begun), putVersion(tx))
	})
	if err != nil {
		return fmt.Errorf("%w: upgrade to version %d: %w", ErrStore, formatVersion, err)
	}
	return nil
}

// reseal writes the checksums of a small bucket as they are now.
func reseal(b *bolt.Bucket, version uint32) error {
	if b == nil {
		return nil
	}
	sealed := map[string][]byte{}
	err := b.ForEach(func(key, old []byte) error {
		if value, ok := unseal(version, key, old); ok {
			sealed[string(key)] = seal(key, value)
		}
		return nil
	})
	for key, value := range sealed {
		err = errors.Join(err, b.Put([]byte(key), value))
	}
	return err
}
