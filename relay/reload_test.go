package relay

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"waypost/configs"
	"waypost/relay/control"
	"waypost/relay/relaytest"
)

// reloader is a configuration that a test changes, and has loaded again.
type reloader struct {
	*service
	mu     sync.Mutex
	config configs.Config
	bad    error
}

func startReloadable(t *testing.T, port int, edit func(*configs.Config)) *reloader {
	l := &reloader{}
	l.service = start(t, port, func(c *configs.Config) {
		if edit != nil {
			edit(c)
		}
		l.config = *c
	})
	l.options.Load = func() (*configs.Config, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.bad != nil {
			return nil, l.bad
		}
		c := l.config
		return &c, c.Validate()
	}
	return l
}

// reload changes the configuration, and wants that to work.
func (l *reloader) reload(edit func(*configs.Config)) *control.Reloaded {
	l.t.Helper()
	edit(&l.config)
	done, err := l.Reload()
	if err != nil {
		l.t.Fatal(err)
	}
	return done
}

func greeted(address string) bool {
	c, err := textproto.Dial("tcp", address)
	if err != nil {
		return false
	}
	defer c.Close()
	_, _, err = c.ReadResponse(220)
	return err == nil
}

// A session that is open goes on as it began; the next one is under the new
// rules. Nobody is turned away meanwhile.
func TestReloadChangesPolicy(t *testing.T) {
	l := startReloadable(t, 1, func(c *configs.Config) { c.Relay.Networks = []string{"127.0.0.1"} })
	before := l.dial("127.0.0.1")
	l.cmd(before, 250, "MAIL FROM:<s@a.example>")
	l.cmd(before, 250, "RCPT TO:<r@b.example>")
	done := l.reload(func(c *configs.Config) {
		c.Relay.Networks, c.Limits.MessageSize, c.Queue.Lifetime = nil, 12345, c.Queue.Lifetime/2
	})
	if !slices.Equal(done.Changed, []string{"relay.networks", "limits.message_size"}) || !slices.Equal(done.Restart, []string{"queue.lifetime"}) {
		t.Errorf("%+v", done)
	}
	l.cmd(before, 250, "RCPT TO:<another@b.example>")
	l.cmd(before, 354, "DATA")
	w := before.DotWriter()
	io.WriteString(w, "Subject: x\n\nx\n")
	w.Close()
	l.expect(before, 250)
	after := l.dial("127.0.0.1")
	if text := l.cmd(after, 250, "EHLO c.example"); !strings.Contains(text, "SIZE 12345") {
		t.Errorf("%q", text)
	}
	l.cmd(after, 250, "MAIL FROM:<s@a.example>")
	l.cmd(after, 550, "RCPT TO:<r@b.example>")
	if done := l.reload(func(*configs.Config) {}); len(done.Changed) > 0 || !slices.Equal(done.Restart, []string{"queue.lifetime"}) {
		t.Errorf("%+v", done)
	}
	if n := len(l.retired); n != 2 {
		t.Errorf("%d servers are kept, want the two that have sessions", n)
	}
}

// What was counted stays counted when limits change; lists count for who greets
// after the change; and no session is dropped for either.
func TestReloadChangesLimitsAndLists(t *testing.T) {
	l := startReloadable(t, 1, func(c *configs.Config) { c.Limits.MessagesPerClient = "2/1h" })
	open := l.dial("127.0.0.1")
	for _, want := range []int{250, 250, 450} {
		l.cmd(open, want, "MAIL FROM:<s@a.example>")
		l.cmd(open, 250, "RSET")
	}
	l.reload(func(c *configs.Config) { c.Limits.MessagesPerClient = "3/1h" })
	for _, want := range []int{250, 450} {
		c := l.dial("127.0.0.1")
		l.cmd(c, want, "MAIL FROM:<s@a.example>")
	}
	l.reload(func(c *configs.Config) {
		c.Limits.MessagesPerClient, c.Limits.ConnectionsPerAddress = "", 4
		c.Deny = configs.Lists{Clients: []string{"127.0.0.1"}, Senders: []string{"bad.example"}}
	})
	l.cmd(l.dial("127.0.0.1"), 554, "MAIL FROM:<s@a.example>")
	l.cmd(l.dial("127.0.0.2"), 550, "MAIL FROM:<s@bad.example>")
	l.reload(func(c *configs.Config) {
		c.Allow = configs.Lists{Clients: []string{"127.0.0.1"}, Senders: []string{"s@bad.example"}}
	})
	if greeted(l.SMTPAddrs()[0].String()) {
		t.Error("a fifth connection was taken")
	}
	l.cmd(l.dial("127.0.0.3"), 250, "MAIL FROM:<s@bad.example>")
	l.cmd(open, 250, "NOOP")
	l.cmd(open, 221, "QUIT")
}

func TestReloadKeepsABadConfigurationOut(t *testing.T) {
	l := startReloadable(t, 1, nil)
	for name, spoil := range map[string]func(*configs.Config){
		"not loaded":     func(*configs.Config) { l.bad = errors.New("waypost.toml:1:1: nonsense") },
		"no certificate": func(c *configs.Config) { c.TLS.Certificate, c.TLS.Key = "/nowhere", "/nowhere" },
		"no users":       func(c *configs.Config) { c.Relay.UsersFile = "/nowhere" },
		"taken address": func(c *configs.Config) {
			c.Listeners = append(slices.Clone(c.Listeners), configs.Listener{Address: l.MetricsAddr().String(), Mode: "relay", TLS: "none", Auth: "none", TLSProfile: "modern"})
		},
	} {
		good := l.config
		spoil(&l.config)
		l.config.Limits.MessageSize = 777
		_, err := l.Reload()
		if problem, ok := errors.AsType[*control.Problem](err); !ok || problem.Code != control.CodeConfiguration {
			t.Errorf("%s: %v", name, err)
		}
		if text := l.cmd(l.dial("127.0.0.1"), 250, "EHLO c.example"); strings.Contains(text, "SIZE 777") {
			t.Errorf("%s: half of it is in use", name)
		}
		l.config, l.bad = good, nil
	}
	l.reload(func(c *configs.Config) { c.Limits.MessageSize = 778 })
	if text := l.cmd(l.dial("127.0.0.1"), 250, "EHLO c.example"); !strings.Contains(text, "SIZE 778") {
		t.Errorf("%q", text)
	}
}

