package mtasts

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"waypost/relay/relaytest"
	"waypost/resolver"
)

// world is a domain, b.example, with a policy host.
type world struct {
	mu       sync.Mutex
	texts    map[string][]string
	err      error // of the look-up
	asked    int   // of the policy host
	answer   http.HandlerFunc
	resolved []string
	options  Options
}

func (w *world) TXT(_ context.Context, name string) (resolver.TXTRecords, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return resolver.TXTRecords{List: w.texts[name]}, w.err
}

const good = "version: STSv1\nmode: enforce\nmx: mx.b.example\nmx: *.out.example\nmax_age: 86400\n"

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/.well-known/mta-sts.txt" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, text)
	}
}

// newWorld starts a policy host with a certificate for its name.
func newWorld(t *testing.T, dir string) *world {
	t.Helper()
	ca := relaytest.NewCA(t)
	return newWorldShowing(t, dir, ca, ca.Leaf("mta-sts.b.example"))
}

// newWorldShowing starts a policy host that shows a certificate.
func newWorldShowing(t *testing.T, dir string, ca *relaytest.CA, shown tls.Certificate) *world {
	t.Helper()
	w := &world{texts: map[string][]string{"_mta-sts.b.example": {"v=STSv1; id=1;"}}, answer: says(good)}
	host := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.asked++
		answer := w.answer
		w.mu.Unlock()
		answer(rw, r)
	}))
	host.Config.ErrorLog = log.New(io.Discard, "", 0)
	host.TLS = &tls.Config{Certificates: []tls.Certificate{shown}}
	host.StartTLS()
	t.Cleanup(host.Close)
	w.options = Options{
		Dir: dir, Resolver: w, Roots: ca.Pool(),
		Addresses: func(_ context.Context, name string) ([]netip.Addr, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.resolved = append(w.resolved, name)
			return []netip.Addr{netip.MustParseAddr("192.0.43.9")}, nil
		},
		Dial: func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			if to.String() != "192.0.43.9:443" {
				t.Errorf("dialled %v", to)
			}
			var d net.Dialer
			return d.DialContext(ctx, "tcp", host.Listener.Addr().String())
		},
	}
	return w
}

func (w *world) open() *Store {
	return Open(w.options)
}

func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

func (w *world) fetches() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked
}

// age makes a policy older than it is, and forgets failures.
func age(s *Store, by time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.failures)
	for _, p := range s.policies {
		p.Fetched, p.Expires = p.Fetched.Add(-by), p.Expires.Add(-by)
	}
}

// TestPolicyIsFetchedOnceAndKept: a policy is fetched once, also over a restart.
//
// P-19 8461-3.3-b: one key for all forms of a domain, and the cache holds without the network.
func TestPolicyIsFetchedOnceAndKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mta-sts")
	w := newWorld(t, dir)
	s := w.open()
	for _, name := range []string{"b.example", "B.Example.", "b.example"} {
		p := s.Policy(t.Context(), name)
		if p == nil || p.Mode != Enforce || p.ID != "1" || p.Domain != "b.example" || len(p.MX) != 2 {
			t.Fatalf("%s: %+v", name, p)
		}
	}
	if w.fetches() != 1 {
		t.Errorf("%d fetches, want 1", w.fetches())
	}
	// After a start the policy is there, though neither DNS nor HTTPS works.
	w.set(func() { w.err, w.answer = errors.New("SERVFAIL"), http.NotFound })
	if p := w.open().Policy(t.Context(), "b.example"); p == nil || p.Mode != Enforce {
		t.Errorf("after a start: %+v", p)
	}
	if w.fetches() != 1 {
		t.Errorf("%d fetches, want 1", w.fetches())
	}
}

// TestSuppression: what somebody in the way can do takes no policy away that
// holds (RFC 8461 §10.2), and one that is over is gone.
func TestSuppression(t *testing.T) {
	for name, change := range map[string]func(*world){
		"P-13 8461-3.1-a TXT gone":            func(w *world) { w.texts = nil },
		"P-13 8461-3.3-b TXT fails":           func(w *world) { w.err = errors.New("SERVFAIL") },
		"P-13 8461-3.1-a TXT twice":           func(w *world) { w.texts["_mta-sts.b.example"] = []string{"v=STSv1; id=1;", "v=STSv1; id=2;"} },
		"P-13 P-14 8461-3.3-b new, not found": func(w *world) { w.texts["_mta-sts.b.example"] = []string{"v=STSv1; id=2;"}; w.answer = http.NotFound },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, t.TempDir())
			s := w.open()
			if s.Policy(t.Context(), "b.example") == nil {
				t.Fatal("no policy at first")
			}
			w.set(func() { change(w) })
			age(s, 23*time.Hour)
			if p := s.Policy(t.Context(), "b.example"); p == nil || p.ID != "1" {
				t.Errorf("%+v, want the old policy", p)
			}
			age(s, 2*time.Hour)
			if p := s.Policy(t.Context(), "b.example"); p != nil {
				t.Errorf("%+v after its end", p)
			}
			if left, err := os.ReadDir(s.o.Dir); err != nil || len(left) != 0 {
				t.Errorf("%d files are left, %v", len(left), err)
			}
		})
	}
}

