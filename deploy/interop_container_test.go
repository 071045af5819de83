//go:build interop

package deploy

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// user is the one that the image names.
const user = 65532

// shared returns a directory that other users may pass through.
func shared(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "waypost-image-")
	if err != nil {
		t.Fatal(err)
	}
	// Nothing a builder leaves may keep the directory from going.
	t.Cleanup(func() {
		if out, err := exec.Command("rm", "-rf", dir).CombinedOutput(); err != nil {
			t.Errorf("remove %s: %v\n%s", dir, err, out)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// directory makes one that belongs to a user.
func directory(t *testing.T, name string, owner int) string {
	t.Helper()
	if err := os.MkdirAll(name, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(name, owner, owner); err != nil {
		t.Fatal(err)
	}
	return name
}

// image is the image, as buildah has made it without an engine or a registry.
type image struct {
	t         *testing.T
	dir       string
	container string
	root      string // what the container sees as /
}

func (i *image) command(args ...string) *exec.Cmd {
	where := []string{"--storage-driver", "vfs", "--root", filepath.Join(i.dir, "storage"), "--runroot", filepath.Join(i.dir, "run")}
	return exec.CommandContext(i.t.Context(), "buildah", append(where, args...)...)
}

func (i *image) buildah(args ...string) string {
	i.t.Helper()
	out, err := i.command(args...).Output()
	if err != nil {
		message := ""
		if e, ok := err.(*exec.ExitError); ok {
			message = string(e.Stderr)
		}
		i.t.Fatalf("buildah %s: %v\n%s%s", strings.Join(args, " "), err, out, message)
	}
	return strings.TrimSpace(string(out))
}

// build follows the head of the Dockerfile: a program that was compiled
// elsewhere, and nothing fetched.
func build(t *testing.T) *image {
	t.Helper()
	i := &image{t: t, dir: shared(t)}
	out := directory(t, filepath.Join(i.dir, "out"), 0)
	directory(t, filepath.Join(out, "state"), 0)
	compile := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", filepath.Join(out, "waypost"), "../cmd/waypost")
	compile.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, text)
	}
	run(t, "cp", "/etc/ssl/certs/ca-certificates.crt", out)
	i.buildah("build", "--isolation", "chroot", "--format", "docker", "-f", dockerFile, "--target", "prebuilt", "-t", "waypost", out)
	i.container = i.buildah("from", "waypost")
	i.root = filepath.Join(i.dir, "rootfs")
	run(t, "cp", "-a", i.buildah("mount", i.container), i.root)
	if err := os.Chmod(i.root, 0o755); err != nil {
		t.Fatal(err)
	}
	// Whoever starts a container makes these where an image has none.
	for _, name := range []string{"dev", "proc"} {
		directory(t, filepath.Join(i.root, name), 0)
	}
	return i
}

// settings are all that the service in a container is told.
func settings(smtp, metrics, nextHop string) []string {
	return []string{
		"WAYPOST_HOSTNAME=relay.example", "WAYPOST_LISTENER_0_ADDRESS=" + smtp, "WAYPOST_METRICS_ADDRESS=" + metrics,
		"WAYPOST_ROUTE_0_TO=*", "WAYPOST_ROUTE_0_VIA=smtp://" + nextHop, "WAYPOST_RESOLVER_SERVERS=127.0.0.1:1",
		"WAYPOST_QUEUE_MIN_FREE=0",
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// service is waypost in its confinement, with a sink outside of it.
type service struct {
	t       *testing.T
	address string
	command *exec.Cmd
	lines   chan map[string]any // what it logs
	sink    *bufio.Scanner
}

// begin starts a command that ends in waypost serve, and waits until it listens.
func begin(t *testing.T, i *image, confine func(env []string) *exec.Cmd) *service {
	t.Helper()
	nextHop := freeAddress(t)
	sink := exec.CommandContext(t.Context(), filepath.Join(i.dir, "out", "waypost"), "sink", "--listen", nextHop)
	out, err := sink.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := sink.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		sink.Process.Kill()
		sink.Wait()
	})
	s := &service{t: t, address: freeAddress(t), lines: make(chan map[string]any, 1000), sink: bufio.NewScanner(out)}
	s.command = confine(settings(s.address, freeAddress(t), nextHop))
	log, err := s.command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.command.Stdout = t.Output()
	if err := s.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.command.Process.Kill() })
	go s.read(log)
	s.logged("queue open")
	return s
}

// read takes the log: in a container it is JSON, a line for each event.
func (s *service) read(log io.Reader) {
	defer close(s.lines)
	for lines := bufio.NewScanner(log); lines.Scan(); {
		fmt.Fprintln(s.t.Output(), lines.Text())
		entry := map[string]any{}
		if json.Unmarshal(lines.Bytes(), &entry) == nil {
			s.lines <- entry
		}
	}
}

// logged waits for a line.
func (s *service) logged(message string) map[string]any {
	s.t.Helper()
	limit := time.After(time.Minute)
	for {
		select {
		case entry, open := <-s.lines:
			if !open {
				s.t.Fatalf("it ended without a line %q", message)
			}
			if entry["msg"] == message {
				return entry
			}
		case <-limit:
			s.t.Fatalf("no line %q", message)
		}
	}
}

