package recipient

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"waypost/queue"
	"waypost/relay/smtp"
	"waypost/relay/watch"
)

func path(t testing.TB, s string) smtp.Path {
	t.Helper()
	p, err := smtp.SplitPath(s, true)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return p
}

func TestList(t *testing.T) {
	l, err := Parse([]byte("# ours\r\n\n ann@Example.org \n\"b c\"@example.org\n@all.example\nü@bücher.example\n"))
	if err != nil || l.Len() != 4 {
		t.Fatal(l, err)
	}
	for address, want := range map[string]bool{
		"ann@example.org": true, "Ann@EXAMPLE.ORG": true, "b c@example.org": true, "anybody@all.example": true, "ü@xn--bcher-kva.example": true,
		"bob@example.org": false, "ann@sub.example.org": false, "x@below.all.example": false, "all.example@example.org": false,
	} {
		if l.Has(path(t, address)) != want {
			t.Errorf("%s: want %t", address, want)
		}
	}
	for _, bad := range []string{"ann", "@", "a@b@c", "ann@example.org x", "<a@b.example>", "a@b.example>", "@a b", "\x00@b.example", "x@"} {
		if _, err := Parse([]byte("\n" + bad + "\n")); err == nil || !strings.HasPrefix(err.Error(), "2: ") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("a@b.example\n@c.example\n")
	f.Fuzz(func(t *testing.T, s string) {
		if l, err := Parse([]byte(s)); err == nil {
			l.Has(smtp.Path{Local: "a", Domain: "b.example"})
		}
	})
}

// What is found out is remembered, for as long as it is likely to hold.
func TestVerifierRemembers(t *testing.T) {
	for _, tc := range []struct {
		answer Answer
		keep   time.Duration
	}{
		{Answer{Known: true, Exists: true}, keepExists}, {Answer{Known: true}, keepMissing}, {Answer{}, keepUnknown},
	} {
		synctest.Test(t, func(t *testing.T) {
			v, k, asked := NewVerifier(nil), Key{"next", "k"}, 0
			probe := func(context.Context) Answer { asked++; return tc.answer }
			for _, after := range []time.Duration{0, tc.keep - time.Second, 2 * time.Second} {
				time.Sleep(after)
				if got := v.Verify(t.Context(), k, probe); got != tc.answer {
					t.Errorf("%+v, want %+v", got, tc.answer)
				}
			}
			if asked != 2 {
				t.Errorf("asked %d times", asked)
			}
			if _, ok := v.Remembered(Key{"other", "k"}); ok {
				t.Error("somebody else is remembered")
			}
		})
	}
}

// Whoever wants to know the same at the same time waits for one answer; who
// cannot wait goes, and the answer is there for the next.
func TestVerifierAsksOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, k := NewVerifier(nil), Key{"next", "k"}
		var asked atomic.Int32
		probe := func(context.Context) Answer {
			asked.Add(1)
			time.Sleep(20 * time.Second)
			return Answer{Known: true, Exists: true}
		}
		// Nobody else waits for the host that was too slow.
		defer func() {
			if a := v.Verify(t.Context(), Key{"next", "another"}, probe); !a.Exists {
				t.Errorf("%+v of a host that answers again", a)
			}
		}()
		hasty, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if a := v.Verify(hasty, k, probe); a.Known {
			t.Errorf("%+v before there was an answer", a)
		}
		start := time.Now()
		for i := range 100 {
			if a := v.Verify(t.Context(), Key{"next", fmt.Sprint(i)}, probe); !a.Silent {
				t.Errorf("%+v", a)
			}
		}
		if time.Since(start) != 0 {
			t.Errorf("a silent host was waited for again: %v", time.Since(start))
		}
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if a := v.Verify(t.Context(), Key{"elsewhere", "k"}, probe); !a.Exists {
					t.Errorf("%+v", a)
				}
			})
		}
		wg.Wait()
		if n := asked.Load(); n != 2 {
			t.Errorf("asked %d times, want once for each", n)
		}
		if a := v.Verify(t.Context(), k, probe); !a.Exists || asked.Load() != 2 {
			t.Errorf("%+v, asked %d times; who came first had no time, and the answer is here now", a, asked.Load())
		}
	})
}

