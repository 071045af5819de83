package control

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"waypost/metrics"
	"waypost/queue"
)

func TestNobodyAnswers(t *testing.T) {
	path := socketPath(t)
	dir := filepath.Dir(path)
	check := func(when string) {
		t.Helper()
		_, err := Dial(path)
		missing, ok := errors.AsType[*NotRunningError](err)
		if !ok || missing.Dir != dir {
			t.Errorf("%s: got %v, want a NotRunningError of %s", when, err, dir)
			return
		}
		want := fmt.Sprintf(`no waypost is running with the data directory %s: start it with "waypost serve"`, dir)
		if err.Error() != want {
			t.Errorf("%s: got %q, want %q", when, err, want)
		}
	}
	check("without a socket")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	check("after a crash")
}

func TestDialErrors(t *testing.T) {
	c := &Client{path: "/data/control.sock"}
	denied := c.dialError(&net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", syscall.EACCES)})
	if !errors.Is(denied, fs.ErrPermission) || !strings.Contains(denied.Error(), "/data belongs to another user") {
		t.Errorf("without permission: %v", denied)
	}
	other := c.dialError(&net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", syscall.EMFILE)})
	if !errors.Is(other, syscall.EMFILE) || !strings.Contains(other.Error(), "/data/control.sock") {
		t.Errorf("without descriptors: %v", other)
	}
}

func TestServeEnds(t *testing.T) {
	f := &fake{}
	c, stop := connect(t, f)
	if _, err := c.Stats(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop()
	if _, err := os.Lstat(c.path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the end: %v, want no socket", err)
	}
	_, err := c.Stats(t.Context())
	if _, ok := errors.AsType[*NotRunningError](err); !ok {
		t.Errorf("after the end: %v, want a NotRunningError", err)
	}
}

func TestServeSaysWhyItEnded(t *testing.T) {
	ln := mustListen(t, socketPath(t))
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if err := metrics.Serve(t.Context(), ln, newHandler(&fake{}, Service{})); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want net.ErrClosed", err)
	}
}

// raw sends a request as it stands and returns the first line of the answer.
func raw(t *testing.T, c *Client, request string) string {
	t.Helper()
	conn, err := net.Dial("unix", c.path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

func TestBadRequests(t *testing.T) {
	post := func(path, body string) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
	}
	for name, request := range map[string]string{
		"no JSON":           post("/v1/list", "hello"),
		"an unknown field":  post("/v1/remove", `{"id":"06F8TKQ2C0000","all":true}`),
		"two values":        post("/v1/list", "{}{}"),
		"nothing":           post("/v1/list", ""),
		"another method":    "GET /v1/list HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
		"another path":      post("/v2/list", "{}"),
		"an unknown action": post("/v1/explode", `{"all":true}`),
		"a path for an ID":  "GET /v1/messages/..%2f..%2fetc HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{}
			f.fill(3)
			c, _ := connect(t, f)
			if got := raw(t, c, request); got != "HTTP/1.1 400 Bad Request" {
				t.Errorf("the answer is %q", got)
			}
			if len(f.asked) != 0 {
				t.Errorf("the queue was asked to change %v", f.asked)
			}
		})
	}
}

// L-04: too much.
func TestHugeHeaderIsRefused(t *testing.T) {
	c, _ := connect(t, &fake{})
	got := raw(t, c, "GET /v1/stats HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 2*8<<10)+"\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 431") {
		t.Errorf("the answer is %q", got)
	}
}

func TestAnswerThatIsNone(t *testing.T) {
	path := socketPath(t)
	ln := mustListen(t, path)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return // the test has ended
		}
		defer conn.Close()
		_, _ = conn.Read(make([]byte, 4096)) // the request, whatever it is
	}()
	c, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Show(t.Context(), queue.ID(1).String()); err == nil {
		t.Error("an answer came from nowhere")
	} else if _, ok := errors.AsType[*NotRunningError](err); ok {
		t.Errorf("got %v, but someone is there", err)
	}
}
