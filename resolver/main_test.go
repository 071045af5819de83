package resolver

import (
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"waypost/resolver/dnstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newResolver returns a resolver that asks the server and reads no file of the
// machine. Unset options get values that suit a test.
func newResolver(t testing.TB, s *dnstest.Server, o Options) *Resolver {
	t.Helper()
	if s != nil {
		o.Servers = []string{s.Addr}
	}
	if o.HostsFile == "" {
		o.HostsFile = filepath.Join(t.TempDir(), "hosts")
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second // never reached where a reply comes
	}
	return New(o)
}

func addrs(t testing.TB, texts ...string) []netip.Addr {
	t.Helper()
	var list []netip.Addr
	for _, text := range texts {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, addr)
	}
	return list
}

// wantKind tests that err is an *Error of a kind, whose permanence and enhanced
// code fit together.
func wantKind(t testing.TB, err error, kind Kind) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %v (%T), want an *Error of kind %q", err, err, kind)
	}
	if e.Kind != kind {
		t.Fatalf("error is %v, want kind %q", err, kind)
	}
	if permanent := e.Enhanced[0] == 5; e.Permanent() != permanent {
		t.Errorf("Permanent() is %v, and the code is %v", e.Permanent(), e.Enhanced)
	}
	if e.Error() == "" || e.Name == "" {
		t.Errorf("the error says too little: %#v", e)
	}
	return e
}

// names returns the hosts' names, those of each preference sorted, as their
// order is random.
func names(hosts []Host) []string {
	list := slices.Clone(hosts)
	slices.SortStableFunc(list, func(a, b Host) int {
		if a.Preference != b.Preference {
			return int(a.Preference) - int(b.Preference)
		}
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	var texts []string
	for _, h := range list {
		texts = append(texts, h.Name)
	}
	return texts
}
