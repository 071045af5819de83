package outbound

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"waypost/resolver"
)

// stagger is how long a connection may take before the next address is tried
// beside it (RFC 8305 §5: the connection attempt delay).
const stagger = 250 * time.Millisecond

// Target is where a connection leads.
type Target struct {
	// Addr is a TCP address.
	Addr netip.AddrPort
	// Source is the address to connect from; the zero value leaves that to
	// the system.
	Source netip.Addr
	// Socket is the path of a Unix socket, in place of Addr.
	Socket string
}

// name is how the target stands in logs and reports.
func (t Target) name(host string) string {
	if t.Socket != "" {
		return t.Socket
	}
	return hostName(host, t.Addr)
}

// dialTarget is how connections are made outside of tests.
func dialTarget(ctx context.Context, t Target) (net.Conn, error) {
	var d net.Dialer
	if t.Socket != "" {
		return d.DialContext(ctx, "unix", t.Socket)
	}
	if t.Source.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(t.Source, 0))
	}
	return d.DialContext(ctx, "tcp", t.Addr.String())
}

// dial connects, within the limit for that.
func (o *Outbound) dial(ctx context.Context, host string, t Target) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, o.ConnectTimeout)
	defer cancel()
	nc, err := o.Dial(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", t.name(host), plain(err))
	}
	return nc, nil
}

// plain takes the wrapping off a dialler's error that says again what is being
// dialled.
func plain(err error) error {
	if e, ok := errors.AsType[*net.OpError](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*os.SyscallError](err); ok {
		err = e.Err
	}
	return err
}

// raced is the outcome of a race.
type raced struct {
	conn  net.Conn // nil when none succeeded
	to    Target   // where conn leads
	errs  []error  // of the targets that failed
	left  []Target // tried, and neither won nor failed
	tried int      // how many were begun
}

// race connects to one of the targets of a host. They are begun in their order:
// the next one when one fails, or when it takes long, so that a family of
// addresses that leads nowhere costs a moment (RFC 8305). The first to succeed
// wins, and the others are given up before they are connections.
func (o *Outbound) race(ctx context.Context, host string, targets []Target) raced {
	type end struct {
		at   int
		conn net.Conn
		err  error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ends := make(chan end, len(targets))
	var out raced
	running := map[int]bool{}
	begin := func() {
		at := out.tried
		out.tried++
		running[at] = true
		go func() {
			conn, err := o.dial(ctx, host, targets[at])
			ends <- end{at, conn, err}
		}()
	}
	begin()
	timer := time.NewTimer(stagger)
	defer timer.Stop()
	for len(running) > 0 {
		select {
		case <-timer.C:
			if out.tried < len(targets) && out.conn == nil {
				begin()
				timer.Reset(stagger)
			}
		case e := <-ends:
			delete(running, e.at)
			switch {
			case e.err == nil && out.conn == nil:
				out.conn, out.to = e.conn, targets[e.at]
				cancel()
			case e.err == nil:
				_ = e.conn.Close() // it came too late; nothing was said on it
				out.left = append(out.left, targets[e.at])
			case out.conn != nil:
				out.left = append(out.left, targets[e.at])
			default:
				o.Metrics.OutboundFailed.Inc()
				out.errs = append(out.errs, e.err)
				if out.tried < len(targets) && ctx.Err() == nil {
					begin()
					timer.Reset(stagger)
				}
			}
		}
	}
	return out
}

// The values of Options.Families.
const (
	// IPv6First tries both families in turn, IPv6 first. It is the zero value.
	IPv6First Families = iota
	// IPv4First tries both families in turn, IPv4 first.
	IPv4First
	// IPv4Only and IPv6Only leave out the other family.
	IPv4Only
	IPv6Only
)

// Families says which families of addresses are used, and which comes first.
type Families uint8

// errFamily means that a host has addresses, and none that we may use.
var errFamily = errors.New("no address of a family that is used here")

// families orders addresses by the preferred family, and leaves out those that
// cannot be used: of a family that is switched off, or for which the route has
// no source address. An unusable host is our own doing, so the error is
// temporary.
func (o *Outbound) families(host string, all []netip.Addr, sources []netip.Addr) ([]netip.Addr, error) {
	var four, six []netip.Addr
	for _, a := range all {
		switch {
		case len(sources) > 0 && !source(sources, a).IsValid():
		case a.Is4() && o.Families != IPv6Only:
			four = append(four, a)
		case a.Is6() && o.Families != IPv4Only:
			six = append(six, a)
		}
	}
	first, second := six, four
	if o.Families == IPv4First {
		first, second = four, six
	}
	if len(first)+len(second) == 0 {
		return nil, &resolver.Error{Kind: resolver.Temporary, Name: host, Enhanced: [3]int{4, 4, 4}, Err: errFamily}
	}
	var list []netip.Addr
	for i := range max(len(first), len(second)) {
		list = append(list, first[min(i, len(first)):min(i+1, len(first))]...)
		list = append(list, second[min(i, len(second)):min(i+1, len(second))]...)
	}
	return list, nil
}

// source returns the source address for a destination's family; invalid when
// there is none.
func source(sources []netip.Addr, to netip.Addr) netip.Addr {
	for _, s := range sources {
		if s.Is4() == to.Is4() {
			return s
		}
	}
	return netip.Addr{}
}
