package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"waypost/configs"
	"waypost/relay/smtpserver"
)

// door is one address on which mail is taken. The socket stays what it is while
// the server behind it changes, so that a reload turns nobody away.
type door struct {
	config configs.Listener
	socket *net.TCPListener
	server *smtpserver.Server
	turn   *turn // the server's share of the socket; nil before it serves
}

// openDoor listens.
func (r *Relay) openDoor(l configs.Listener) (*door, error) {
	ln, err := r.listen(l.Address)
	if err != nil {
		return nil, fmt.Errorf("listen for SMTP: %w", err)
	}
	return &door{config: l, socket: ln}, nil
}

// turn is the time in which one server has a socket.
type turn struct {
	*net.TCPListener
	over  atomic.Bool
	ended chan struct{} // closed once the server accepts no more
}

// Accept returns the next connection, until the turn is over.
func (t *turn) Accept() (net.Conn, error) {
	nc, err := t.TCPListener.Accept()
	if err != nil && t.over.Load() {
		return nil, net.ErrClosed
	}
	return nc, err
}

// Close closes the socket, unless it is another server's now.
func (t *turn) Close() error {
	if t.over.Load() {
		return nil
	}
	return t.TCPListener.Close()
}

// end takes the socket from the server. Its sessions go on.
func (t *turn) end() {
	t.over.Store(true)
	t.SetDeadline(time.Unix(1, 0))
	<-t.ended
	t.SetDeadline(time.Time{})
}

// serve has the door's server take what comes.
func (r *Relay) serve(d *door) {
	t := &turn{TCPListener: d.socket, ended: make(chan struct{})}
	d.turn = t
	server := d.server
	r.side.Go(func() {
		err := server.Serve(t)
		close(t.ended)
		if !t.over.Load() {
			r.fail(err)
		}
	})
}

// fail ends Run, when nothing has before.
func (r *Relay) fail(err error) {
	select {
	case r.fatal <- err:
	default:
	}
}

// listeners are the addresses on which mail is taken.
func (r *Relay) listeners() (all []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range r.doors {
		all = append(all, d.socket.Addr().String())
	}
	return all
}

// stopServers ends all sessions, those of servers without a door included.
func (r *Relay) stopServers(grace time.Duration) {
	r.mu.Lock()
	r.stopped = true
	servers := r.retired
	for _, d := range r.doors {
		servers = append(servers, d.server)
	}
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	var stopping sync.WaitGroup
	for _, server := range servers {
		stopping.Go(func() {
			if err := server.Shutdown(ctx); err != nil {
				r.log.Warn("sessions cut off", "error", err.Error())
			}
		})
	}
	stopping.Wait()
}

// closeDoors closes what listens for mail.
func (r *Relay) closeDoors() error {
	var errs []error
	for _, d := range r.doors {
		if err := d.socket.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
