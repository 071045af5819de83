//go:build interop

package deploy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/smtp"
	"net/textproto"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"waypost/configs"
	"waypost/relay"
	"waypost/relay/dkim"
	"waypost/relay/relaytest"
	"waypost/resolver/dnstest"
)

// host is a waypost that Prometheus asks.
type host struct {
	t             *testing.T
	name          string
	smtp, metrics string
	process       *exec.Cmd
	dns           *dnstest.Server
	sink          *relaytest.Sink
}

// compile builds the program.
func compile(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "waypost")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", name, "../cmd/waypost").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return name
}

// newHost prepares a host. Mail by MX goes to its sink; so does all other mail,
// unless settings have a route.
func newHost(t *testing.T, name string, options ...relaytest.SinkOption) *host {
	return &host{t: t, name: name, smtp: freeAddress(t), metrics: freeAddress(t), dns: dnstest.New(t), sink: relaytest.NewSink(t, "127.0.0.1:0", options...)}
}

// environment has a host's own settings before others.
func (h *host) environment(settings []string) []string {
	data := filepath.Join(h.t.TempDir(), "data")
	all := append([]string{
		"WAYPOST_HOSTNAME=" + h.name + ".example", "WAYPOST_DATA_DIR=" + data, "WAYPOST_LISTENER_0_ADDRESS=" + h.smtp, "WAYPOST_METRICS_ADDRESS=" + h.metrics,
		"WAYPOST_RESOLVER_SERVERS=" + h.dns.Addr, "WAYPOST_QUEUE_MIN_FREE=0", "WAYPOST_QUEUE_EPHEMERAL=true", "WAYPOST_DELIVERY_ALLOW_PRIVATE=127.0.0.0/8",
		"WAYPOST_DELIVERY_SMTP_PORT=" + strconv.Itoa(h.sink.Port()),
	}, settings...)
	if !slices.ContainsFunc(settings, func(s string) bool { return strings.HasPrefix(s, "WAYPOST_ROUTE_") }) {
		all = append(all, "WAYPOST_ROUTE_0_TO=*", "WAYPOST_ROUTE_0_VIA=smtp://"+h.sink.Address())
	}
	return all
}

// start runs the program with more settings, and waits until it listens.
func (h *host) start(program string, settings ...string) {
	h.t.Helper()
	h.process = exec.CommandContext(h.t.Context(), program, "serve")
	var log bytes.Buffer
	h.process.Env, h.process.Stderr = append(os.Environ(), h.environment(settings)...), &log
	if err := h.process.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		h.stop()
		if h.t.Failed() {
			h.t.Logf("%s:\n%s", h.name, &log)
		}
	})
	h.until("it listens", func() bool {
		c, err := textproto.Dial("tcp", h.smtp)
		if err != nil {
			return false
		}
		return c.Close() == nil
	})
}

// startHere runs the service in this process, with a log of its own.
func (h *host) startHere(log *slog.Logger, settings ...string) {
	h.t.Helper()
	c, err := configs.Load("", h.environment(settings))
	if err != nil {
		h.t.Fatal(err)
	}
	r, err := relay.New(c, relay.Options{Log: log})
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	h.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			h.t.Errorf("%s: %v", h.name, err)
		}
	})
}

func (h *host) stop() {
	h.process.Process.Kill()
	h.process.Wait()
}

