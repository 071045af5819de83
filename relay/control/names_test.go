package control

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"waypost/metrics"
)

func TestNames(t *testing.T) {
	f := &fake{onHold: []string{"held.test", "z.test"}}
	f.stats = metrics.QueueStats{Classes: []metrics.ClassStats{{Name: "otp"}, {Name: "default"}}}
	for i := range 2 * maxNames {
		f.listeners = append(f.listeners, fmt.Sprintf("192.0.2.1:%03d", i))
	}
	c, _ := connect(t, f)
	for _, test := range []struct {
		of     NameKind
		prefix string
		want   []string
	}{
		{DestinationNames, "", []string{"a.test", "b.test", "held.test", "z.test"}},
		{DestinationNames, "z", []string{"z.test"}},
		{DestinationNames, "nothing", []string{}},
		{ClassNames, "", []string{"default", "otp"}},
		{ClassNames, "o", []string{"otp"}},
		{ListenerNames, "", f.listeners[:maxNames]},
		{ListenerNames, "192.0.2.1:199", f.listeners[199:200]},
	} {
		if got, err := c.Names(t.Context(), test.of, test.prefix); err != nil || !slices.Equal(got, test.want) || got == nil {
			t.Errorf("%s %q: %q, %v", test.of, test.prefix, got, err)
		}
	}
	_, err := c.Names(t.Context(), "sender", "")
	if problem, ok := errors.AsType[*Problem](err); !ok || problem.Code != CodeBadRequest {
		t.Errorf("%v", err)
	}
}