// TestFetchFails: none of these is a policy, and the host is not asked again at
// once.
func TestFetchFails(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"P-14 8461-3.3-a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/.well-known/mta-sts.txt?again", http.StatusMovedPermanently)
		},
		"P-14 not found": http.NotFound,
		"P-14 8461-3.3-a created": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.WriteHeader(201)
			_, _ = io.WriteString(w, good)
		},
		"P-14 8461-3.3-a HTML": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, good)
		},
		"P-14 8461-3.3-a too large":            says(good + strings.Repeat("x: y\n", maxSize/5)),
		"empty":                                says(""),
		"P-15 8461-3.2-a wrong mode":           says(strings.Replace(good, "enforce", "Enforce", 1)),
		"no mx":                                says("version: STSv1\nmode: enforce\nmax_age: 86400\n"),
		"no version":                           says(strings.Replace(good, "STSv1", "STSv2", 1)),
		"P-15 age negative":                    says(strings.Replace(good, "86400", "-1", 1)),
		"P-15 age too long":                    says(strings.Replace(good, "86400", "12345678901", 1)),
		"P-15 age zero":                        says(strings.Replace(good, "86400", "0", 1)),
		"P-15 a key twice, the first is wrong": says("mode: enforced\n" + good),
		"a path as mx":                         says(strings.Replace(good, "mx.b.example", "../../etc", 1)),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "")
			w.answer = answer
			s := w.open()
			for range 3 {
				if p := s.Policy(t.Context(), "b.example"); p != nil {
					t.Fatalf("%+v", p)
				}
			}
			if w.fetches() != 1 {
				t.Errorf("%d fetches, want 1", w.fetches())
			}
			// Another version is tried at once.
			w.set(func() { w.texts["_mta-sts.b.example"] = []string{"v=STSv1; id=2;"}; w.answer = says(good) })
			if p := s.Policy(t.Context(), "b.example"); p == nil {
				t.Error("the next version is not fetched")
			}
		})
	}
	ca := relaytest.NewCA(t)
	for name, shown := range map[string]tls.Certificate{
		"P-14 8461-3.3-a wrong certificate":   ca.Leaf("b.example"),
		"P-14 8461-3.3-a expired certificate": ca.LeafUntil(time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC), "mta-sts.b.example"),
		"P-14 8461-3.3-a unknown authority":   relaytest.NewCA(t).Leaf("mta-sts.b.example"),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorldShowing(t, "", ca, shown)
			if p := w.open().Policy(t.Context(), "b.example"); p != nil || w.fetches() != 0 {
				t.Errorf("%+v, %d requests", p, w.fetches())
			}
		})
	}
	t.Run("P-18 address of our own network", func(t *testing.T) {
		w := newWorld(t, "")
		w.options.Addresses = func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("only private addresses") }
		if p := w.open().Policy(t.Context(), "b.example"); p != nil || w.fetches() != 0 {
			t.Errorf("%+v, %d requests", p, w.fetches())
		}
	})
}

// TestRefresh: a policy of yesterday is fetched again under the same version,
// and a new version at once. Mode none ends it.
//
// 8461-3.3-a P-15
func TestRefresh(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.answer = says(strings.Replace(good, "86400", "31557601", 1))
	s := w.open()
	first := s.Policy(t.Context(), "b.example")
	if first == nil || first.Expires.Sub(first.Fetched) != maxAge {
		t.Fatalf("%+v", first)
	}
	age(s, refreshAfter)
	w.set(func() { w.answer = says(strings.Replace(good, "enforce", "testing", 1)) })
	if p := s.Policy(t.Context(), "b.example"); p == nil || p.Mode != Testing || w.fetches() != 2 {
		t.Errorf("%+v after %d fetches", p, w.fetches())
	}
	w.set(func() {
		w.texts["_mta-sts.b.example"] = []string{"v=spf1 -all", "v=STSv1; id=3;"}
		w.answer = says("version: STSv1\r\nmode: none\r\nmax_age: 86400\r\n")
	})
	if p := s.Policy(t.Context(), "b.example"); p != nil || w.fetches() != 3 {
		t.Errorf("%+v after %d fetches", p, w.fetches())
	}
}

