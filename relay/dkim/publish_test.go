package dkim

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"waypost/metrics"
)

// rotation is a set whose keys wait for their records.
type rotation struct {
	t   *testing.T
	set *Set
	log bytes.Buffer

	mu   sync.Mutex
	zone zone
}

func (r *rotation) texts(ctx context.Context, name string) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.zone.texts(ctx, name)
}

func (r *rotation) publish(selector string, records ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.zone[RecordName("a.example", selector)] = records
}

// start runs a set in a bubble, and returns what ends it.
func (r *rotation) start(before *Set, keys ...Key) (stop func()) {
	for i := range keys {
		keys[i].Domain, keys[i].CheckDNS = "a.example", true
	}
	set, err := New(Options{Keys: keys, TXT: r.texts, Before: before, Log: slog.New(slog.NewTextHandler(&r.log, nil)), Metrics: metrics.New(nil)})
	if err != nil {
		r.t.Fatal(err)
	}
	r.set = set
	ctx, cancel := context.WithCancel(r.t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		set.Run(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}

// signs wants the next message signed with some selectors, by signatures that
// are good.
func (r *rotation) signs(when string, want ...string) {
	r.t.Helper()
	synctest.Wait()
	out, result := sign(r.t, r.set, contents()["plain"], 100, Content{})
	var got []string
	for _, k := range result.Keys {
		selector, _, _ := strings.Cut(k, ".")
		got = append(got, selector)
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		r.t.Errorf("%s: signed by %v, want %v", when, got, want)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, t := range r.zone {
		if len(t) == 1 && t[0] == "SERVFAIL" {
			delete(r.zone, k)
			defer func() { r.zone[k] = t }()
			return // nothing can be verified
		}
	}
	if good, err := verify(r.t, r.zone, out); good != len(want) {
		r.t.Errorf("%s: %d signatures are good, want %d: %v", when, good, len(want), err)
	}
}

func (r *rotation) keys(state State, want float64) {
	r.t.Helper()
	if got := testutil.ToFloat64(r.set.Metrics.DKIMKeys.WithLabelValues(state.String())); got != want {
		r.t.Errorf("%v keys are %s, want %v", got, state, want)
	}
}

func TestNewKeyWaitsForItsRecord(t *testing.T) {
	oldFile, oldRecord := keyFile(t, RSA)
	newFile, newRecord := keyFile(t, RSA)
	edFile, edRecord := keyFile(t, Ed25519)
	synctest.Test(t, func(t *testing.T) {
		r := &rotation{t: t, zone: zone{}}
		r.publish("old", oldRecord)
		stop := r.start(nil, Key{Selector: "new", File: newFile}, Key{Selector: "old", File: oldFile}, Key{Selector: "ed", File: edFile})
		r.signs("before the new record", "old")
		r.keys(Published, 1)
		r.keys(Missing, 2)
		r.publish("new", newRecord)
		time.Sleep(recheckMissing)
		r.signs("with the new record", "new")
		r.publish("ed", "v=DKIM1; k=ed25519; t=y; p="+edRecord[strings.Index(edRecord, "p=")+2:])
		time.Sleep(recheckMissing)
		r.signs("with all records", "new", "ed")
		r.keys(Published, 3)
		r.publish("new")
		time.Sleep(recheckPublished)
		r.signs("when the new record is gone", "old", "ed")
		stop()
		// A reload keeps what was seen, even where the DNS says nothing now.
		for _, selector := range []string{"new", "old", "ed"} {
			r.publish(selector, "SERVFAIL")
		}
		defer r.start(r.set, Key{Selector: "new", File: newFile}, Key{Selector: "old", File: oldFile}, Key{Selector: "ed", File: edFile})()
		r.signs("after a reload", "old", "ed")
		time.Sleep(24 * time.Hour)
		r.signs("after a day without DNS", "old", "ed")
		for _, want := range []string{"msg=\"DKIM key signs nothing before its record is published\" domain=a.example selector=new", "msg=\"DKIM key is published, and signs\" domain=a.example selector=ed testing=true"} {
			if !strings.Contains(r.log.String(), want) {
				t.Errorf("the log lacks %s:\n%s", want, r.log.String())
			}
		}
	})
}

// After a start without DNS the oldest key signs: it was published, if any was.
func TestStartWithoutDNS(t *testing.T) {
	oldFile, _ := keyFile(t, RSA)
	newFile, newRecord := keyFile(t, RSA)
	synctest.Test(t, func(t *testing.T) {
		r := &rotation{t: t, zone: zone{}}
		r.publish("new", "SERVFAIL")
		r.publish("old", "SERVFAIL")
		defer r.start(nil, Key{Selector: "new", File: newFile}, Key{Selector: "old", File: oldFile})()
		r.signs("without DNS", "old")
		r.keys(Unknown, 2)
		r.publish("new", newRecord)
		r.publish("old")
		time.Sleep(recheckUnknown)
		r.signs("with DNS", "new")
	})
}

// A key that takes the place of another in its file waits, too, and the one
// before goes on.
func TestKeyFileReplaced(t *testing.T) {
	file, record := keyFile(t, Ed25519)
	// Outside of the bubble, whose clock is no file's.
	s := &rotation{t: t, zone: zone{}}
	s.publish("s", record)
	set, err := New(Options{Keys: []Key{{Domain: "a.example", Selector: "s", File: file, CheckDNS: true}}, TXT: s.texts})
	if err != nil {
		t.Fatal(err)
	}
	s.set = set
	check := func(when string, want int) {
		t.Helper()
		set.keys[0].due = time.Time{}
		set.lookAll(t.Context())
		out, _ := sign(t, set, contents()["plain"], 100, Content{})
		if good, err := verify(t, s.zone, out); good != want {
			t.Errorf("%s: %d signatures are good, want %d: %v", when, good, want, err)
		}
	}
	check("at first", 1)
	next := replaceKey(t, file, Ed25519)
	if err := set.keys[0].file.Reload(); err != nil {
		t.Fatal(err)
	}
	if k, state := set.keys[0].usable(set.again); state != Published || !sameSigner(k, set.keys[0].signer) {
		t.Errorf("the new key is used before its record was looked for: %v", state)
	}
	select {
	case <-set.check:
	default:
		t.Error("the record of the new key is not looked for")
	}
	check("with the record of the key before", 1)
	s.publish("s", next)
	check("with the new record", 1)
	if k, _ := set.keys[0].usable(set.again); !sameSigner(k, set.keys[0].file.Get()) {
		t.Error("the key before goes on")
	}
	s.publish("s", "v=DKIM1; p=")
	check("revoked", 0)
	if err := os.WriteFile(file, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := set.keys[0].file.Reload(); err == nil {
		t.Error("a file without a key was read")
	}
	s.publish("s", next)
	check("with a damaged file", 1)
}

func TestExplain(t *testing.T) {
	s, _ := both(t, func(k *Key) { k.CheckDNS = true })
	s.Options.TXT = zone{}.texts
	s.lookAll(t.Context())
	sign, others := s.Explain("A.example")
	if len(sign) != 0 || len(others) != 2 || others[0] != "rsa._domainkey.a.example: rsa._domainkey.a.example has no TXT record" {
		t.Errorf("%q, %q", sign, others)
	}
	s, _ = both(t, nil)
	if sign, others = s.Explain("a.example"); len(others) != 0 || len(sign) != 2 || sign[1] != "ed25519._domainkey.a.example (ed25519)" {
		t.Errorf("%q, %q", sign, others)
	}
}
