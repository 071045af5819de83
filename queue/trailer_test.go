package queue

import (
	"errors"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
)

// A content file says whose it is, and who reads the content does not see that.
func TestTrailer(t *testing.T) {
	q := open(t, &world{}, nil)
	defer q.Close()
	content := strings.Repeat("0123456789\r\n", inlineLimit/10)
	id := enqueue(t, q, "s@a.test", content, "r@b.test", "q@c.test")
	want, err := q.Show(id)
	if err != nil {
		t.Fatal(err)
	}
	same := func() {
		t.Helper()
		r, err := q.Content(id)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if got, err := io.ReadAll(r); err != nil || string(got) != content {
			t.Errorf("the content came back as %d octets (%v), was %d", len(got), err, len(content))
		}
	}
	same()

	f, err := os.OpenFile(q.contentFile(id), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	row, got, size, err := readTrailer(f)
	if err != nil || got != id || size != int64(len(content)) {
		t.Fatalf("the trailer tells of %s, %d octets (%v); want %s, %d", got, size, err, id, len(content))
	}
	m, err := decodeMessage(id, row.message)
	if err != nil || !reflect.DeepEqual(m.Envelope, want.Envelope) {
		t.Errorf("the envelope is %+v (%v), want %+v", m, err, want.Envelope)
	}
	for i, d := range row.deliveries {
		if back, err := decodeDelivery(deliveryKey{id, d.index}, d.record); err != nil || !reflect.DeepEqual(back, want.Deliveries[i]) {
			t.Errorf("delivery %d is %+v (%v), want %+v", i, back, err, want.Deliveries[i])
		}
	}
	if len(row.deliveries) != len(want.Deliveries) {
		t.Errorf("%d deliveries, want %d", len(row.deliveries), len(want.Deliveries))
	}

	whole, err := os.ReadFile(q.contentFile(id))
	if err != nil {
		t.Fatal(err)
	}
	for at := size; at < int64(len(whole)); at++ {
		if _, err := f.WriteAt([]byte{whole[at] ^ 0x10}, at); err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := readTrailer(f); err == nil {
			t.Errorf("octet %d of the trailer was changed, and nobody noticed", at-size)
		}
		if _, err := f.WriteAt(whole[at:at+1], at); err != nil {
			t.Fatal(err)
		}
	}

	// Files of older programs end with the content.
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	same()
	if _, _, _, err := readTrailer(f); !errors.Is(err, errNoTrailer) {
		t.Errorf("without a trailer: %v", err)
	}
	// And one that was cut short is damaged.
	if err := f.Truncate(size - 1); err != nil {
		t.Fatal(err)
	}
	r, err := q.Content(id)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.ReadAll(r); !errors.Is(err, ErrDamaged) {
		t.Errorf("a content that was cut short: %v", err)
	}
}
