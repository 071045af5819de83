package pace

import (
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"waypost/metrics"
)

const (
	// maxSites is how many sites, and destinations, are remembered, and
	// rememberFor how long.
	maxSites    = 100_000
	rememberFor = time.Hour
)

// Options configure a Pacer.
type Options struct {
	// Rules are asked in order; the first that matches counts.
	Rules []*Rule
	// Default is for sites that no rule matches.
	Default Bounds
	// Metrics counts; nil counts into nothing.
	Metrics *metrics.Metrics
}

// Pacer knows the sites. It is safe for concurrent use.
type Pacer struct {
	metrics *metrics.Metrics
	mu      sync.Mutex
	rules   []*Rule
	common  Bounds
	sites   map[string]*site
	homes   map[string]home // of destinations
	again   func(destination string) bool
	swept   time.Time
}

// home is the site where a destination was last.
type home struct {
	site    *site
	touched time.Time
}

// New returns a Pacer.
func New(o Options) *Pacer {
	p := &Pacer{metrics: o.Metrics}
	if p.metrics == nil {
		p.metrics = metrics.New(nil)
	}
	p.SetRules(o.Rules, o.Default)
	return p
}

// SetRules changes the rules. All sites begin anew; attempts that run are not
// counted at them.
func (p *Pacer) SetRules(rules []*Rule, common Bounds) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.sites
	p.rules, p.common = rules, common
	p.sites, p.homes = map[string]*site{}, map[string]home{}
	p.metrics.PaceWindow.Reset()
	p.metrics.PaceAttempts.Reset()
	for i, r := range rules {
		if !r.Each {
			p.siteOf(i, Hop{}).show()
		}
	}
	for _, s := range old {
		s.label = ""
		s.arm(time.Now(), time.Time{})
		if all := slices.Collect(maps.Keys(s.line.places)); len(all) > 0 {
			p.waiting(-len(all))
			p.callAll(s, all)
		}
		s.line, s.invited = line{}, nil
	}
}

// Admit asks for an attempt at a destination to begin: among those that wait, that of
// the highest urgency goes first. When it may not, again is
// called with the destination's name as soon as it is its turn, from another
// goroutine, and reports whether Admit will be; always give the same function.
func (p *Pacer) Admit(destination string, urgency int, again func(destination string) bool) (*Pass, bool) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.again = again
	p.sweep(now)
	h, known := p.homes[destination]
	if !known {
		// Where it leads will be found out; until then it is a site of its own.
		h.site = p.sites[ownKey(destination)]
		if h.site == nil {
			h.site = p.newSite(ownKey(destination), destination, Bounds{MaxConnections: p.common.MaxConnections})
			h.site.own, p.sites[h.site.key] = true, h.site
		}
	}
	h.touched = now
	p.homes[destination] = h
	if !h.site.admit(destination, urgency, now) {
		return nil, false
	}
	pass := &Pass{pacer: p, destination: destination, site: h.site, began: now}
	pass.reserve(now)
	return pass, true
}

// rehome notes where a destination was last. It does not wait at another site any
// more, where it would stand in line until that has a place.
func (p *Pacer) rehome(destination string, to *site, now time.Time) {
	old := p.homes[destination].site
	p.homes[destination], to.touched = home{to, now}, now
	if old == nil || old == to {
		return
	}
	if old.line.remove(destination) {
		p.waiting(-1)
		p.callAll(old, []string{destination})
	}
	delete(old.invited, destination)
	if old.call(now); old.own && old.idle() {
		p.forget(old)
	}
}

// ownKey is that of a destination of which nothing more is known. It is no host's.
func ownKey(destination string) string { return "= " + destination }

// place returns the index of the rule for a hop, -1 for none, and the site's key.
func (p *Pacer) place(h Hop) (rule int, key string) {
	for i, r := range p.rules {
		if r.matches(h) {
			if key = "# " + strconv.Itoa(i); r.Each {
				key += " " + h.Name
			}
			return i, key
		}
	}
	return -1, h.Name
}