// until waits for something that only another program knows.
func (h *host) until(what string, done func() bool) {
	h.t.Helper()
	until(h.t, h.name+": "+what, done)
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(2 * time.Minute); !done(); {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// send gives a host messages, each from and to another address.
func (h *host) send(n int, domain string) {
	h.t.Helper()
	c, err := smtp.Dial(h.smtp)
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.Close()
	for i := range n {
		to := strings.ReplaceAll(domain, "#", strconv.Itoa(i))
		w, err := func() (w interface {
			Write([]byte) (int, error)
			Close() error
		}, err error) {
			if err := c.Mail(fmt.Sprintf("s%d@home.example", i)); err != nil {
				return nil, err
			}
			if err := c.Rcpt(fmt.Sprintf("r%d@%s", i, to)); err != nil {
				return nil, err
			}
			return c.Data()
		}()
		if err == nil {
			_, err = w.Write([]byte("From: s@home.example\r\nSubject: x\r\n\r\nx\r\n"))
			err = errors.Join(err, w.Close())
		}
		if err != nil {
			h.t.Fatalf("%s: message %d: %v", h.name, i, err)
		}
	}
}

// refused has a host refuse mail.
func (h *host) refused(t *testing.T) {
	err := smtp.SendMail(h.smtp, nil, "s@home.example", []string{"r@away.example"}, []byte("x"))
	if err == nil {
		t.Fatalf("%s takes mail", h.name)
	}
}

// monitor is a real Prometheus.
type monitor struct {
	t       *testing.T
	address string
}

// startPrometheus has it ask the hosts twice a second.
func startPrometheus(t *testing.T, rules string, options []string, hosts ...*host) *monitor {
	t.Helper()
	dir := t.TempDir()
	var config strings.Builder
	config.WriteString("global:\n  scrape_interval: 500ms\n  evaluation_interval: 500ms\nrule_files:\n  - rules.yml\nscrape_configs:\n  - job_name: waypost\n    static_configs:\n")
	for _, h := range hosts {
		fmt.Fprintf(&config, "      - targets: [%q]\n        labels: {instance: %q}\n", h.metrics, h.name)
	}
	for name, text := range map[string]string{"prometheus.yml": config.String(), "rules.yml": rules} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := &monitor{t: t, address: freeAddress(t)}
	options = append(options, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+p.address, "--log.level=error")
	c := exec.CommandContext(t.Context(), "prometheus", options...)
	var log bytes.Buffer
	c.Stderr = &log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
		if t.Failed() {
			t.Logf("prometheus:\n%s", &log)
		}
	})
	until(t, "prometheus is ready", func() bool {
		r, err := http.Get("http://" + p.address + "/-/ready")
		if err != nil {
			return false
		}
		defer r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
	return p
}

func (p *monitor) get(path string, query url.Values, into any) {
	p.t.Helper()
	r, err := http.Get("http://" + p.address + "/api/v1/" + path + "?" + query.Encode())
	if err != nil {
		p.t.Fatal(err)
	}
	defer r.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(r.Body).Decode(&answer); err != nil {
		p.t.Fatal(err)
	}
	if answer.Status != "success" {
		p.t.Fatalf("%s %s: %s", path, query, answer.Error)
	}
	if err := json.Unmarshal(answer.Data, into); err != nil {
		p.t.Fatal(err)
	}
}

// query returns how many series an expression has.
func (p *monitor) query(expr string) int {
	p.t.Helper()
	var data struct{ Result []json.RawMessage }
	p.get("query", url.Values{"query": {expr}}, &data)
	return len(data.Result)
}

// firing are the alerts that fire, by host.
func (p *monitor) firing() map[string][]string {
	p.t.Helper()
	var data struct {
		Alerts []struct {
			State  string
			Labels struct{ Alertname, Instance string }
		}
	}
	p.get("alerts", nil, &data)
	all := map[string][]string{}
	for _, a := range data.Alerts {
		if a.State == "firing" {
			all[a.Labels.Instance] = append(all[a.Labels.Instance], a.Labels.Alertname)
		}
	}
	return all
}

// certificate writes a certificate that ends at a time, and returns the settings
// that name it.
func certificate(t *testing.T, ca *relaytest.CA, ends time.Time) []string {
	t.Helper()
	leaf := ca.LeafUntil(ends, "relay.example")
	key, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var settings []string
	for name, block := range map[string]*pem.Block{"CERTIFICATE": {Type: "CERTIFICATE", Bytes: leaf.Certificate[0]}, "KEY": {Type: "PRIVATE KEY", Bytes: key}} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		settings = append(settings, "WAYPOST_TLS_"+name+"="+file)
	}
	return append(settings, "WAYPOST_LISTENER_0_TLS=starttls")
}

// TestDashboardsHaveData asks a real Prometheus every question of the dashboards,
// about a waypost that has had some of everything.
func TestDashboardsHaveData(t *testing.T) {
	h := newHost(t, "busy")
	h.sink.OnRcpt("r3@b.example", "550 5.1.1 nobody here")
	settings := certificate(t, relaytest.NewCA(t), time.Now().AddDate(0, 6, 0))
	h.start(compile(t), append(settings, "WAYPOST_PACE_0_NAME=slow", "WAYPOST_PACE_0_TO=b.example", "WAYPOST_PACE_0_CONNECTIONS=5")...)
	p := startPrometheus(t, read(t, rulesFile), nil, h)
	h.send(50, "b.example")
	h.sink.Wait(49)
	variables := strings.NewReplacer("$__rate_interval", "20s", "$instance", ".*")
	var asked int
	for file, panels := range dashboards(t) {
		for _, panel := range panels {
			for _, target := range panel.Targets {
				asked++
				expr := variables.Replace(target.Expr)
				until(t, file+", panel "+panel.Title+": "+expr, func() bool { return p.query(expr) > 0 })
			}
		}
	}
	if asked < 50 {
		t.Errorf("%d queries; have they been read?", asked)
	}
	for _, expr := range []string{
		"waypost_messages_accepted_total >= 50", "waypost_recipients_delivered_total >= 49", "waypost_recipients_bounced_total == 1",
	} {
		until(t, expr, func() bool { return p.query(expr) > 0 })
	}
	// One that asks for native histograms has no buckets to name.
	p = startPrometheus(t, "", []string{"--enable-feature=native-histograms"}, h)
	until(t, "native histograms", func() bool { return p.query("histogram_count(waypost_delivery_latency_seconds) >= 49") > 0 })
}

// hasten has rules see in seconds what they wait minutes and hours for.
func hasten(rules string) string {
	for pattern, with := range map[string]string{
		`\[(5m|1h)\]`: "[20s]", `offset 1h`: "offset 10s", `for: \d+[mh]`: "for: 1s",
		`> 86400\b`: "> 25",
	} {
		rules = regexp.MustCompile(pattern).ReplaceAllString(rules, with)
	}
	return rules
}

// brokenLog panics when it is told of a message that was accepted, in the session
// that has taken it.
type brokenLog struct{}

func (brokenLog) Enabled(context.Context, slog.Level) bool { return true }
func (b brokenLog) WithAttrs([]slog.Attr) slog.Handler     { return b }
func (b brokenLog) WithGroup(string) slog.Handler          { return b }
func (brokenLog) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "accepted" {
		panic("the log is broken")
	}
	return nil
}

