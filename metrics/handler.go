package metrics

import (
	"io"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// scrapeTimeout and scrapesInFlight bound what clients of /metrics can make the
// process do; Prometheus' own default is to give up after ten seconds.
const (
	scrapeTimeout   = 10 * time.Second
	scrapesInFlight = 4
)

// Handler answers three pages to GET and HEAD. Any other path is 404, and any
// other method on one of these is 405:
//
//   - /metrics: what g gathers, in the exposition format that is asked for.
//   - /healthz: 200 and "ok" for as long as the process answers at all.
//   - /readyz: 200 and "ok", or 503 and the reason as plain text while ready
//     returns an error. A nil ready is always ready.
//
// ready is called at each request, from the request's goroutine.
func Handler(g prometheus.Gatherer, ready func() error) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(g, promhttp.HandlerOpts{
		// What could be gathered is worth more than an error page.
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: scrapesInFlight,
		Timeout:             scrapeTimeout,
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		plain(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if ready != nil {
			if err := ready(); err != nil {
				plain(w, http.StatusServiceUnavailable, err.Error())
				return
			}
		}
		plain(w, http.StatusOK, "ok")
	})
	return mux
}

// plain writes one line of text that no browser interprets and no cache keeps.
func plain(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// A client that went away is no concern of ours.
	_, _ = io.WriteString(w, text+"\n")
}
