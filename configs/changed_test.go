package configs

import (
	"reflect"
	"slices"
	"testing"
)

func TestChangedAndWith(t *testing.T) {
	before := must(t, "hostname = 'a.example'\n[queue]\nlifetime = '1d'\n[relay]\ndomains = ['x.example']")
	after := must(t, "hostname = 'b.example'\n[queue]\nlifetime = '1d'\nretry = ['1m']\n[[route]]\nto = '*'\nvia = ['mx:']")
	if got, want := before.Changed(after), []string{"hostname", "relay.domains", "queue.retry", "route"}; !slices.Equal(got, want) {
		t.Errorf("changed %v, want %v", got, want)
	}
	if got := before.Changed(before); len(got) > 0 {
		t.Errorf("changed %v from itself", got)
	}
	merged := after.With(before, []string{"hostname", "queue.retry"})
	if got, want := before.Changed(merged), []string{"relay.domains", "route"}; !slices.Equal(got, want) {
		t.Errorf("changed %v, want %v", got, want)
	}
	if after.Hostname != "b.example" || !reflect.DeepEqual(merged.Queue.Lifetime, after.Queue.Lifetime) {
		t.Error("the original has changed, or too much of the copy")
	}
}