func TestReloadOpensAndClosesListeners(t *testing.T) {
	l := startReloadable(t, 1, nil)
	first := l.SMTPAddrs()[0].String()
	session := l.dial("127.0.0.1")
	l.reload(func(c *configs.Config) { c.Listeners = append(slices.Clone(c.Listeners), c.Listeners[0]) })
	addrs := l.SMTPAddrs()
	if len(addrs) != 2 || addrs[0].String() != first {
		t.Fatalf("listening on %v, first on %s", addrs, first)
	}
	for _, a := range addrs {
		if !greeted(a.String()) {
			t.Errorf("nobody greets on %s", a)
		}
	}
	var ca *relaytest.CA
	l.reload(func(c *configs.Config) {
		c.Listeners = slices.Clone(c.Listeners[:1])
		ca = withCertificate(t, c)
		c.Listeners[0].TLS = configs.TLSImplicit
	})
	if nc, err := net.Dial("tcp", addrs[1].String()); err == nil {
		nc.Close()
		t.Errorf("%s is still open", addrs[1])
	}
	nc, err := tls.Dial("tcp", first, &tls.Config{RootCAs: ca.Pool(), ServerName: "relay.example"})
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	l.cmd(session, 250, "NOOP")
}

// A changed route reaches what is sent from then on.
func TestReloadChangesRoutes(t *testing.T) {
	one, two := relaytest.NewSink(t, "127.0.0.5:0"), relaytest.NewSink(t, "127.0.0.6:0")
	via := func(s *relaytest.Sink) []configs.Route {
		return []configs.Route{{To: "*", Via: configs.Legs("smtp://" + s.Address()), TLS: configs.TLSNone}}
	}
	l := startReloadable(t, 1, func(c *configs.Config) { c.Routes = via(one) })
	l.send("s@a.example", hello, "r@b.example")
	one.Wait(1)
	l.reload(func(c *configs.Config) { c.Routes = via(two) })
	l.send("s@a.example", hello, "r@b.example")
	two.Wait(1)
}

// Credentials stay with their route when others come before it, and are shown
// to nobody else.
func TestReloadKeepsLoginsWithTheirRoutes(t *testing.T) {
	one := relaytest.NewSink(t, "127.0.0.5:0", relaytest.WithAuth("first", "secret-of-first"))
	two := relaytest.NewSink(t, "127.0.0.6:0", relaytest.WithAuth("second", "secret-of-second"))
	via := func(domain string, s *relaytest.Sink, name string) configs.Route {
		r := configs.Route{To: domain, Via: configs.Legs("smtp://" + s.Address()), TLS: configs.TLSNone, Username: name}
		if name != "" {
			r.PasswordFile = filepath.Join(t.TempDir(), "password")
			if err := os.WriteFile(r.PasswordFile, []byte("secret-of-"+name), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return r
	}
	first, second := via("one.example", one, "first"), via("two.example", two, "second")
	l := startReloadable(t, 1, func(c *configs.Config) { c.Routes = []configs.Route{first} })
	l.send("s@a.example", hello, "r@one.example")
	one.Wait(1)
	l.reload(func(c *configs.Config) { c.Routes = []configs.Route{second, first} })
	l.send("s@a.example", hello, "r@one.example")
	l.send("s@a.example", hello, "r@two.example")
	one.Wait(2)
	if m := two.Wait(1)[0]; m.User != "second" {
		t.Errorf("came from user %q", m.User)
	}
	// The session that is open at the first smarthost has a login that mail has
	// no right to any more: it is refused, and its sender is told.
	home := relaytest.NewSink(t, "127.0.0.7:0")
	l.reload(func(c *configs.Config) { c.Routes = []configs.Route{via("one.example", one, ""), via("*", home, "")} })
	l.send("s@a.example", hello, "r@one.example")
	home.Wait(1)
	if one.Count() != 2 || two.Count() != 1 {
		t.Errorf("%d and %d messages came", one.Count(), two.Count())
	}
}

// 5321-4.5.4.2-a 1123-5.3.1.2-a: somebody listens at all times.
//
// Connections come all the time while the configuration changes, and each of
// them is greeted.
func TestReloadTurnsNobodyAway(t *testing.T) {
	l := startReloadable(t, 1, nil)
	address := l.SMTPAddrs()[0].String()
	stop, failed := make(chan struct{}), make(chan int)
	for range 4 {
		go func() {
			n := 0
			for {
				select {
				case <-stop:
					failed <- n
					return
				default:
				}
				if !greeted(address) {
					n++
				}
			}
		}()
	}
	for i := range 50 {
		l.reload(func(c *configs.Config) { c.Limits.Recipients = 500 + i })
	}
	close(stop)
	for range 4 {
		if n := <-failed; n > 0 {
			t.Errorf("%d connections were turned away", n)
		}
	}
}
