package smtpserver

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	gosmtp "github.com/emersion/go-smtp"
)

// piped holds a session over a pipe, for virtual time.
func piped(t *testing.T, m *memory, o Options) *client {
	t.Helper()
	o.Hostname, o.Backend = "relay.example", m
	server := New(o)
	ours, theirs := net.Pipe()
	go newSession(server, ours, netip.Addr{}).serve()
	t.Cleanup(func() { theirs.Close() })
	return &client{t, theirs, bufio.NewReader(theirs)}
}

// a client that gets nowhere.
//
// A client that is never silent for long and yet gets nowhere is cut off; a
// slow one that gets somewhere is not.
func TestSlowContent(t *testing.T) {
	for _, tc := range []struct {
		name, line string
		every      time.Duration
		lines      int
		rate       int64
		cut        time.Duration // 0: not at all
	}{
		{"an octet a minute", "x", time.Minute, 1000, 500, 5 * time.Minute},
		{"an octet a minute, no bound", "x", time.Minute, 1000, 0, 0},
		{"a slow line", strings.Repeat("x", 1022) + "\r\n", time.Second, 7200, 500, 0},
		{"at first fast, then stalled", strings.Repeat("x", 30000), 4 * time.Minute, 100, 500, 9 * time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &memory{}
				c := piped(t, m, Options{MinRate: tc.rate})
				c.ready()
				for _, command := range []string{"MAIL FROM:<s@a.example>", "RCPT TO:<r@ok.example>", "DATA"} {
					c.say(command + "\r\n")
					c.reply()
				}
				begin, ended := time.Now(), make(chan struct{})
				go func() {
					defer close(ended)
					for range tc.lines {
						if _, err := io.WriteString(c.Conn, tc.line); err != nil {
							return
						}
						time.Sleep(tc.every)
					}
					io.WriteString(c.Conn, "\r\n.\r\n")
				}()
				got, took := c.reply(), time.Since(begin)
				switch {
				case tc.cut == 0 && (!strings.HasPrefix(got, "250") || len(m.all()) != 1):
					t.Errorf("reply %q after %v", got, took)
				case tc.cut > 0 && (!strings.HasPrefix(got, "421 4.4.2") || took > tc.cut+time.Second || len(m.all()) != 0):
					t.Errorf("reply %q after %v, want 421 within %v", got, took, tc.cut)
				}
				c.Close()
				<-ended
			})
		})
	}
}

// 5321-4.5.3.2-b 1123-5.3.2-a: five minutes for each command.
//
// A command that comes an octet at a time has the time of one command.
func TestSlowCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := piped(t, &memory{}, Options{})
		c.expect("220")
		begin, ended := time.Now(), make(chan struct{})
		go func() {
			defer close(ended)
			for range 1000 {
				if _, err := io.WriteString(c.Conn, "x"); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		c.expect("421 4.4.2")
		if took := time.Since(begin); took != 5*time.Minute {
			t.Errorf("cut off after %v", took)
		}
		c.Close()
		<-ended
	})
}

// a response longer than the buffer of an idle session.
//
// It has the time of one command, like any other: none of the bounds on content
// holds for it.
func TestSlowResponse(t *testing.T) {
	long := b64(strings.Repeat("x", 9216)) + "\r\n"
	for _, tc := range []struct {
		name  string
		at    int // octets that come at once; the others come one by one
		every time.Duration
		rate  int64
		want  string
		took  time.Duration
	}{
		{"all at once", len(long), 0, 500, "235", 0},
		{"an octet a minute", commandBuffer, time.Minute, 0, "421 4.4.2", 5 * time.Minute},
		{"an octet a minute, with a bound", commandBuffer, time.Minute, 500, "421 4.4.2", 5 * time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := Options{MinRate: tc.rate}
				withAuth(&o)
				c := piped(t, &memory{mechanisms: mechanisms()}, o)
				c.ready()
				c.say("AUTH BIG\r\n")
				c.expect("334 ")
				begin, ended := time.Now(), make(chan struct{})
				go func() {
					defer close(ended)
					for at := 0; at < len(long); {
						end := max(at+1, tc.at)
						if _, err := io.WriteString(c.Conn, long[at:end]); err != nil {
							return
						}
						at = end
						time.Sleep(tc.every)
					}
				}()
				c.expect(tc.want)
				if took := time.Since(begin); took != tc.took {
					t.Errorf("it took %v, want %v", took, tc.took)
				}
				c.Close()
				<-ended
			})
		})
	}
}

