package bench

import (
	"strings"
	"testing"
	"time"
)

// The two ends fit together: what the client sends, the receiver counts.
func TestLoadReachesReceiver(t *testing.T) {
	for _, reconnect := range []bool{false, true} {
		r, err := NewReceiver("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		load := Load{Target: r.Addr().String(), Messages: 100, Sessions: 7, Size: 5000, Reconnect: reconnect}
		sent, err := load.Run(t.Context())
		if err != nil || sent.Messages != 100 {
			t.Fatalf("sent %d messages: %v", sent.Messages, err)
		}
		last, err := r.Wait(t.Context(), 100)
		if err != nil || last.IsZero() {
			t.Fatalf("waited: %v", err)
		}
		if sent.Percentile(50) > sent.Percentile(99) || sent.Percentile(100) == 0 {
			t.Errorf("percentiles %v, %v", sent.Percentile(50), sent.Percentile(99))
		}
	}
}

func TestContentHasItsSize(t *testing.T) {
	for _, size := range []int{200, 1000, 5120, 65536} {
		content := strings.TrimSuffix(Load{Size: size}.content(), ".\r\n")
		if len(content) != size {
			t.Errorf("size %d, want %d", len(content), size)
		}
		for line := range strings.SplitSeq(content, "\r\n") {
			if len(line) > 78 || strings.Contains(line, "\n") {
				t.Errorf("size %d: line %q", size, line)
			}
		}
	}
}

func TestRefusalEndsTheLoad(t *testing.T) {
	r, err := NewReceiver("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	if _, err := (Load{Target: r.Addr().String(), Messages: 10, Sessions: 2}).Run(t.Context()); err == nil {
		t.Error("nobody listens, and yet all is well")
	}
	if s := (Sent{Elapsed: time.Second}); s.Percentile(50) != 0 || s.Rate() != 0 {
		t.Errorf("nothing sent: %v", s)
	}
}
