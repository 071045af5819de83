package queue

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
	"time"

	"waypost/relay/smtp"
)

func sampleDelivery() *Delivery {
	at := time.UnixMilli(1_700_000_000_123)
	return &Delivery{ID: 1 << 40, Index: 7, Destination: "b.test", Size: 5, Attempts: 3, Next: at, Held: true, Warned: true,
		Class: "bulk", Priority: -9, HoldUntil: at, Deadline: at, Return: true, Notices: 1, Recipients: []Recipient{
			{Path: path("r@b.test"), Notify: smtp.NotifyDelay | smtp.NotifySuccess, OriginalRecipient: "rfc822;r", State: Deferred, LastAttempt: at,
				Last: Result{State: Deferred, Reply: smtp.Reply{Code: 451, Enhanced: smtp.EnhancedCode{4, 7, 1}, Lines: []string{"greylisted", ""}},
					Reason: "why", Status: smtp.EnhancedCode{4, 7, 1}, Host: "mx[127.0.0.1]:25", Reported: true, Relayed: true,
					TLS: "TLS 1.3 TLS_AES_128_GCM_SHA256 verified", Duration: 1500 * time.Millisecond}},
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
	m := sampleMessage()
	back, err := decodeMessage(9, encodeMessage(m))
	if err != nil || !reflect.DeepEqual(back, m) {
		t.Errorf("message came back as %+v (%v), was %+v", back, err, m)
	}
	plain := &Message{ID: 9, inline: []byte("content"), Envelope: Envelope{Arrival: m.Arrival}}
	if back, err := decodeMessage(9, encodeMessage(plain)); err != nil || !reflect.DeepEqual(back, plain) {
		t.Errorf("message came back as %+v (%v), was %+v", back, err, plain)
	}
}

// What the samples leave out would not be tested.
func TestSamplesAreComplete(t *testing.T) {
	d := sampleDelivery()
	for _, v := range []any{sampleMessage().Envelope, sampleMessage().DeliverBy, *d, d.Recipients[0], d.Recipients[0].Last} {
		for i := range reflect.TypeOf(v).NumField() {
			if f := reflect.TypeOf(v).Field(i); f.IsExported() && reflect.ValueOf(v).Field(i).IsZero() {
				t.Errorf("%T: no %s", v, f.Name)
			}
		}
	}
}

// What a newer program wrote is not read in part.
func TestNewerRecords(t *testing.T) {
	m := sampleMessage()
	known := messageFields(m)
	for name, edit := range map[string]func(f *fields){
		"field":       func(f *fields) { f.add(200, []byte("x")) },
		"empty field": func(f *fields) { f.add(201, nil) },
		"flag within": func(f *fields) { f.add(tagDeliverBy, []byte{0x40}) },
	} {
		f := append(fields(nil), known...)
		edit(&f)
		record := encodeMessage(&Message{ID: 9, Envelope: Envelope{Arrival: m.Arrival}})
		record[0] |= flagFields
		record = appendKeyedSum(f.appendTo(record[:len(record)-4]), ID(9).key())
		if _, err := decodeMessage(9, record); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	record := encodeMessage(&Message{ID: 9, Envelope: Envelope{Arrival: m.Arrival}})
	record[0] |= 1 << 5
	if _, err := decodeMessage(9, appendKeyedSum(record[:len(record)-4], ID(9).key())); !errors.Is(err, ErrFormat) {
		t.Errorf("flag: %v", err)
	}
}

func sampleMessage() *Message {
	at := time.UnixMilli(1_700_000_000_123)
	return &Message{ID: 9, inline: []byte("content"), sum: 3, Envelope: Envelope{
		ReversePath: path("s@a.test"), EnvelopeID: "e", Return: "FULL", UTF8: true, EightBit: true, Binary: true, RequireTLS: true,
		Priority: -9, Class: "bulk", ClassRule: "class[0] from a.test", DeliverBy: DeliverBy{Deadline: at, Return: true, Trace: true}, HoldUntil: at, MessageID: "1@a.test",
		Arrival: at, Size: 7, Client: "c", Login: "user", Listener: "127.0.0.1:25", Protocol: "ESMTPSA", TLS: "TLS1.3 TLS_AES_128_GCM_SHA256",
		ReportOn: 5,
	}}
}

// every flipped bit is noticed, in the key, too.
func TestFlippedBits(t *testing.T) {
	d, m := sampleDelivery(), sampleMessage()
	m.sum = checksum(m.inline)
	record := encodeDelivery(d)
	checkFlippedKey(t, d.key().bytes(), record)
	checkFlippedKey(t, m.ID.key(), encodeMessage(m))
	for i := range len(record) * 8 {
		record[i/8] ^= 1 << (i % 8)
		if _, err := decodeDelivery(d.key(), record); err == nil {
			t.Errorf("bit %d flipped, and nobody noticed", i)
		}
		record[i/8] ^= 1 << (i % 8)
	}
}

func checkFlippedKey(t *testing.T, key, record []byte) {
	t.Helper()
	if !goodRecord(key, record) {
		t.Fatalf("key %x: a record that is none", key)
	}
	for i := range len(key) * 8 {
		flipped := bytes.Clone(key)
		flipped[i/8] ^= 1 << (i % 8)
		if goodRecord(flipped, record) {
			t.Errorf("bit %d of a key flipped, and nobody noticed", i)
		}
		if !bytes.Equal(mendedKey(flipped, record), key) {
			t.Errorf("bit %d of a key flipped, and it does not come back", i)
		}
	}
}

// L-07: whatever the octets are.
//
// Whatever stands in a record, reading it ends, in bounded memory.
func FuzzRecords(f *testing.F) {
	d := sampleDelivery()
	f.Add(encodeDelivery(d))
	f.Add(encodeMessage(&Message{ID: 1, inline: []byte("x")}))
	f.Add(encodeMessage(sampleMessage()))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, record := range [][]byte{b, appendSum(bytes.Clone(b)), appendKeyedSum(bytes.Clone(b), d.key().bytes())} {
			if got, err := decodeDelivery(d.key(), record); err == nil {
				if again, err := decodeDelivery(d.key(), encodeDelivery(got)); err != nil || len(again.Recipients) != len(got.Recipients) {
					t.Errorf("%+v does not come back: %v", got, err)
				}
			}
			decodeMessage(1, record)
		}
	})
}