// No number of clients and recipients takes more than its share of connections
// and memory, and no mail host holds them for ever.
func TestVerifierIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := NewVerifier(nil)
		silent := func(ctx context.Context) Answer { <-ctx.Done(); return Answer{Reason: "silent"} }
		var wg sync.WaitGroup
		for i := range maxProbes {
			wg.Go(func() { v.Verify(t.Context(), Key{fmt.Sprint("silent", i), "k"}, silent) })
		}
		synctest.Wait()
		start := time.Now()
		if a := v.Verify(t.Context(), Key{"one more", "k"}, silent); a.Known || time.Since(start) != 0 {
			t.Errorf("%+v after %v", a, time.Since(start))
		}
		wg.Wait()
		if took := time.Since(start); took != probeTime {
			t.Errorf("silent hosts were waited for %v", took)
		}
		v.mu.Lock()
		for i := range maxAnswers + 10 {
			v.remember(Key{"next", fmt.Sprint(i)}, Answer{Known: true}, time.Now())
		}
		n := len(v.answers)
		v.mu.Unlock()
		if _, oldest := v.Remembered(Key{"next", "0"}); n != maxAnswers || oldest {
			t.Errorf("%d answers are remembered", n)
		}
	})
}

// outbound answers as it is told, by recipient.
type outbound struct {
	verify  map[string]queue.Result
	foresee map[string]smtp.Reply
	most    int64
	asked   int
}

func (o *outbound) Destination(*queue.Envelope, *queue.Recipient) string { return "next" }

func (o *outbound) Verify(_ context.Context, _ *queue.Envelope, p smtp.Path) queue.Result {
	o.asked++
	return o.verify[p.Local]
}

func (o *outbound) Foresee(_ context.Context, _ *queue.Envelope, p smtp.Path) (smtp.Reply, bool) {
	r, ok := o.foresee[p.Domain]
	return r, ok
}

// Only a domain that says that it takes no mail makes a sender unwelcome.
func TestCheckSender(t *testing.T) {
	o := &outbound{foresee: map[string]smtp.Reply{
		"gone.example": smtp.NewReply(550, smtp.EnhancedCode{5, 1, 2}, "gone"), "null.example": smtp.NewReply(556, smtp.EnhancedCode{5, 1, 10}, "none"),
	}}
	for sender, want := range map[string]string{"s@null.example": "550 5.7.27", "s@gone.example": "", "s@ok.example": ""} {
		if d := New(Options{Outbound: o, Foresee: true}).CheckSender(t.Context(), path(t, sender)); d.Allowed != (want == "") || !strings.HasPrefix(d.Reply.String(), want) {
			t.Errorf("%s: %+v", sender, d)
		}
		if d := New(Options{Outbound: o}).CheckSender(t.Context(), path(t, sender)); !d.Allowed {
			t.Errorf("%s, and nothing is to be foreseen: %+v", sender, d)
		}
	}
}

func (o *outbound) TooLarge(_ *queue.Envelope, _ smtp.Path, size int64) bool { return size > o.most }

