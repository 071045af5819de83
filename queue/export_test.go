package queue

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"waypost/relay/smtp"
)

func export(t testing.TB, q *Queue, o ExportOptions) ([]byte, Exported) {
	t.Helper()
	var b bytes.Buffer
	done, err := q.Export(context.Background(), &b, o)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), done
}

func mustImport(t testing.TB, q *Queue, archive []byte, hold ImportHold) Imported {
	t.Helper()
	done, err := q.Import(context.Background(), bytes.NewReader(archive), hold)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// member is one file of an archive.
type member struct {
	tar.Header
	text string
}

func members(t testing.TB, archive []byte) (all []member) {
	t.Helper()
	r := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, member{*h, string(text)})
	}
}

// messagesOf is an archive without what differs between two queues.
func messagesOf(t testing.TB, archive []byte) (all []string) {
	t.Helper()
	list := members(t, archive)
	for _, m := range list[1 : len(list)-1] {
		all = append(all, m.Name+" "+m.text)
	}
	return all
}

func diffMessages(t rapid.TB, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d members, want %d", len(got), len(want))
		return
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("member %d is\n%.3000q, want\n%.3000q", i, got[i], want[i])
		}
	}
}

// insert puts a message as it is into the queue.
func insert(t rapid.TB, q *Queue, env Envelope, content string, deliveries []*Delivery) ID {
	t.Helper()
	d := q.NewDraft()
	if _, err := io.WriteString(d, content); err != nil {
		t.Fatal(err)
	}
	p, err := d.prepareAs(env, func(m *Message) []*Delivery {
		for i, delivery := range deliveries {
			delivery.ID, delivery.Index, delivery.Size = m.ID, uint16(i), m.Size
		}
		return deliveries
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := q.commit(p.put); err != nil {
		t.Fatal(err)
	}
	q.enqueued(p)
	return d.ID()
}

// Whatever a queue has, its archive makes of another queue one with the same
// archive.
func TestExportImportExport(t *testing.T) {
	fewChecks(t, "8")
	rapid.Check(t, func(rt *rapid.T) {
		w := &world{}
		a, b := open(t, w, nil), open(t, w, nil)
		defer a.Close()
		defer b.Close()
		for range rapid.IntRange(0, 5).Draw(rt, "messages") {
			deliveries := drawDeliveries(rt)
			id := insert(rt, a, drawEnvelope(rt), drawContent(rt), deliveries)
			must(t, a.store, func(b *batch) {
				for _, row := range drawAttempts(rt, deliveries) {
					b.attempt(id, row)
				}
			})
		}
		before, done := export(t, a, ExportOptions{})
		taken := mustImport(t, b, before, KeepHold)
		if taken.Messages != done.Messages || taken.Bytes != done.Bytes || taken.Before != 0 {
			rt.Errorf("taken %+v of %+v", taken, done)
		}
		after, _ := export(t, b, ExportOptions{})
		diffMessages(rt, messagesOf(t, after), messagesOf(t, before))
		if x, y := a.Stats(), b.Stats(); x.Messages != y.Messages || x.Bytes != y.Bytes || x.Queued != y.Queued || x.Deferred != y.Deferred || x.Held != y.Held {
			rt.Errorf("%+v became %+v", x, y)
		}
	})
}

func drawTime(t *rapid.T) time.Time {
	return time.Now().Add(-time.Duration(rapid.IntRange(0, 3*24*3600*1000).Draw(t, "ms")) * time.Millisecond)
}

func drawText(t *rapid.T) string {
	return rapid.StringOfN(rapid.RuneFrom([]rune("ab<>&\"\\ é世\u2028\u202e")), 0, 8, -1).Draw(t, "text")
}

func drawEnvelope(t *rapid.T) Envelope {
	env := Envelope{
		EnvelopeID: rapid.StringMatching(`[ -~é]{0,10}`).Draw(t, "envid"), Return: rapid.SampledFrom([]string{"", "FULL", "HDRS"}).Draw(t, "ret"),
		UTF8: rapid.Bool().Draw(t, "utf8"), EightBit: rapid.Bool().Draw(t, "8bit"),
		Binary: rapid.Bool().Draw(t, "binary"), RequireTLS: rapid.Bool().Draw(t, "require tls"), Priority: rapid.Int8Range(-9, 9).Draw(t, "priority"),
		Class: rapid.SampledFrom([]string{"", "news"}).Draw(t, "class"), Login: rapid.SampledFrom([]string{"", "jo"}).Draw(t, "login"),
		MessageID: drawText(t), Listener: "192.0.2.1:25", Protocol: "ESMTPS", TLS: rapid.SampledFrom([]string{"", "TLS 1.3"}).Draw(t, "tls"),
		Arrival: drawTime(t), Client: rapid.SampledFrom([]string{"", "client.test ([192.0.2.1])"}).Draw(t, "client"),
	}
	if rapid.Bool().Draw(t, "sender") {
		env.ReversePath = drawPath(t)
	}
	if rapid.Bool().Draw(t, "by") {
		env.DeliverBy = DeliverBy{Deadline: drawTime(t), Return: rapid.Bool().Draw(t, "return"), Trace: rapid.Bool().Draw(t, "trace")}
	}
	if rapid.Bool().Draw(t, "hold until") {
		env.HoldUntil = drawTime(t)
	}
	return env
}

func drawPath(t *rapid.T) smtp.Path {
	return smtp.Path{
		Local:  rapid.StringMatching(`[ -~é]{1,10}`).Draw(t, "local"),
		Domain: rapid.SampledFrom([]string{"b.test", "c.test", "[192.0.2.1]", "bücher.test"}).Draw(t, "domain"),
	}
}

func drawContent(t *rapid.T) string {
	n := rapid.SampledFrom([]int{0, 1, 100, 512, inlineLimit, inlineLimit + 1, 200_000}).Draw(t, "size")
	return strings.Repeat("\x00\xff.\r\n x", n/7+1)[:n]
}

// drawDeliveries has one delivery for each destination, as the routes of the
// tests have it, and one at least that waits.
func drawDeliveries(t *rapid.T) (all []*Delivery) {
	for i := range rapid.IntRange(1, 3).Draw(t, "deliveries") {
		d := &Delivery{
			Destination: fmt.Sprintf("d%d.test", i), Attempts: rapid.IntRange(0, 9).Draw(t, "attempts"), Next: drawTime(t),
			Held: rapid.Bool().Draw(t, "held"), Warned: rapid.Bool().Draw(t, "warned"),
		}
		for range rapid.IntRange(1, 4).Draw(t, "recipients") {
			r := Recipient{Path: drawPath(t), OriginalRecipient: rapid.SampledFrom([]string{"", "rfc822;a+2Bb@c.test", "utf-8;é@c.test"}).Draw(t, "orcpt")}
			r.Path.Domain = d.Destination
			r.Notify = smtp.Notify(rapid.IntRange(0, 8).Draw(t, "notify"))
			if rapid.Bool().Draw(t, "tried") {
				r.State, r.Last, r.LastAttempt = drawResult(t)
			}
			d.Recipients = append(d.Recipients, r)
		}
		if i == 0 {
			d.Recipients[0].State = Deferred
		}
		all = append(all, d)
	}
	return all
}

func drawResult(t *rapid.T) (State, Result, time.Time) {
	r := Result{
		State: rapid.SampledFrom([]State{Deferred, Delivered, Failed}).Draw(t, "state"), Reason: drawText(t),
		Host: rapid.SampledFrom([]string{"", "mx.test[192.0.2.1]:25"}).Draw(t, "host"), Reported: rapid.Bool().Draw(t, "reported"),
		TLS: rapid.SampledFrom([]string{"", "TLS 1.3 verified"}).Draw(t, "tls"), Duration: time.Duration(rapid.IntRange(0, 1e7).Draw(t, "took")) * time.Millisecond,
	}
	if rapid.Bool().Draw(t, "reply") {
		r.Reply = smtp.Reply{Code: rapid.IntRange(200, 599).Draw(t, "code"), Lines: []string{drawText(t), drawText(t)}}
		r.Reply.Enhanced = rapid.SampledFrom([]smtp.EnhancedCode{{}, {4, 7, 1}, {5, 1, 10}}).Draw(t, "enhanced")
	}
	r.Status = rapid.SampledFrom([]smtp.EnhancedCode{{}, {4, 0, 0}, {2, 1, 5}}).Draw(t, "status")
	state := r.State
	if state == Deferred && rapid.Bool().Draw(t, "expired") {
		state = Expired
	}
	return state, r, drawTime(t)
}

func drawAttempts(t *rapid.T, deliveries []*Delivery) (all []attemptRow) {
	for _, d := range deliveries {
		for i := range rapid.IntRange(0, 3).Draw(t, "log") {
			a := Attempt{Index: d.Index, Number: uint32(i + 1), Time: drawTime(t), Destination: d.Destination}
			for _, r := range d.Recipients {
				state, result, _ := drawResult(t)
				a.Results = append(a.Results, Tried{Path: r.Path, State: state, Result: result})
			}
			if rapid.Bool().Draw(t, "report") {
				a.Reports = []SentReport{{ReportDelay, 1 << 41}}
			}
			all = append(all, newAttemptRow(d.ID, &a))
		}
	}
	return all
}

// An archive is what ordinary tools read, and its checksums are those that
// sha256sum prints.
func TestArchiveFormat(t *testing.T) {
	q := open(t, &world{}, nil)
	defer q.Close()
	id := enqueue(t, q, "s@a.test", "Subject: x\r\n\r\nbody\r\n", "r@b.test", "q@c.test").String()
	archive, done := export(t, q, ExportOptions{})
	if done.Messages != 1 || done.Bytes != 20 || done.Held != 0 || len(done.Damaged) != 0 {
		t.Errorf("exported: %+v", done)
	}
	all := members(t, archive)
	var names []string
	for _, m := range all {
		names = append(names, m.Name)
		if m.Typeflag != tar.TypeReg || m.Mode != 0o600 || m.Format != tar.FormatUSTAR {
			t.Errorf("%s: type %c, mode %o, %v", m.Name, m.Typeflag, m.Mode, m.Format)
		}
	}
	if want := []string{"waypost.json", id + ".json", id + ".eml", "end.json"}; !slices.Equal(names, want) {
		t.Fatalf("members %q, want %q", names, want)
	}
	for i, want := range []string{
		`{"format":"waypost queue","version":1,"queue":"` + q.store.identity.String() + `","exported":"`,
		`{"sha256":"`, "Subject: x\r\n\r\nbody\r\n", `{"messages":1,"sha256":"`,
	} {
		if !strings.HasPrefix(all[i].text, want) {
			t.Errorf("%s is %q", all[i].Name, all[i].text)
		}
	}
	for _, want := range []string{
		`"message":{"id":"` + id + `","from":"s@a.test","arrival":"`, `"content":{"size":20,"sha256":"`,
		`{"destination":"b.test","attempts":0,"next_attempt":"`, `"held":false,"warned":false,"recipients":[{"address":"r@b.test","state":"queued"}]}`,
	} {
		if !strings.Contains(all[1].text, want) {
			t.Errorf("%s lacks %q: %s", all[1].Name, want, all[1].text)
		}
	}
}

func TestExportSelects(t *testing.T) {
	q := open(t, &world{}, nil)
	defer q.Close()
	var ids []ID
	for i := range 2*changePage + 10 {
		ids = append(ids, enqueue(t, q, "s@a.test", "x\r\n", fmt.Sprintf("r@b%d.test", i%2)))
	}
	for name, tc := range map[string]struct {
		filter Filter
		want   int
	}{
		"all":          {Filter{}, len(ids)},
		"a domain":     {Filter{ToDomain: "b1.test"}, len(ids) / 2},
		"nothing":      {Filter{ToDomain: "b2.test"}, 0},
		"IDs":          {Filter{IDs: []ID{ids[7], ids[3], ids[7], 5}}, 2},
		"all IDs":      {Filter{IDs: ids}, len(ids)},
		"IDs and more": {Filter{IDs: ids[:10], ToDomain: "b0.test"}, 5},
	} {
		for _, hold := range []bool{false, true} {
			archive, done := export(t, q, ExportOptions{Filter: tc.filter, Hold: hold})
			if slices.Contains(done.Unknown, 5) != (name == "IDs") || len(done.Unknown) > 1 {
				t.Errorf("%s: unknown %v", name, done.Unknown)
			}
			if got := len(messagesOf(t, archive)) / 2; got != tc.want || done.Messages != int64(tc.want) {
				t.Errorf("%s: %d messages, want %d; %+v", name, got, tc.want, done)
			}
			if hold {
				if n, err := q.Release(Filter{}); err != nil || n != tc.want || done.Held != n {
					t.Errorf("%s: %d were on hold, %v, want %d", name, n, err, tc.want)
				}
			}
		}
	}
}

// What is exported with a hold is delivered from one of the two queues only,
// also when an attempt is under way at that moment.
func TestExportHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun, end := make(chan struct{}, 10), make(chan struct{})
		w := &world{}
		w.answer = func(m *Message, d *Delivery) Outcome {
			begun <- struct{}{}
			<-end
			if d.Destination == "slow.test" {
				return all(d, deferred("later"))
			}
			return all(d, Result{State: Delivered})
		}
		q := open(t, w, nil)
		held := enqueue(t, q, "s@a.test", "held before\r\n", "r@held.test")
		if n, err := q.Hold(Filter{}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		stop := running(t, q)
		enqueue(t, q, "s@a.test", "delivered meanwhile\r\n", "r@b.test")
		slow := enqueue(t, q, "s@a.test", "deferred meanwhile\r\n", "r@slow.test")
		synctest.Wait()
		ended := make(chan []byte, 1)
		go func() {
			archive, done := export(t, q, ExportOptions{Hold: true})
			if done.Messages != 2 || done.Held != 2 {
				t.Errorf("exported: %+v", done)
			}
			ended <- archive
		}()
		time.Sleep(time.Minute)
		select {
		case <-ended:
			t.Fatal("did not wait for the attempts")
		default:
		}
		close(end)
		archive := <-ended
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if len(w.tried("r")) != 2 {
			t.Errorf("%d attempts, want the two that were under way", len(w.tried("r")))
		}
		stop()

		other := &world{}
		to := open(t, other, nil)
		mustImport(t, to, archive, KeepHold)
		defer running(t, to)()
		synctest.Wait()
		if got := listed(t, to, Filter{State: "held"}); !slices.Equal(got, []ID{held}) {
			t.Errorf("on hold: %v, want %v, which was before", got, held)
		}
		if got := listed(t, to, Filter{IDs: []ID{slow}}); len(got) != 0 || len(other.tried("r")) != 1 {
			t.Errorf("the deferred one was tried %d times and is there: %v", len(other.tried("r")), got)
		}
	})
}

