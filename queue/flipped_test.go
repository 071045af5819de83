package queue

import (
	"os"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// flipKey changes a bit in the key under which a record stands in the index of a
// queue, which it closes.
func flipKey(t *testing.T, q *Queue, bucket, key []byte, octet int, bit byte) {
	t.Helper()
	spoilIndex(t, q, func(tx *bolt.Tx) error {
		b := tx.Bucket(bucket)
		record := append([]byte(nil), b.Get(key)...)
		other := append([]byte(nil), key...)
		other[octet] ^= bit
		if err := b.Delete(key); err != nil {
			return err
		}
		return b.Put(other, record)
	})
}

// TestStartKeepsADamagedMessage: the content of an old message whose envelope cannot
// be found is no orphan. A start leaves it to the repair.
func TestStartKeepsADamagedMessage(t *testing.T) {
	q := open(t, &world{}, nil)
	content := strings.Repeat("0123456789\r\n", inlineLimit/10)
	id := enqueue(t, q, "s@a.test", content, "r@b.test")
	flipKey(t, q, bucketMessage, id.key(), 7, 1)
	old := time.Now().Add(-orphanAge - time.Hour)
	if err := os.Chtimes(q.contentFile(id), old, old); err != nil {
		t.Fatal(err)
	}
	dir := q.dir
	if err := open(t, &world{}, func(o *Options) { o.Dir = dir }).Close(); err != nil {
		t.Fatal(err)
	}
	if r, err := RepairDir(t.Context(), dir, func(Damage) {}); err != nil || r.Messages != 1 {
		t.Fatalf("repaired to %+v, %v", r, err)
	}
	q = open(t, &world{}, func(o *Options) { o.Dir = dir })
	if readAll(t, q, id) != content {
		t.Error("its content is another one")
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
}

// TestStartAfterADamagedKey: a key that a bit makes one of a time to come does not
// have all that come after it be of that time.
func TestStartAfterADamagedKey(t *testing.T) {
	q := open(t, &world{}, nil)
	id := enqueue(t, q, "s@a.test", "x\r\n", "r@b.test")
	flipKey(t, q, bucketDelivery, deliveryKey{id, 0}.bytes(), 0, 0x10)
	q = open(t, &world{}, func(o *Options) { o.Dir = q.dir })
	d := q.NewDraft()
	if ahead := time.Until(d.ID().Arrived()); ahead > time.Hour {
		t.Errorf("the next message is of a time %v from now", ahead)
	}
	d.Discard()
	if err := q.Close(); err != nil {
		t.Error(err)
	}
}
