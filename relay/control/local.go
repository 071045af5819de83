package control

import (
	"context"
	"net"
	"sync"

	"waypost/metrics"
	"waypost/queue"
)

// Local returns a client of a queue that this process has opened itself, so
// that whoever asks need not know whether a waypost runs. It answers whatever is
// about the queue, and is temporary about the rest. Closing it ends everything,
// but the queue stays open.
func Local(q *queue.Queue) *Client {
	pipes := &pipes{dialed: make(chan net.Conn), closed: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	handler := newHandler(q, Service{})
	go func() {
		defer close(ended)
		_ = metrics.Serve(ctx, pipes, handler) // a pipe has no way to fail
	}()
	c := &Client{end: func() {
		cancel()
		<-ended
	}}
	c.connectBy(func(context.Context) (net.Conn, error) { return pipes.dial() })
	return c
}

// pipes is a listener within the process.
type pipes struct {
	dialed chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (p *pipes) dial() (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.dialed <- far:
		return near, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Accept returns the next connection.
func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.dialed:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Addr is that of a pipe.
func (*pipes) Addr() net.Addr {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	return near.LocalAddr()
}