// fails is a listener that has no descriptors left for a while.
type fails struct {
	errors int
	times  []time.Time
	closed chan struct{}
}

func (l *fails) Accept() (net.Conn, error) {
	l.times = append(l.times, time.Now())
	if len(l.times) <= l.errors {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *fails) Close() error {
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	return nil
}

func (l *fails) Addr() net.Addr { return &net.TCPAddr{} }

// Accepting goes on when descriptors are back, and does not spin until then.
func TestAcceptBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &fails{errors: 12, closed: make(chan struct{})}
		s := New(Options{Hostname: "relay.example", Backend: &memory{}})
		ended := make(chan error)
		go func() { ended <- s.Serve(l) }()
		time.Sleep(time.Minute)
		s.Shutdown(context.Background())
		if err := <-ended; !errors.Is(err, ErrServerClosed) {
			t.Error(err)
		}
		for i := 1; i < len(l.times); i++ {
			want := min(5*time.Millisecond<<(i-1), time.Second)
			if got := l.times[i].Sub(l.times[i-1]); got != want {
				t.Errorf("wait %d was %v, want %v", i, got, want)
			}
		}
		if len(l.times) != 13 {
			t.Errorf("accepted %d times", len(l.times))
		}
	})
}

// Shutdown does not wait for a listener that waits for descriptors.
func TestShutdownWhileBackingOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &fails{errors: 1 << 20, closed: make(chan struct{})}
		s := New(Options{Hostname: "relay.example", Backend: &memory{}})
		ended := make(chan error)
		go func() { ended <- s.Serve(l) }()
		time.Sleep(30*time.Second + 300*time.Millisecond)
		begin := time.Now()
		s.Shutdown(context.Background())
		if err := <-ended; !errors.Is(err, ErrServerClosed) || time.Since(begin) > 0 {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

// T-10: a handshake that does not come to an end is cut off in its own time.
func TestStalledHandshake(t *testing.T) {
	cert := withTLS(t, TLSImplicit)
	synctest.Test(t, func(t *testing.T) {
		o := Options{}
		cert(&o)
		begin := time.Now()
		c := piped(t, &memory{}, o)
		c.expect("closed")
		if took := time.Since(begin); took != 10*time.Second {
			t.Errorf("cut off after %v", took)
		}
	})
}

// replies that nobody reads.
//
// A client that pipelines for ever and reads nothing holds no more than one
// buffer of replies, and not for long.
func TestClientThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{mailError: &gosmtp.SMTPError{Code: 450, Message: strings.Repeat("x", 400)}}
		c := piped(t, m, Options{})
		c.ready()
		begin := time.Now()
		io.WriteString(c.Conn, strings.Repeat("MAIL FROM:<s@a.example>\r\n", 1000)) // until the end comes
		if took := time.Since(begin); took != time.Minute {
			t.Errorf("cut off after %v", took)
		}
	})
}

// 5321-3.1-a Q-14: 220 to those that wait, 554 and the end to those that do not.
//
// Whoever talks before the greeting is refused, and whoever waits is greeted.
func TestGreetDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := Options{GreetDelay: 4 * time.Second}
		begin := time.Now()
		c := piped(t, &memory{}, o)
		c.expect("220")
		if took := time.Since(begin); took != 4*time.Second {
			t.Errorf("greeted after %v", took)
		}
		c.say("EHLO c.example\r\n")
		c.expect("250-")
		early := piped(t, &memory{}, o)
		early.say("EHLO c.example\r\n")
		early.expect("554 5.5.1")
	})
}
