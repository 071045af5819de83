// Package dialogue lets somebody read along in SMTP sessions, ours with clients and
// with next hops.
//
// While nobody does it costs one atomic load a session. While somebody does, each
// session that begins keeps its lines, up to a bound, until it turns out to be
// wanted: by its client, its next hop, or a recipient that is named in it. From then
// on its lines are told as they come. What stands in for a password is never kept:
// the arguments and the lines of AUTH, and what is asked for them. Contents are not
// lines, and are never told.
package dialogue

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"waypost/relay/pseudonym"
)

// maxKept bounds, in lines, what a session keeps until it is wanted.
const maxKept = 200

// maxLine bounds a line, in octets.
const maxLine = 1000

// Line is one line of a session.
type Line struct {
	// Time is when it came, in UTC.
	Time time.Time `json:"time"`
	// Session tells sessions apart, and Inbound those of clients from ours
	// with next hops.
	Session uint64 `json:"session"`
	Inbound bool   `json:"inbound"`
	// Peer is the client's address, or the host with its address.
	Peer string `json:"peer"`
	// Sent says that we said it.
	Sent bool `json:"sent"`
	// Note says that nobody did: it tells what became of the session.
	Note bool   `json:"note,omitempty"`
	Text string `json:"text"`
}

// Filter says which sessions are wanted: those that fit one of its parts.
type Filter struct {
	// Clients are the networks of clients.
	Clients []netip.Prefix
	// Listeners are where clients come in; an unspecified address is any.
	Listeners []netip.AddrPort
	// Destinations are next hops, as the queue names them, or their hosts.
	Destinations []string
	// Recipients are mailboxes, or domains.
	Recipients []string
	// Pseudonyms replaces the local parts of addresses; the same one is the
	// same for as long as the process runs.
	Pseudonyms bool
}

// Hub knows who reads along. A nil Hub has nobody who does.
type Hub struct {
	watched atomic.Bool
	numbers atomic.Uint64
	mu      sync.Mutex
	readers []*Reader
	names   *pseudonym.Maker
}

// New returns a Hub.
func New() *Hub { return &Hub{names: pseudonym.New()} }

// Reader reads along.
type Reader struct {
	// Lines are those of wanted sessions. It is never closed.
	Lines  <-chan Line
	lines  chan Line
	filter Filter
	missed atomic.Int64
	hub    *Hub
}

// Read begins to read along in sessions that begin from now on; buffer is how many
// lines may wait to be read. Stop must be called in the end.
func (h *Hub) Read(f Filter, buffer int) *Reader {
	lines := make(chan Line, buffer)
	r := &Reader{Lines: lines, lines: lines, filter: f, hub: h}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.readers = append(h.readers, r)
	h.watched.Store(true)
	return r
}

// Missed returns how many lines came too fast since it was last asked.
func (r *Reader) Missed() int64 { return r.missed.Swap(0) }

// Stop ends the reading.
func (r *Reader) Stop() {
	h := r.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	h.readers = slices.DeleteFunc(h.readers, func(o *Reader) bool { return o == r })
	h.watched.Store(len(h.readers) > 0)
}

// Session is one in which somebody may read along; nil where nobody does. It is
// not for concurrent use.
type Session struct {
	hub     *Hub
	proto   Line // what all of its lines share
	names   []string
	client  netip.Addr
	at      netip.AddrPort // where it came in
	kept    []Line
	dropped int
	auth    bool      // AUTH was said
	wanted  []*Reader // those that were told
	readers []*Reader // those that may want it yet
}

// Client begins a session with a client that came in at an address of ours.
func (h *Hub) Client(addr netip.Addr, at net.Addr) *Session {
	if h == nil || !h.watched.Load() {
		return nil
	}
	s := &Session{proto: Line{Inbound: true, Peer: addr.String()}, client: addr}
	if tcp, ok := at.(*net.TCPAddr); ok {
		s.at = tcp.AddrPort()
	}
	return h.begin(s)
}

// Host begins a session with a host, which is known by names.
func (h *Hub) Host(peer string, names ...string) *Session {
	if h == nil || !h.watched.Load() {
		return nil
	}
	return h.begin(&Session{proto: Line{Peer: peer}, names: names})
}