// TestOneFetchForAll: who asks at the same time waits for the same answer.
func TestOneFetchForAll(t *testing.T) {
	w := newWorld(t, "")
	s := w.open()
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if s.Policy(t.Context(), "b.example") == nil {
				t.Error("no policy")
			}
		})
	}
	all.Wait()
	if w.fetches() != 1 {
		t.Errorf("%d fetches, want 1", w.fetches())
	}
}

// TestDomains: what is no domain with a policy is not asked for, and every form of
// one domain is one key.
//
// P-19: no text of a stranger becomes a path or a name to look up.
func TestDomains(t *testing.T) {
	w := newWorld(t, "")
	s := w.open()
	for _, domain := range []string{"", "localhost", "[192.0.2.1]", "..%2f..", "a/b.example", strings.Repeat("a.", 150) + "b", strings.Repeat("x", 5000), "b.example.."} {
		if p := s.Policy(t.Context(), domain); p != nil {
			t.Errorf("%.40q has a policy", domain)
		}
	}
	if len(w.resolved) != 0 || canonical("BÜCHER.example.") != "xn--bcher-kva.example" {
		t.Errorf("resolved %q; %q", w.resolved, canonical("BÜCHER.example."))
	}
}

// TestDamagedFiles are removed, and the policy is fetched again.
func TestDamagedFiles(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.open().Policy(t.Context(), "b.example")
	list, err := os.ReadDir(w.options.Dir)
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	name := filepath.Join(w.options.Dir, list[0].Name())
	for at, text := range []string{"", "{", "{}", `{"domain":"../x","mode":"enforce"}`, `{"domain":"c.example","mode":"enforce","mx":["evil.example"],"expires":"2999-01-01T00:00:00Z"}`} {
		for _, path := range []string{name, filepath.Join(w.options.Dir, "new-1")} {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s := w.open()
		if len(s.policies) != 0 {
			t.Errorf("%q was read as a policy", text)
		}
		if s.Policy(t.Context(), "b.example") == nil || w.fetches() != at+2 {
			t.Errorf("%q: not fetched again, %d fetches", text, w.fetches())
		}
		if list, _ := os.ReadDir(w.options.Dir); len(list) != 1 {
			t.Errorf("%q: %d files", text, len(list))
		}
	}
}

// TestMatches: an asterisk stands for one label.
//
// P-16 8461-4.1-a
func TestMatches(t *testing.T) {
	p := Policy{MX: []string{"mx.b.example", "*.ok.example"}}
	for host, want := range map[string]bool{
		"mx.b.example": true, "MX.B.example.": true, "a.ok.example": true, "a.b.ok.example": false, "ok.example": false, "mx.c.example": false, "": false,
	} {
		if p.Matches(host) != want {
			t.Errorf("%q: %v", host, !want)
		}
	}
}

// TestRecordID: what the TXT record may say.
//
// 8461-3.1-a
func TestRecordID(t *testing.T) {
	for text, want := range map[string]string{
		"v=STSv1; id=20160831085700Z;": "20160831085700Z", "v=STSv1;id=a": "a", "v=STSv1 ; x=y; id = b ;": "b",
		"v=STSv1": "", "v=STSv1;": "", "v=STSv1; id=": "", "v=STSv2; id=a": "", " v=STSv1; id=a": "", "v=STSv1; id=a-b": "",
		"v=STSv1; id=" + strings.Repeat("a", 33): "",
	} {
		if got, ok := recordID([]string{text}); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v", text, got, ok)
		}
	}
}

// FuzzRecordID: an id is what RFC 8461 §3.1 lets it be, or there is none.
func FuzzRecordID(f *testing.F) {
	f.Add("v=STSv1; id=20160831085700Z;", "v=STSv1;id=a")
	f.Add("v=STSv1 ; x=y; id = b ;", "v=spf1 -all")
	f.Fuzz(func(t *testing.T, one, other string) {
		id, ok := recordID([]string{one, other})
		if ok != (id != "") || len(id) > 32 || strings.Trim(strings.ToLower(id), "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
			t.Errorf("%q, %v", id, ok)
		}
	})
}

// TestSlowFetch: a policy host that sends an octet now and then has a minute.
//
// P-14 8461-3.3-a
func TestSlowFetch(t *testing.T) {
	ca := relaytest.NewCA(t)
	config := &tls.Config{Certificates: []tls.Certificate{ca.Leaf("mta-sts.b.example")}}
	synctest.Test(t, func(t *testing.T) {
		w := &world{texts: map[string][]string{"_mta-sts.b.example": {"v=STSv1; id=1;"}}}
		var serving sync.WaitGroup
		s := Open(Options{
			Resolver: w, Roots: ca.Pool(),
			Addresses: func(context.Context, string) ([]netip.Addr, error) {
				return []netip.Addr{netip.MustParseAddr("192.0.43.9")}, nil
			},
			Dial: func(context.Context, netip.AddrPort) (net.Conn, error) {
				ours, theirs := net.Pipe()
				serving.Go(func() { drip(tls.Server(theirs, config)) })
				return ours, nil
			},
		})
		start := time.Now()
		if p := s.Policy(t.Context(), "b.example"); p != nil {
			t.Errorf("%+v", p)
		}
		if took := time.Since(start); took != fetchTimeout {
			t.Errorf("took %v, want %v", took, fetchTimeout)
		}
		serving.Wait()
	})
}

