package queue

import (
	"reflect"
	"testing"
	"time"

	"waypost/relay/smtp"
)

func sampleDelivery() *Delivery {
	at := time.UnixMilli(1_700_000_000_123)
	return &Delivery{ID: 1 << 40, Index: 7, Destination: "b.test", Size: 5, Attempts: 3, Next: at, Held: true, Recipients: []Recipient{
		{Path: path("r@b.test"), Notify: smtp.NotifyDelay | smtp.NotifySuccess, OriginalRecipient: "rfc822;r", State: Deferred, LastAttempt: at,
			Last: Result{State: Deferred, Reply: smtp.Reply{Code: 451, Enhanced: smtp.EnhancedCode{4, 7, 1}, Lines: []string{"greylisted", ""}},
				Reason: "why", Status: smtp.EnhancedCode{4, 7, 1}, Host: "mx[127.0.0.1]:25", Reported: true}},
		{Path: path("q@b.test")},
	}}
}

func TestRecordsRoundTrip(t *testing.T) {
	d := sampleDelivery()
	got, err := decodeDelivery(d.key(), encodeDelivery(d))
	if err != nil {
		t.Fatal(err)
	}
	got.sum = 0
	if !reflect.DeepEqual(got, d) {
		t.Errorf("delivery came back as %+v, was %+v", got, d)
	}
	m := &Message{ID: 9, inline: []byte("content"), sum: 3, Envelope: Envelope{
		ReversePath: path("s@a.test"), EnvelopeID: "e", Return: "FULL", UTF8: true, EightBit: true,
		Arrival: time.UnixMilli(1_700_000_000_123), Size: 7, Client: "c",
	}}
	back, err := decodeMessage(9, encodeMessage(m))
	if err != nil || !reflect.DeepEqual(back, m) {
		t.Errorf("message came back as %+v (%v), was %+v", back, err, m)
	}
}

// Every flipped bit is noticed.
func TestFlippedBits(t *testing.T) {
	d := sampleDelivery()
	record := encodeDelivery(d)
	for i := range len(record) * 8 {
		record[i/8] ^= 1 << (i % 8)
		if _, err := decodeDelivery(d.key(), record); err == nil {
			t.Errorf("bit %d flipped, and nobody noticed", i)
		}
		record[i/8] ^= 1 << (i % 8)
	}
}

// Whatever stands in a record, reading it ends, in bounded memory.
func FuzzRecords(f *testing.F) {
	d := sampleDelivery()
	f.Add(encodeDelivery(d))
	f.Add(encodeMessage(&Message{inline: []byte("x")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, record := range [][]byte{b, appendSum(append([]byte(nil), b...))} {
			if got, err := decodeDelivery(d.key(), record); err == nil {
				if again, err := decodeDelivery(d.key(), encodeDelivery(got)); err != nil || len(again.Recipients) != len(got.Recipients) {
					t.Errorf("%+v does not come back: %v", got, err)
				}
			}
			decodeMessage(1, record)
		}
	})
}