// Damaged messages are left out and named; the rest is whole.
func TestExportNamesTheDamaged(t *testing.T) {
	q := open(t, &world{}, nil)
	defer q.Close()
	large := strings.Repeat("x", inlineLimit+1)
	for range 2 {
		enqueue(t, q, "s@a.test", "sound\r\n", "r@b.test")
	}
	flipped, missing, record := enqueue(t, q, "s@a.test", large, "r@b.test"), enqueue(t, q, "s@a.test", large, "r@b.test"), enqueue(t, q, "s@a.test", "x", "r@b.test")
	spoil(t, q.contentFile(flipped))
	remove(t, q.contentFile(missing))
	must(t, q.store, func(b *batch) { b.put(deliveryKey{record, 0}, []byte("no record at all")) })
	for _, hold := range []bool{false, true} {
		archive, done := export(t, q, ExportOptions{Hold: hold})
		if want := []ID{flipped, missing, record}; !slices.Equal(done.Damaged, want) || done.Messages != 2 {
			t.Errorf("exported %+v, want %v damaged", done, want)
		}
		to := open(t, &world{}, nil)
		if done := mustImport(t, to, archive, KeepHold); done.Messages != 2 {
			t.Errorf("imported %+v", done)
		}
		to.Close()
	}
}

// A message that leaves while the queue is exported is in it or not; nothing
// else changes.
func TestExportDuringDelivery(t *testing.T) {
	w := &world{}
	q := open(t, w, nil)
	large := strings.Repeat("0123456789abcdef", inlineLimit/8)
	for i := range 300 {
		content := large
		if i%10 != 0 {
			content = "small\r\n"
		}
		enqueue(t, q, "s@a.test", content, fmt.Sprintf("r@b%d.test", i))
	}
	stop := running(t, q)
	for q.Stats().Messages > 0 {
		archive, done := export(t, q, ExportOptions{})
		if len(done.Damaged) > 0 {
			t.Fatalf("damaged: %v", done.Damaged)
		}
		to := open(t, &world{}, nil)
		if got := mustImport(t, to, archive, HoldAll); got.Messages != done.Messages {
			t.Errorf("imported %+v of %+v", got, done)
		}
		to.Close()
	}
	stop()
}

func TestExportStops(t *testing.T) {
	q := open(t, &world{}, nil)
	defer q.Close()
	enqueue(t, q, "s@a.test", "x\r\n", "r@b.test")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := q.Export(ctx, io.Discard, ExportOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
	if _, err := q.Export(t.Context(), brokenPipe{}, ExportOptions{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("broken pipe: %v", err)
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func spoil(t testing.TB, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err == nil {
		b[len(b)/2] ^= 1
		err = os.WriteFile(file, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, file string) {
	t.Helper()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
}
