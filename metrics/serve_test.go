package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func copyBody(w io.Writer, res *http.Response) error {
	_, err := io.Copy(w, res.Body)
	return err
}

func TestServeUntilCancelled(t *testing.T) {
	defer goleak.VerifyNone(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	reg, _ := complete()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, ln, Handler(reg, nil)) }()

	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	status, _, body := request(t, &http.Client{Transport: transport}, "GET", fmt.Sprintf("http://%s/healthz", ln.Addr()))
	if status != 200 || body != "ok\n" {
		t.Errorf("%d %q, want 200 ok", status, body)
	}
	// The client's idle connection must not hold up the end.
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Serve after cancel: %v, want nil", err)
	}
	if conn, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		conn.Close()
		t.Error("the listener still accepts after Serve has returned")
	}
}

func TestServeSaysWhyItEnded(t *testing.T) {
	defer goleak.VerifyNone(t)
	ln := newPipeListener()
	ln.Close()
	err := Serve(t.Context(), ln, http.NotFoundHandler())
	if !errors.Is(err, net.ErrClosed) || !strings.Contains(err.Error(), "serve HTTP on pipe: ") {
		t.Errorf("Serve on a closed listener: %v, want one that wraps net.ErrClosed and names the address", err)
	}
}

// slow.
//
// TestSlowClientsAreCutOff lets clients stall in virtual time.
func TestSlowClientsAreCutOff(t *testing.T) {
	for _, tt := range []struct {
		name, sent string
		want       time.Duration
	}{
		{"nothing said", "", headerTimeout},
		{"half a header", "GET /healthz HTTP/1.1\r\nHost: x\r\n", headerTimeout},
		{"idle after an answer", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", idleTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ln, end := serveOnPipe(t, Handler(nil, nil))
				defer end()
				conn := ln.dial()
				begin := time.Now()
				go io.WriteString(conn, tt.sent) // the server may hang up first
				if _, err := io.ReadAll(conn); err != nil {
					t.Errorf("read until the server hangs up: %v", err)
				}
				if took := time.Since(begin); took != tt.want {
					t.Errorf("cut off after %v, want %v", took, tt.want)
				}
			})
		})
	}
}

// large.
func TestLargeHeaderIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln, end := serveOnPipe(t, Handler(nil, nil))
		defer end()
		conn := ln.dial()
		go io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\nPadding: "+strings.Repeat("x", 64<<10)+"\r\n\r\n") // cut off on purpose
		answer, err := io.ReadAll(conn)
		if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 431 ") {
			t.Errorf("answer %.40q (%v), want 431", answer, err)
		}
	})
}

// many.
//
// TestConnectionsAreBounded opens one connection more than there may be.
func TestConnectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln, end := serveOnPipe(t, Handler(nil, nil))
		defer end()
		first := ln.dial()
		for range maxConnections - 1 {
			ln.dial()
		}
		synctest.Wait()
		if ln.accepted != maxConnections {
			t.Fatalf("%d connections accepted, want %d", ln.accepted, maxConnections)
		}
		ln.dial()
		synctest.Wait()
		if ln.accepted != maxConnections {
			t.Errorf("%d connections accepted at once, want at most %d", ln.accepted, maxConnections)
		}
		first.Close()
		synctest.Wait()
		if ln.accepted != maxConnections+1 {
			t.Errorf("%d connections accepted after one closed, want %d", ln.accepted, maxConnections+1)
		}
	})
}

// TestStuckRequestDoesNotHoldUpTheEnd cancels while a handler hangs.
func TestStuckRequestDoesNotHoldUpTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		ln, end := serveOnPipe(t, stuck)
		conn := ln.dial()
		go io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") // checked by the handler's being reached
		synctest.Wait()
		begin := time.Now()
		end()
		if took := time.Since(begin); took < closeTimeout || took > closeTimeout+time.Second {
			t.Errorf("Serve ended after %v, want about %v", took, closeTimeout)
		}
	})
}

// serveOnPipe runs Serve on in-memory connections. The function returned ends it
// and checks how it ended.
func serveOnPipe(t *testing.T, h http.Handler) (*pipeListener, func()) {
	t.Helper()
	ln := newPipeListener()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, ln, h) }()
	return ln, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v, want nil", err)
		}
		ln.hangUp()
	}
}

// pipeListener is a net.Listener of in-memory connections.
type pipeListener struct {
	waiting  chan net.Conn
	closed   chan struct{}
	accepted int
	clients  []net.Conn
}

func newPipeListener() *pipeListener {
	return &pipeListener{waiting: make(chan net.Conn, 2*maxConnections), closed: make(chan struct{})}
}

func (l *pipeListener) dial() net.Conn {
	client, server := net.Pipe()
	l.clients = append(l.clients, client)
	l.waiting <- server
	return client
}

func (l *pipeListener) hangUp() {
	for _, c := range l.clients {
		c.Close()
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, net.ErrClosed
	case conn := <-l.waiting:
		l.accepted++
		return conn, nil
	}
}

func (l *pipeListener) Close() error {
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	return nil
}

func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }
