package control

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"waypost/relay/dialogue"
)

// DebugRequest asks to read along in sessions that begin from now on: those that
// fit one of its parts.
type DebugRequest struct {
	// Clients are addresses of clients, or networks.
	Clients []string `json:"clients,omitempty"`
	// Listeners are addresses at which clients come in, "192.0.2.1:25"; an
	// unspecified address, or none before the colon, is any.
	Listeners []string `json:"listeners,omitempty"`
	// Destinations are next hops, as lists have them, or their hosts.
	Destinations []string `json:"destinations,omitempty"`
	// Recipients are mailboxes, or domains.
	Recipients []string `json:"recipients,omitempty"`
	// Pseudonyms replaces the local parts of addresses.
	Pseudonyms bool `json:"pseudonyms,omitempty"`
	// LogLevel is what the log has meanwhile: debug, info, warn or error; ""
	// leaves it.
	LogLevel string `json:"log_level,omitempty"`
	// Seconds is for how long; 0 is 10 minutes, and a day is the most.
	Seconds float64 `json:"seconds,omitempty"`
}

// Debugged is one thing that is told; one of its fields is set.
type Debugged struct {
	// Begun says that sessions that begin from here on are told.
	Begun bool           `json:"begun,omitempty"`
	Line  *dialogue.Line `json:"line,omitempty"`
	// Missed says that so many lines came too fast.
	Missed int64 `json:"missed,omitempty"`
}

const (
	debugBuffer  = 4096
	defaultDebug = 10 * time.Minute
	maxDebug     = 24 * time.Hour
)

// debugger has sessions read along in.
type debugger struct {
	dialogues *dialogue.Hub
	level     *slog.LevelVar
	changed   atomic.Bool // somebody has the log at another level
}

// filter checks a request.
func (r *DebugRequest) filter() (f dialogue.Filter, span time.Duration, err error) {
	f = dialogue.Filter{Destinations: r.Destinations, Recipients: r.Recipients, Pseudonyms: r.Pseudonyms}
	for _, text := range r.Clients {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			addr, failed := netip.ParseAddr(text)
			if failed != nil {
				return f, 0, badRequest("%.60q is neither an address nor a network", text)
			}
			network = netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen())
		}
		f.Clients = append(f.Clients, network)
	}
	for _, text := range r.Listeners {
		full := text
		if strings.HasPrefix(text, ":") {
			full = "[::]" + text
		}
		at, err := netip.ParseAddrPort(full)
		if err != nil {
			return f, 0, badRequest("%.60q is no address with a port, such as 0.0.0.0:25", text)
		}
		f.Listeners = append(f.Listeners, at)
	}
	if len(r.Clients)+len(r.Listeners)+len(r.Destinations)+len(r.Recipients) == 0 && r.LogLevel == "" {
		return f, 0, badRequest("there is nothing to choose sessions by")
	}
	if !(r.Seconds >= 0 && r.Seconds <= maxDebug.Seconds()) {
		return f, 0, badRequest("%v seconds is no time for this", r.Seconds)
	}
	if span = time.Duration(r.Seconds * float64(time.Second)); span == 0 {
		span = defaultDebug
	}
	return f, span, nil
}

// debug tells of sessions until the time is over or who asked has gone.
func (d *debugger) debug(w http.ResponseWriter, r *http.Request) {
	asked := &DebugRequest{}
	var f dialogue.Filter
	var span time.Duration
	err := readJSON(http.MaxBytesReader(w, r.Body, maxRequest), asked)
	if err == nil {
		f, span, err = asked.filter()
	}
	if err == nil && d.dialogues == nil {
		err = errNotRunning
	}
	var restore func()
	if err == nil {
		restore, err = d.setLevel(asked.LogLevel)
	}
	if err != nil {
		writeProblem(w, err)
		return
	}
	stream(w, func(item func(any)) (any, error) {
		defer restore() // before whoever asked hears that it is over
		ctx, cancel := context.WithTimeout(r.Context(), span)
		defer cancel()
		reader := d.dialogues.Read(f, debugBuffer)
		defer reader.Stop()
		item(Debugged{Begun: true})
		beat := time.NewTicker(pulse)
		defer beat.Stop()
		for {
			select {
			case <-ctx.Done():
				return struct{}{}, r.Context().Err()
			case <-beat.C:
				item(Debugged{Missed: reader.Missed()})
			case line := <-reader.Lines:
				item(Debugged{Line: &line})
			}
		}
	})
}

// setLevel has the log at another level until restore is called. A reload that
// changes it meanwhile is not undone.
func (d *debugger) setLevel(word string) (restore func(), err error) {
	if word == "" {
		return func() {}, nil
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(word)); err != nil {
		return nil, badRequest("%.20q is no level of the log", word)
	}
	if d.level == nil {
		return nil, errNotRunning
	}
	if d.changed.Swap(true) {
		return nil, &Problem{Code: CodeTemporary, Text: "somebody else has the log at another level for a while"}
	}
	before := d.level.Level()
	d.level.Set(level)
	return func() {
		if d.level.Level() == level {
			d.level.Set(before)
		}
		d.changed.Store(false)
	}, nil
}

// Debug calls tell with what is said in sessions, until the time is over, ctx is
// done, or tell returns an error.
func (c *Client) Debug(ctx context.Context, r DebugRequest, tell func(*Debugged) error) error {
	var nothing struct{}
	return c.stream(ctx, "/v1/debug", r, &nothing, func(item json.RawMessage) error {
		d := &Debugged{}
		if err := json.Unmarshal(item, d); err != nil {
			return fmt.Errorf("read a line of a session: %w", err)
		}
		return tell(d)
	})
}