func TestCheck(t *testing.T) {
	o := &outbound{
		most: 1000,
		verify: map[string]queue.Result{
			"yes":    {State: queue.Delivered},
			"no":     {State: queue.Failed, Status: smtp.EnhancedCode{5, 1, 1}, Reply: smtp.NewReply(550, smtp.EnhancedCode{5, 1, 1}, "who?")},
			"full":   {State: queue.Failed, Status: smtp.EnhancedCode{5, 2, 2}, Reason: "secret"},
			"plain":  {State: queue.Failed, Status: smtp.EnhancedCode{5, 0, 0}},
			"silent": {State: queue.Deferred, Reason: "connect: refused"},
			"busy":   {State: queue.Deferred, Reply: smtp.NewReply(450, smtp.EnhancedCode{4, 2, 1}, "busy")},
		},
		foresee: map[string]smtp.Reply{"gone.example": smtp.NewReply(550, smtp.EnhancedCode{5, 1, 2}, "gone")},
	}
	list, err := Parse([]byte("listed@ok.example\n@gone.example\n"))
	if err != nil {
		t.Fatal(err)
	}
	all := Options{Outbound: o, Verifier: NewVerifier(nil), Foresee: true}
	withList, defers, nothing := all, all, Options{Outbound: o}
	withList.List = watch.Fixed(list)
	defers.DeferUnknown = true
	for _, tc := range []struct {
		name    string
		options Options
		to      string
		relayed bool
		size    int64
		want    string // of the reply; empty when it is taken
		asked   int
	}{
		{"listed", withList, "Listed@ok.example", true, 0, "", 0},
		{"not listed", withList, "yes@ok.example", true, 0, "550 5.1.1", 0},
		{"a listed domain is taken whatever DNS says", withList, "x@gone.example", true, 0, "", 0},
		{"postmaster", withList, "PostMaster@ok.example", true, 0, "", 0},
		{"not ours to know", withList, "no@other.example", false, 0, "", 0},
		{"verified", all, "yes@ok.example", true, 0, "", 1},
		{"verified, remembered", all, "yes@ok.example", true, 0, "", 0},
		{"refused", all, "no@ok.example", true, 0, "550 5.1.1", 1},
		{"refused, remembered", all, "NO@ok.example", true, 0, "550 5.1.1", 0},
		{"refused for another reason", all, "full@ok.example", true, 0, "550 5.2.2", 1},
		{"refused without a reason", all, "plain@ok.example", true, 0, "550 5.1.1", 1},
		{"put off", all, "busy@ok.example", true, 0, "", 1},
		{"put off, and it matters", defers, "busy@ok.example", true, 0, "450 4.1.1", 0},
		{"silent", all, "silent@ok.example", true, 0, "", 1},
		{"somebody else at the silent host", defers, "new@ok.example", true, 0, "450 4.1.1", 0},
		{"who is known at the silent host", all, "no@ok.example", true, 0, "550 5.1.1", 0},
		{"silent, and it matters", defers, "silent@ok.example", true, 0, "450 4.1.1", 0},
		{"not asked for others", all, "no@elsewhere.example", false, 0, "", 0},
		{"no domain", all, "x@gone.example", false, 0, "550 5.1.2", 0},
		{"too large", all, "x@other.example", false, 1001, "552 5.3.4", 0},
		{"large", all, "x@other.example", false, 1000, "", 0},
		{"nothing is checked", nothing, "no@gone.example", true, 1001, "", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o.asked = 0
			q := Question{Envelope: &queue.Envelope{}, Path: path(t, tc.to), Relayed: tc.relayed, Size: tc.size}
			c := New(tc.options)
			d := c.Check(t.Context(), q)
			if got := d.Reply.String(); d.Allowed != (tc.want == "") || !strings.HasPrefix(got, tc.want) {
				t.Errorf("%t %q, want %q", d.Allowed, got, tc.want)
			}
			if strings.Contains(d.Reply.String(), "secret") || strings.Contains(d.Reply.String(), "who?") {
				t.Errorf("the client is told what the next hop said: %s", d.Reply.String())
			}
			if o.asked != tc.asked {
				t.Errorf("asked %d times, want %d", o.asked, tc.asked)
			}
			// What was found out is what is explained.
			if e := c.Explain(t.Context(), q); e.Allowed != d.Allowed || e.Reply.String() != d.Reply.String() || o.asked != tc.asked {
				t.Errorf("explained as %+v, was %+v", e, d)
			}
		})
	}
}
