package metrics

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

func TestPages(t *testing.T) {
	reg, _ := complete()
	unready := errors.New("the queue is being opened")
	for _, tt := range []struct {
		name, method, path string
		ready              func() error
		status             int
		body               string
	}{
		{"alive", "GET", "/healthz", func() error { return unready }, 200, "ok\n"},
		{"ready", "GET", "/readyz", func() error { return nil }, 200, "ok\n"},
		{"always ready", "GET", "/readyz", nil, 200, "ok\n"},
		{"not ready", "GET", "/readyz", func() error { return unready }, 503, "the queue is being opened\n"},
		{"head", "HEAD", "/healthz", nil, 200, ""},
		{"elsewhere", "GET", "/", nil, 404, "404 page not found\n"},
		{"below", "GET", "/metrics/more", nil, 404, "404 page not found\n"},
		{"profiles", "GET", "/debug/pprof/", nil, 404, "404 page not found\n"},
		{"post", "POST", "/healthz", nil, 405, "Method Not Allowed\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := httptest.NewServer(Handler(reg, tt.ready))
			defer srv.Close()
			status, header, body := request(t, srv.Client(), tt.method, srv.URL+tt.path)
			if status != tt.status || body != tt.body {
				t.Errorf("%s %s: %d %q, want %d %q", tt.method, tt.path, status, body, tt.status, tt.body)
			}
			if got := header.Get("Content-Type"); !strings.HasPrefix(got, "text/plain") {
				t.Errorf("Content-Type %q, want text/plain", got)
			}
		})
	}
}

// TestExpositionParses reads the page as a Prometheus server would.
func TestExpositionParses(t *testing.T) {
	reg, m := complete()
	m.Refused.WithLabelValues(RefusedLoop).Inc()
	m.AttemptDuration.Observe(0.2)
	srv := httptest.NewServer(Handler(reg, nil))
	defer srv.Close()
	status, _, body := request(t, srv.Client(), "GET", srv.URL+"/metrics")
	if status != 200 {
		t.Fatalf("status %d, want 200", status)
	}
	if _, err := promlint.New(strings.NewReader(body)).Lint(); err != nil {
		t.Fatalf("parse the exposition: %v", err)
	}
	for _, line := range []string{
		`waypost_refused_total{reason="loop"} 1`,
		`waypost_refused_total{reason="size"} 0`,
		`waypost_attempt_duration_seconds_bucket{le="0.25"} 1`,
		`waypost_delivery_latency_seconds_bucket{le="432000"} 0`,
		`waypost_tls_handshakes_total{direction="out",version="1.3"} 0`,
	} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("the page lacks %s", line)
		}
	}
	for _, name := range []string{"go_goroutines", "process_open_fds"} {
		if !strings.Contains(body, "\n"+name+" ") {
			t.Errorf("the page lacks %s", name)
		}
	}
}

// TestHalfAPageIsServed has one collector fail: the rest must still be there.
func TestHalfAPageIsServed(t *testing.T) {
	reg, m := complete()
	m.Sessions.Inc()
	reg.MustRegister(failing{})
	srv := httptest.NewServer(Handler(reg, nil))
	defer srv.Close()
	status, _, body := request(t, srv.Client(), "GET", srv.URL+"/metrics")
	if status != 200 || !strings.Contains(body, "\nwaypost_sessions_total 1\n") {
		t.Errorf("status %d, and the page has sessions: %t; want 200 and true", status, strings.Contains(body, "waypost_sessions_total"))
	}
}

// failing is a collector whose one metric cannot be had.
type failing struct{}

func (failing) Describe(ch chan<- *prometheus.Desc) { ch <- failingDesc() }

func (failing) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.NewInvalidMetric(failingDesc(), errors.New("no figure today"))
}

func failingDesc() *prometheus.Desc { return prometheus.NewDesc("failing", "Fails.", nil, nil) }

func request(t *testing.T, client *http.Client, method, url string) (status int, header http.Header, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer res.Body.Close()
	var text strings.Builder
	if err := copyBody(&text, res); err != nil {
		t.Fatalf("%s %s: read the body: %v", method, url, err)
	}
	return res.StatusCode, res.Header, text.String()
}