func (h *Hub) begin(s *Session) *Session {
	s.hub, s.proto.Session = h, h.numbers.Add(1)
	h.mu.Lock()
	s.readers = slices.Clone(h.readers)
	h.mu.Unlock()
	s.choose(func(f *Filter) bool {
		return s.client.IsValid() && slices.ContainsFunc(f.Clients, func(p netip.Prefix) bool { return p.Contains(s.client.Unmap()) }) ||
			s.at.IsValid() && slices.ContainsFunc(f.Listeners, s.cameIn) ||
			slices.ContainsFunc(s.names, func(name string) bool { return f.destination(name) })
	})
	s.Note("session begins")
	return s
}

// cameIn reports whether the session came in at a listener.
func (s *Session) cameIn(listener netip.AddrPort) bool {
	addr := listener.Addr().Unmap()
	return listener.Port() == s.at.Port() && (addr.IsUnspecified() || addr == s.at.Addr().Unmap())
}

func (f *Filter) destination(name string) bool {
	return slices.ContainsFunc(f.Destinations, func(d string) bool { return strings.EqualFold(d, name) })
}

// recipient reports whether a session is wanted for a recipient.
func (f *Filter) recipient(inbound bool, path string) bool {
	_, domain, _ := strings.Cut(path, "@")
	return slices.ContainsFunc(f.Recipients, func(r string) bool {
		return strings.EqualFold(r, path) || strings.EqualFold(strings.TrimPrefix(r, "@"), domain)
	}) || !inbound && f.destination(domain)
}

// choose has the readers told everything so far that turn out to want it.
func (s *Session) choose(want func(*Filter) bool) {
	s.readers = slices.DeleteFunc(s.readers, func(r *Reader) bool {
		if !want(&r.filter) {
			return false
		}
		s.wanted = append(s.wanted, r)
		if s.dropped > 0 {
			r.tell(s.line(Line{Note: true, Text: "earlier lines were not kept"}))
		}
		for _, line := range s.kept {
			r.tell(line)
		}
		return true
	})
}

func (s *Session) line(l Line) Line {
	text := strings.ToValidUTF8(l.Text[:min(len(l.Text), maxLine)], "?")
	out := s.proto
	out.Time, out.Sent, out.Note, out.Text = time.Now().UTC(), l.Sent, l.Note, text
	return out
}

func (s *Session) add(l Line) {
	l = s.line(l)
	for _, r := range s.wanted {
		r.tell(l)
	}
	if len(s.readers) == 0 {
		s.kept = nil // nobody can come who would want it
	} else if len(s.kept) < maxKept {
		s.kept = append(s.kept, l)
	} else {
		s.dropped++
	}
}

func (r *Reader) tell(l Line) {
	if r.filter.Pseudonyms {
		l.Text = r.hub.names.Text(l.Text)
	}
	select {
	case r.lines <- l:
	default:
		r.missed.Add(1)
	}
}

// Command is a command, that we sent or not.
func (s *Session) Command(sent bool, line string) {
	if s == nil {
		return
	}
	line = strings.TrimRight(line, "\r\n")
	s.add(Line{Sent: sent, Text: s.masked(line)})
	if path, ok := recipientOf(line); ok {
		s.choose(func(f *Filter) bool { return f.recipient(s.proto.Inbound, path) })
	}
}

// Secret is a line that nobody may read.
func (s *Session) Secret(sent bool) {
	if s != nil {
		s.add(Line{Sent: sent, Text: "***"})
	}
}

// Reply is one line of a reply.
func (s *Session) Reply(sent bool, line string) {
	if s == nil {
		return
	}
	if strings.HasPrefix(line, "334") { // RFC 4954 §4: a challenge
		line = "334 ***"
	}
	s.add(Line{Sent: sent, Text: line})
}

// Note is what became of the session.
func (s *Session) Note(text string) {
	if s != nil {
		s.add(Line{Note: true, Text: text})
	}
}

// recipientOf returns the forward-path of a RCPT command.
func recipientOf(line string) (path string, ok bool) {
	const rcpt = "RCPT TO:"
	if len(line) < len(rcpt) || !strings.EqualFold(line[:len(rcpt)], rcpt) {
		return "", false
	}
	_, rest, ok := strings.Cut(line, "<")
	if end := strings.LastIndexByte(rest, '>'); ok && end >= 0 {
		return rest[:end], true
	}
	return "", false
}