// siteOf returns the site of a hop by a rule; -1 is none.
func (p *Pacer) siteOf(rule int, h Hop) *site {
	key, name, label, bounds := h.Name, h.Name, "", p.common
	if rule >= 0 {
		r := p.rules[rule]
		key, bounds = "# "+strconv.Itoa(rule), r.Bounds
		if bounds.MaxConnections == 0 {
			bounds.MaxConnections = p.common.MaxConnections
		}
		if r.Each {
			key += " " + h.Name
		} else {
			name, label = r.Name, r.Name
		}
	}
	s := p.sites[key]
	if s == nil {
		s = p.newSite(key, name, bounds)
		s.label = label
		if rule >= 0 {
			s.rule = p.rules[rule].Name
		}
		p.sites[key] = s
	}
	return s
}

// forget drops the site of a destination of its own.
func (p *Pacer) forget(s *site) {
	delete(p.sites, s.key)
	if p.homes[s.name].site == s {
		delete(p.homes, s.name)
	}
}

// callAll calls destinations, whoever holds which lock. The place of one that does
// not want it any more goes to the next in line.
func (p *Pacer) callAll(s *site, names []string) {
	again := p.again
	go func() {
		for _, name := range names {
			if !again(name) {
				p.mu.Lock()
				delete(s.invited, name)
				s.call(time.Now())
				p.mu.Unlock()
			}
		}
	}()
}

func (p *Pacer) waiting(n int) { p.metrics.PaceWaiting.Add(float64(n)) }

// sweep forgets what was not used for long.
func (p *Pacer) sweep(now time.Time) {
	full := len(p.sites) > maxSites || len(p.homes) > maxSites
	if !full && now.Sub(p.swept) < rememberFor/4 || full && now.Sub(p.swept) < time.Second {
		return
	}
	p.swept = now
	old := func(touched time.Time) bool { return full || now.Sub(touched) > rememberFor }
	maps.DeleteFunc(p.sites, func(_ string, s *site) bool { return s.label == "" && s.idle() && old(s.touched) })
	maps.DeleteFunc(p.homes, func(_ string, h home) bool { return h.site.idle() && old(h.touched) })
}

// State is how a site stands.
type State struct {
	// Site is its name: that of a rule, or of its hosts.
	Site string
	// Rule is the name of the rule that holds, "" for none, and Bounds are what
	// it sets.
	Rule   string
	Bounds Bounds
	// Known says that the site was used of late. The rest is zero without it.
	Known bool
	// Window is how many attempts may run at once, and Used how many do; Waiting
	// is how many destinations wait for a place.
	Window, Used, Waiting int
	// Until is when a site is tried again that is left alone, or that has sent
	// what it may; zero when it need not wait.
	Until time.Time
	// Trouble is what failed last; "" when all is well.
	Trouble string
}

// State returns how the site of a hop stands.
func (p *Pacer) State(h Hop) State {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	rule, key := p.place(h)
	out := State{Site: h.Name, Bounds: p.common.withDefaults()}
	if rule >= 0 {
		out.Rule = p.rules[rule].Name
	}
	if s := p.sites[key]; s != nil {
		return s.state(now)
	}
	if rule >= 0 {
		out.Bounds = p.rules[rule].Bounds.withDefaults()
	}
	return out
}

// Standing returns how the site stands where a destination was last; false where
// that is not known.
func (p *Pacer) Standing(destination string) (State, bool) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	h, known := p.homes[destination]
	if !known {
		return State{}, false
	}
	return h.site.state(now), true
}

// Why says what a destination waits for, "" when it does not.
func (p *Pacer) Why(destination string) string {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	h, known := p.homes[destination]
	if !known || !h.site.line.has(destination) {
		return ""
	}
	text := map[string]string{
		metrics.PaceRest: "host does not answer, or refuses: left alone for a while", metrics.PaceRate: "limit of messages within a time reached",
	}[h.site.limited(now, 0).word]
	if text == "" {
		text = "limit of connections reached"
	}
	text += " at " + h.site.name
	if h.site.trouble != "" {
		text += "; last: " + h.site.trouble
	}
	return text
}