// relays sends one message through.
func (s *service) relays() {
	s.t.Helper()
	if err := smtp.SendMail(s.address, nil, "s@a.example", []string{"r@b.example"}, []byte("Subject: x\r\n\r\nx\r\n")); err != nil {
		s.t.Fatal(err)
	}
	for s.sink.Scan() {
		if strings.Contains(s.sink.Text(), "r@b.example") {
			return
		}
	}
	s.t.Error("nothing came to the sink")
}

// end has the process stop in order, and wants that to work.
func (s *service) end(pid int) {
	s.t.Helper()
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	s.logged("stopped")
}

// child finds the process below another one that runs a program.
func child(t *testing.T, parent int, program string) int {
	t.Helper()
	processes, err := filepath.Glob("/proc/[0-9]*/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	below := map[int][]int{}
	for _, name := range processes {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		pid, _ := strconv.Atoi(strings.Split(name, "/")[2])
		for _, field := range strings.Fields(string(text)) {
			n, _ := strconv.Atoi(field)
			below[pid] = append(below[pid], n)
		}
	}
	for todo := []int{parent}; len(todo) > 0; todo = todo[1:] {
		if name, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", todo[0])); err == nil && filepath.Base(name) == program {
			return todo[0]
		}
		todo = append(todo, below[todo[0]]...)
	}
	t.Fatalf("no %s below process %d", program, parent)
	return 0
}

// TestImage builds the image, and runs it in two ways.
func TestImage(t *testing.T) {
	i := build(t)
	t.Run("labels", i.labels)
	t.Run("chroot", i.runs)
	t.Run("read-only root", i.runsReadOnly)
}

func (i *image) labels(t *testing.T) {
	var inspected struct {
		Docker struct {
			Config struct {
				User, StopSignal string
				Entrypoint, Cmd  []string
				Volumes          map[string]any
				Healthcheck      struct{ Test []string }
			} `json:"config"`
		}
	}
	if err := json.Unmarshal([]byte(i.buildah("inspect", i.container)), &inspected); err != nil {
		t.Fatal(err)
	}
	c := inspected.Docker.Config
	if c.User != fmt.Sprintf("%d:%d", user, user) || c.StopSignal != "SIGTERM" || !slices.Equal(c.Entrypoint, []string{"/usr/local/bin/waypost"}) ||
		!slices.Equal(c.Cmd, []string{"serve"}) || c.Volumes["/var/lib/waypost"] == nil || !slices.Contains(c.Healthcheck.Test, "health") {
		t.Errorf("the image says %+v", c)
	}
}

// runs runs it as its builder does: it relays, says that it is well, and stops
// in order.
func (i *image) runs(t *testing.T) {
	queue := directory(t, filepath.Join(i.dir, "queue"), user)
	inside := func(env []string, args ...string) *exec.Cmd {
		all := []string{"run", "--isolation", "chroot", "-v", queue + ":/var/lib/waypost"}
		for _, e := range env {
			all = append(all, "-e", e)
		}
		return i.command(append(append(all, i.container, "--", "/usr/local/bin/waypost"), args...)...)
	}
	s := begin(t, i, func(env []string) *exec.Cmd { return inside(env, "serve") })
	if out, err := inside(nil, "health").CombinedOutput(); err != nil {
		t.Errorf("health: %v\n%s", err, out)
	}
	s.relays()
	s.end(child(t, s.command.Process.Pid, "waypost"))
	if err := s.command.Wait(); err != nil {
		t.Error(err)
	}
	out, err := inside(nil, "health").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "no waypost is running") {
		t.Errorf("health of one that has ended: %v\n%s", err, out)
	}
}

// runsReadOnly runs what the image holds as a user without rights, who sees a
// root directory that nobody can write to.
func (i *image) runsReadOnly(t *testing.T) {
	const nobody = 65534
	queue := directory(t, filepath.Join(i.dir, "nobody"), nobody)
	confined := func(env []string, data string, args ...string) *exec.Cmd {
		all := []string{
			"--reuid", strconv.Itoa(nobody), "--regid", strconv.Itoa(nobody), "--clear-groups", "--no-new-privs",
			"bwrap", "--unshare-user", "--unshare-ipc", "--unshare-uts", "--unshare-pid", "--uid", strconv.Itoa(user), "--gid", strconv.Itoa(user),
			"--cap-drop", "ALL", "--ro-bind", i.root, "/", "--dev", "/dev", "--proc", "/proc", "--die-with-parent", "--clearenv",
			"--setenv", "STATE_DIRECTORY", "/var/lib/waypost",
		}
		if data != "" {
			all = append(all, "--bind", data, "/var/lib/waypost")
		} else {
			all = append(all, "--tmpfs", "/var/lib/waypost")
		}
		for _, e := range env {
			name, value, _ := strings.Cut(e, "=")
			all = append(all, "--setenv", name, value)
		}
		return exec.CommandContext(t.Context(), "setpriv", append(append(all, "/usr/local/bin/waypost"), args...)...)
	}
	s := begin(t, i, func(env []string) *exec.Cmd { return confined(env, queue, "serve") })
	s.relays()
	s.end(child(t, s.command.Process.Pid, "waypost"))
	if err := s.command.Wait(); err != nil {
		t.Error(err)
	}
	// Without a volume the mail would end with the container.
	out, err := confined(settings(freeAddress(t), freeAddress(t), freeAddress(t)), "", "serve").CombinedOutput()
	if e, ok := err.(*exec.ExitError); !ok || e.ExitCode() != 78 || !strings.Contains(string(out), "queue.ephemeral") {
		t.Errorf("on tmpfs: %v\n%s", err, out)
	}
}
