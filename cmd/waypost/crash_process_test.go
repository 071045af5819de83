package main_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for something that has to happen.
const patience = 60 * time.Second

// tick is how often another process is asked how far it is.
const tick = 20 * time.Millisecond

// build compiles the program and returns its file.
func build(t testing.TB) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "waypost")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return binary
}

// settings are what the tests' configurations differ in.
type settings struct {
	// dataDir is the data directory; empty is one of the test's own.
	dataDir string
	// nextHop is the host and port to which everything goes.
	nextHop string
	// listeners are the listeners' tls modes; none is one listener without TLS.
	listeners []string
	// queue is TOML: keys of the queue's table.
	queue string
	// more is TOML: tables that writeConfig has not.
	more string
}

// writeConfig writes a configuration that keeps to loopback, and returns its
// file.
func writeConfig(t testing.TB, s settings) string {
	t.Helper()
	if s.dataDir == "" {
		s.dataDir = filepath.Join(t.TempDir(), "data")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "hostname = 'relay.example'\ndata_dir = '%s'\nshutdown_timeout = '10s'\n", s.dataDir)
	if len(s.listeners) == 0 {
		s.listeners = []string{"none"}
	}
	for _, mode := range s.listeners {
		fmt.Fprintf(&b, "[[listener]]\naddress = '127.0.0.1:0'\ntls = '%s'\n", mode)
	}
	fmt.Fprintf(&b, "[[route]]\nto = '*'\nvia = ['smtp://%s']\n", s.nextHop)
	b.WriteString("[queue]\nretry = ['1s']\njitter = 0.0\nephemeral = true\n" + s.queue)
	b.WriteString("[resolver]\nservers = ['127.0.0.1:9']\n[metrics]\naddress = '127.0.0.1:0'\n[log]\nformat = 'json'\n")
	b.WriteString(s.more)
	name := filepath.Join(t.TempDir(), "waypost.toml")
	if err := os.WriteFile(name, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// process is a running waypost.
type process struct {
	t     testing.TB
	cmd   *exec.Cmd
	smtp  []string // addresses, in the order of the configuration
	http  string
	ready chan struct{} // closed when mail is taken
	ended chan struct{} // closed when the process is gone; then err is set
	err   error

	killed bool // by kill

	mu   sync.Mutex
	tail []string // of the log
}

// start runs "waypost serve" and returns when mail is taken. The process ends
// with the test at the latest. edit may change how it is run.
func start(t testing.TB, binary, config string, edit ...func(*exec.Cmd)) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(binary, "serve", "-c", config), ready: make(chan struct{}), ended: make(chan struct{})}
	p.cmd.Env = []string{"HOME=" + filepath.Dir(config)} // nothing of the caller's may change the configuration
	for _, edit := range edit {
		edit(p.cmd)
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.watch(stderr)
	t.Cleanup(p.clean)
	select {
	case <-p.ready:
	case <-p.ended:
		t.Fatalf("waypost serve ended at once: %v", p.err)
	case <-time.After(patience):
		t.Fatal("waypost serve does not get ready")
	}
	return p
}

// watch reads the log and waits for the end.
func (p *process) watch(stderr io.Reader) {
	lines := bufio.NewScanner(stderr)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		p.note(lines.Text())
	}
	p.err = p.cmd.Wait()
	close(p.ended)
}

// note keeps the last lines, and learns from the first ones.
func (p *process) note(line string) {
	p.mu.Lock()
	p.tail = append(p.tail[max(len(p.tail)-100, 0):], line)
	p.mu.Unlock()
	var entry struct{ Msg, Protocol, Address string }
	select {
	case <-p.ready:
		return
	default:
	}
	if err := json.Unmarshal([]byte(line), &entry); err != nil {
		return // the words of a panic, perhaps: the end will tell
	}
	switch {
	case entry.Msg == "listening" && entry.Protocol == "smtp":
		p.smtp = append(p.smtp, entry.Address)
	case entry.Msg == "listening" && entry.Protocol == "http":
		p.http = entry.Address
	case entry.Msg == "queue open":
		close(p.ready)
	}
}

// clean ends what a failed test left running, and shows its log, unless the
// test wanted it dead: of those there are many.
func (p *process) clean() {
	select {
	case <-p.ended:
	default:
		_ = p.cmd.Process.Kill() // the only error is that it is gone
		<-p.ended
	}
	if p.t.Failed() && !p.killed {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.t.Logf("the log of process %d ends:\n%s", p.cmd.Process.Pid, strings.Join(p.tail, "\n"))
	}
}

// kill ends the process as a power cut would, as far as it can tell.
func (p *process) kill() {
	p.t.Helper()
	p.killed = true
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Fatalf("kill: %v", err)
	}
	<-p.ended
	if state := p.cmd.ProcessState; !state.Sys().(syscall.WaitStatus).Signaled() {
		p.t.Fatalf("waypost ended before it was killed: %s", state)
	}
}

// stop ends the process as a service manager would. It has to end in peace.
func (p *process) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatalf("terminate: %v", err)
	}
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Fatal("waypost does not stop")
	}
	if p.err != nil {
		p.t.Errorf("waypost serve: %v, want exit code 0", p.err)
	}
}

// metric reads one figure, by its name with its labels.
func (p *process) metric(name string) float64 {
	p.t.Helper()
	// Kept connections would outlive the test.
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	reply, err := client.Get("http://" + p.http + "/metrics")
	if err != nil {
		p.t.Fatal(err)
	}
	defer reply.Body.Close()
	for lines := bufio.NewScanner(reply.Body); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			value, err := strconv.ParseFloat(text, 64)
			if err != nil {
				p.t.Fatal(err)
			}
			return value
		}
	}
	p.t.Fatalf("no metric %s", name)
	return 0
}

// waitEmpty returns when there is no message in the queue.
func (p *process) waitEmpty() {
	p.t.Helper()
	waitFor(p.t, "an empty queue", func() bool { return p.metric("waypost_queue_messages") == 0 })
}

// waitFor asks again and again, for what no event can tell: the state of
// another process.
func waitFor(t testing.TB, what string, done func() bool) {
	t.Helper()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for end := time.Now().Add(patience); !done(); <-ticker.C {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
