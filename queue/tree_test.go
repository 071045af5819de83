package queue

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// Small buckets are within the page that lists them, until there is too much for
// one page: then a branch leads to two. No start takes that for damage, and every
// bucket is found.
func TestManySmallBuckets(t *testing.T) {
	dir := t.TempDir()
	if err := open(t, &world{}, func(o *Options) { o.Dir = dir }).Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, indexName)
	db, err := bolt.Open(name, 0o600, boltOptions())
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	err = db.Update(func(tx *bolt.Tx) error {
		for i := range 6 {
			want = append(want, fmt.Sprintf("small %d", i))
			b, err := tx.CreateBucket([]byte(want[i]))
			if err == nil {
				err = b.Put([]byte("key"), make([]byte, 900))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	pages, err := openPages(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if root, err := pages.page(pages.meta.root); err != nil || root.kind != pageBranch {
		t.Fatalf("the root is of kind %d (%v), want a branch", root.kind, err)
	}
	w := treeWalk{file: pages, seen: newPageSet(pages.meta.pages)}
	if err := w.buckets(); err != nil {
		t.Fatal(err)
	}
	want = append(want, string(bucketMeta), string(bucketMessage), string(bucketDelivery), string(bucketAttempt))
	for _, name := range want {
		if !slices.Contains(w.names, name) {
			t.Errorf("bucket %q is not found among %q", name, w.names)
		}
	}
	if err := open(t, &world{}, func(o *Options) { o.Dir = dir }).Close(); err != nil {
		t.Error(err)
	}
}