// drip answers a request with a policy, an octet a second, as long as it is read.
func drip(c net.Conn) {
	if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
		return
	}
	if _, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", len(good)); err != nil {
		return
	}
	var reading sync.WaitGroup
	reading.Go(func() { _, _ = io.Copy(io.Discard, c) }) // so that a farewell finds a reader
	defer reading.Wait()
	defer c.Close()
	for i := range good {
		time.Sleep(time.Second)
		if _, err := io.WriteString(c, good[i:i+1]); err != nil {
			return
		}
	}
}

// TestNoProxy: nobody else's proxy learns whom we write to, or answers for them.
//
// P-18
func TestNoProxy(t *testing.T) {
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "https_proxy"} {
		t.Setenv(name, "http://127.0.0.1:1")
	}
	if newWorld(t, "").open().Policy(t.Context(), "b.example") == nil {
		t.Error("the policy was not fetched")
	}
}

// TestBound: however many domains have policies, so many are kept; the one that
// would end first makes room.
//
// P-19
func TestBound(t *testing.T) {
	s := newWorld(t, "").open()
	for i := range maxPolicies + 3 {
		s.keep(&Policy{Domain: fmt.Sprintf("d%d.example", i), Mode: Enforce, Expires: time.Now().Add(time.Hour + time.Duration(i)*time.Second)})
	}
	if _, kept := s.policies["d2.example"]; len(s.policies) != maxPolicies || kept || s.policies["d3.example"] == nil {
		t.Errorf("%d policies, the third is kept: %v", len(s.policies), kept)
	}
}

// TestParse: what is read as a policy, and how.
func TestParse(t *testing.T) {
	for _, row := range []struct {
		name, text string
		mode       string
		age        time.Duration
	}{
		{"8461-3.2-a LF", good, Enforce, 24 * time.Hour},
		{"P-15 8461-3.2-a CRLF", strings.ReplaceAll(good, "\n", "\r\n"), Enforce, 24 * time.Hour},
		{"P-15 8461-3.2-a the first of two counts", good + "mode: none\nmax_age: 1\n", Enforce, 24 * time.Hour},
		{"P-15 8461-3.2-a unknown keys", "new: x: y\n" + good, Enforce, 24 * time.Hour},
		{"P-15 a year and a second", strings.Replace(good, "86400", "31557601", 1), Enforce, maxAge},
		{"8461-3.2-a none needs no mx", "version: STSv1\nmode: none\nmax_age: 60\n", None, time.Minute},
	} {
		t.Run(row.name, func(t *testing.T) {
			p, age, err := parse(row.text)
			if err != nil || p.Mode != row.mode || age != row.age {
				t.Errorf("%q for %v, %v", p.Mode, age, err)
			}
		})
	}
}

// P-14
//
// A policy takes no more room than its hosts' names, and these are bounded.
func TestPolicyIsSmall(t *testing.T) {
	text := good + strings.Repeat("x: y\n", 10_000)
	p, _, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	begin := uintptr(unsafe.Pointer(unsafe.StringData(text)))
	for _, s := range append(p.MX, p.Mode) {
		if at := uintptr(unsafe.Pointer(unsafe.StringData(s))); begin <= at && at < begin+uintptr(len(text)) {
			t.Errorf("%q keeps the %d octets of the whole text in memory", s, len(text))
		}
	}
	const name = "mx: a-name-of-31-octets.example.org\n"
	for n, bad := range map[int]bool{maxNames/31 - 1: false, maxNames/31 + 1: true} {
		if p, _, err := parse(good + strings.Repeat(name, n)); (err != nil) != bad {
			t.Errorf("a policy with %d names: %v", len(p.MX), err)
		}
	}
}

// FuzzParse: what is read as a policy has all that a policy needs.
//
// 8461-3.2-a
func FuzzParse(f *testing.F) {
	f.Add(good)
	f.Add("version: STSv1\r\nmode: none\r\nmax_age: 1")
	f.Fuzz(func(t *testing.T, text string) {
		p, age, err := parse(text)
		if err == nil && (age <= 0 || age > maxAge || p.Mode != None && len(p.MX) == 0) {
			t.Error(fmt.Sprint(p, age))
		}
	})
}