// TestAlertsFire has one host for each fault, and wants it to be told of by its
// own alert, and by no other before it.
func TestAlertsFire(t *testing.T) {
	program := compile(t)
	ca := relaytest.NewCA(t)
	hosts := map[string]*host{}
	add := func(alert string, options ...relaytest.SinkOption) *host {
		h := newHost(t, strings.ToLower(alert), options...)
		hosts[alert] = h
		return h
	}
	closed := []string{"WAYPOST_ROUTE_0_TO=*", "WAYPOST_ROUTE_0_VIA=smtp://127.0.0.1:1"}

	well := newHost(t, "well")
	well.start(program, certificate(t, ca, time.Now().AddDate(1, 0, 0))...)
	down := add("WaypostDown")
	down.start(program)
	old := add("WaypostQueueOldestAge")
	old.start(program, closed...)
	growing := add("WaypostQueueGrowing")
	growing.start(program, closed...)
	bouncing := add("WaypostBounceRatio")
	bouncing.sink.Script(func(c relaytest.Command) (relaytest.Action, bool) {
		return relaytest.Action{Reply: "550 5.1.1 nobody here"}, c.Verb == "RCPT" && !strings.Contains(c.Line, "home.example")
	})
	bouncing.start(program)
	small := t.TempDir()
	run(t, "mount", "-t", "tmpfs", "-o", "size=200m", "waypost-test", small)
	t.Cleanup(func() {
		if out, err := exec.Command("umount", small).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
	add("WaypostDiskLow").start(program, "WAYPOST_DATA_DIR="+filepath.Join(small, "data"))
	lost := add("WaypostDNSFailing")
	lost.start(program, "WAYPOST_RESOLVER_SERVERS=127.0.0.1:1", "WAYPOST_ROUTE_0_TO=nowhere.example", "WAYPOST_ROUTE_0_VIA=discard:")
	login := add("WaypostLoginRefused", relaytest.WithAuth("relay", "another"), relaytest.WithCertificate(ca.Leaf("127.0.0.1")))
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("a secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	login.start(program, "WAYPOST_ROUTE_0_TO=*", "WAYPOST_ROUTE_0_VIA=smtp://"+login.sink.Address(), "WAYPOST_ROUTE_0_TLS=required",
		"WAYPOST_ROUTE_0_USERNAME=relay", "WAYPOST_ROUTE_0_PASSWORD_FILE="+password)
	full := add("WaypostNotTakingMail")
	full.start(program, "WAYPOST_QUEUE_MIN_FREE=1000TB")
	add("WaypostCertificateExpiring").start(program, certificate(t, ca, time.Now().AddDate(0, 0, 5))...)
	promised := add("WaypostTLSPolicyFailing", relaytest.WithCertificate(ca.Leaf("mx.promised.example")))
	promise(t, promised, ca.Leaf("elsewhere.example"))
	promised.start(program, "WAYPOST_RESOLVER_TRUST_AD=127.0.0.1", "WAYPOST_ROUTE_0_TO=nowhere.example", "WAYPOST_ROUTE_0_VIA=discard:")
	unsigned := add("WaypostMailUnsigned")
	unsigned.start(program, "WAYPOST_DKIM_0_DOMAIN=home.example", "WAYPOST_DKIM_0_SELECTOR=s", "WAYPOST_DKIM_0_KEY_FILE="+signingKey(t))

	faulty := add("WaypostSessionFault")
	faulty.startHere(slog.New(brokenLog{}))

	data := filepath.Join(t.TempDir(), "data")
	damaged := add("WaypostMailDamaged")
	damaged.sink.Script(func(c relaytest.Command) (relaytest.Action, bool) {
		if c.Verb == "EHLO" { // the content is opened later
			spoil(t, filepath.Join(data, "content"))
		}
		return relaytest.Action{}, false
	})
	damaged.start(program, "WAYPOST_DATA_DIR="+data)

	all := []*host{well}
	for _, h := range hosts {
		all = append(all, h)
	}
	p := startPrometheus(t, hasten(read(t, rulesFile)), nil, all...)
	// Rates need a first value, and growth a past.
	until(t, "every host was asked for a while", func() bool { return p.query(`waypost_build_info offset 12s`) == len(all) })

	down.stop()
	well.send(5, "b.example")
	old.send(1, "b.example")
	bouncing.send(40, "b.example")
	lost.send(20, "d#.example")
	login.send(1, "b.example")
	promised.send(12, "d#.example")
	unsigned.until("its record was looked for", func() bool { return p.query(`waypost_dkim_keys{state="missing"}`) > 0 })
	unsigned.send(5, "b.example")
	if err := smtp.SendMail(damaged.smtp, nil, "s@home.example", []string{"r@b.example"}, []byte("Subject: x\r\n\r\n"+strings.Repeat("A line of many.\r\n", 20_000))); err != nil {
		t.Fatal(err)
	}
	faulty.refused(t)
	growing.send(1200, "b.example")
	told := map[string][]string{}
	until(t, "every alert fires", func() bool {
		full.refused(t)
		for name, alerts := range p.firing() {
			if _, known := told[name]; !known {
				told[name] = alerts
			}
		}
		return len(told) >= len(hosts)
	})
	for alert, h := range hosts {
		if got := told[h.name]; !slices.Equal(got, []string{alert}) {
			t.Errorf("%s: %q fire", h.name, got)
		}
	}
	if got := p.firing()["well"]; got != nil {
		t.Errorf("where all is well %q fire", got)
	}
	for _, alert := range submatches(`(?m)^      - alert: (\S+)$`, read(t, rulesFile)) {
		if _, tried := hosts[alert]; !tried {
			t.Errorf("nothing has %s fire", alert)
		}
	}
}

// spoil changes an octet in the middle of each file of a directory.
func spoil(t *testing.T, dir string) {
	files, err := os.ReadDir(dir)
	if err != nil || len(files) == 0 {
		t.Errorf("no files to spoil: %v", err)
	}
	for _, f := range files {
		name := filepath.Join(dir, f.Name())
		text, err := os.ReadFile(name)
		if err != nil {
			t.Error(err)
			continue
		}
		text[len(text)/2] ^= 1
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Error(err)
		}
	}
}

// signingKey makes a key of which the DNS has no record.
func signingKey(t *testing.T) (file string) {
	k, err := dkim.Generate(dkim.Ed25519)
	if err != nil {
		t.Fatal(err)
	}
	text, err := dkim.EncodeKey(k)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// promise publishes DNS of domains whose one mail host has TLSA records for
// another certificate than it shows.
func promise(t *testing.T, h *host, other tls.Certificate) {
	t.Helper()
	certificate, err := x509.ParseCertificate(other.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	signed := func(name string, record string) {
		h.dns.Add(record)
		h.dns.Set(name, dnstest.Behaviour{Authenticated: true})
	}
	for i := range 12 {
		name := fmt.Sprintf("d%d.example", i)
		signed(name, name+". 300 IN MX 10 mx.promised.example.")
	}
	signed("mx.promised.example", "mx.promised.example. 300 IN A 127.0.0.1")
	tlsa := fmt.Sprintf("_%d._tcp.mx.promised.example", h.sink.Port())
	signed(tlsa, fmt.Sprintf("%s. 300 IN TLSA 3 1 1 %x", tlsa, sha256.Sum256(certificate.RawSubjectPublicKeyInfo)))
}
