package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// answerTimeout is how long the queue may take to look through itself.
	answerTimeout = 2 * time.Minute
	// maxAnswer bounds what is read of one answer: a page of messages, each
	// with as many recipients as one can have.
	maxAnswer = 1 << 30
)

// Client talks to a running waypost. It is safe for concurrent use.
type Client struct {
	path string
	http *http.Client
	// first is the connection that Dial made, until it is taken.
	first chan net.Conn
	end   func() // what else Close has to do; nil for nothing
}

// Dial connects to the control socket at path. When nobody answers there the
// error is a *NotRunningError; when the socket may not be used it wraps
// fs.ErrPermission. After Dial, Close must be called.
func Dial(path string) (*Client, error) {
	c := &Client{path: path}
	conn, err := c.dial(context.Background())
	if err != nil {
		return nil, err
	}
	c.connectBy(c.dial)
	c.first <- conn
	return c, nil
}

// connectBy has the client make its connections with dial.
func (c *Client) connectBy(dial func(context.Context) (net.Conn, error)) {
	c.first = make(chan net.Conn, 1)
	c.http = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			select {
			case conn := <-c.first:
				return conn, nil
			default:
				return dial(ctx)
			}
		},
		ResponseHeaderTimeout:  answerTimeout,
		MaxResponseHeaderBytes: 8 << 10,
		MaxIdleConns:           1,
	}}
}

// Close ends all connections.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	if c.end != nil {
		defer c.end()
	}
	select {
	case conn := <-c.first:
		return conn.Close()
	default:
		return nil
	}
}

func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	address, done, err := socketAddress(c.path)
	if err == nil {
		defer done()
		var d net.Dialer
		var conn net.Conn
		if conn, err = d.DialContext(ctx, "unix", address); err == nil {
			return conn, nil
		}
	}
	return nil, c.dialError(err)
}

func (c *Client) dialError(err error) error {
	switch dir := filepath.Dir(c.path); {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return &NotRunningError{Dir: dir, Err: bare(err)}
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("the data directory %s belongs to another user; run this as that user or as root: %w", dir, bare(err))
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("open data directory %s: %w", dir, bare(err))
	default:
		return fmt.Errorf("connect to the control socket %s: %w", c.path, bare(err))
	}
}

// do makes one request with a body in JSON, and sends it. The caller closes the
// answer's body.
func (c *Client) do(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("write the request: %w", err)
		}
		content = bytes.NewReader(text)
	}
	// The host's name is never looked up.
	request, err := http.NewRequestWithContext(ctx, method, "http://waypost"+path, content)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	return c.send(ctx, request)
}

// send sends a request. An answer that is an error becomes a *Problem.
func (c *Client) send(ctx context.Context, request *http.Request) (*http.Response, error) {
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, c.failed(ctx, err)
	}
	if answer.StatusCode == http.StatusOK {
		return answer, nil
	}
	defer answer.Body.Close()
	problem := &Problem{}
	if err := decode(answer.Body, problem); err != nil || problem.Code == "" {
		return nil, fmt.Errorf("ask the running waypost: it answers %s", answer.Status)
	}
	return nil, problem
}

// failed says what went wrong with a request.
func (c *Client) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("stopped before the running waypost answered: %w", context.Cause(ctx))
	}
	if request, ok := errors.AsType[*url.Error](err); ok {
		err = request.Err // the URL says nothing to the reader
	}
	if _, ok := errors.AsType[*NotRunningError](err); ok {
		return &NotRunningError{Dir: filepath.Dir(c.path), Err: err}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return errors.New("the running waypost closed the connection; it may be stopping")
	}
	return fmt.Errorf("ask the running waypost: %w", err)
}

// call makes one request and reads its answer into result.
func (c *Client) call(ctx context.Context, method, path string, body, result any) error {
	answer, err := c.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	return decode(answer.Body, result)
}

func decode(r io.Reader, into any) error {
	if err := json.NewDecoder(io.LimitReader(r, maxAnswer)).Decode(into); err != nil {
		return fmt.Errorf("read the answer of the running waypost: %w", err)
	}
	return nil
}
