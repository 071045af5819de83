package resolver

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// L-10: a fault that a reply may have led to.
//
// TestFaultEndsOneLookup: a fault of ours in a look-up is a failure for now, and
// tells senders nothing of us.
func TestFaultEndsOneLookup(t *testing.T) {
	var mu sync.Mutex
	var told []string
	good := says(t, "good.example. 300 IN MX 10 mx.example.")
	r := newResolver(t, nil, Options{
		Servers: []string{"192.0.2.1"},
		Panicked: func(name string, fault any) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, name+": "+fault.(string))
		},
		Exchange: func(_ context.Context, _, server string, query *dns.Msg) (*dns.Msg, error) {
			if query.Question[0].Name == "skin.example." {
				panic("secret")
			}
			return good(server, query)
		},
	})
	for range 2 {
		_, err := r.Hosts(t.Context(), "skin.example")
		wantKind(t, err, Temporary)
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%v tells of the fault", err)
		}
	}
	if _, err := r.Hosts(t.Context(), "good.example"); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(told, []string{"skin.example: secret"}) {
		t.Errorf("told of %q", told)
	}
}
