package main_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"strings"
	"sync"
	"testing"

	gosmtp "github.com/emersion/go-smtp"
)

// turnstile is a next hop that is as slow as a test wants it: it says yes to a message
// when it is told to. It notes the subjects of what has come, in order.
type turnstile struct {
	address string
	arrived chan struct{} // a token for each message that has come
	pass    chan struct{} // a token for each that may go

	mu       sync.Mutex
	subjects []string
}

func newTurnstile(t *testing.T) *turnstile {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &turnstile{address: ln.Addr().String(), arrived: make(chan struct{}, 10_000), pass: make(chan struct{})}
	server := gosmtp.NewServer(gosmtp.BackendFunc(func(*gosmtp.Conn) (gosmtp.Session, error) { return &turnstileSession{s}, nil }))
	server.Domain, server.ErrorLog = "sink.example", log.New(io.Discard, "", 0)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(ln) }) // it ends with the listener
	t.Cleanup(func() {
		if err := server.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		serving.Wait()
	})
	return s
}

// next lets one message go and returns how many have come when another one has.
func (s *turnstile) next(t *testing.T) (arrived int) {
	t.Helper()
	s.pass <- struct{}{}
	expect(t, s.arrived)
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.subjects)
}

// place returns the place of a message in the order in which they came; -1 when it has
// not come.
func (s *turnstile) place(subject string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.subjects {
		if s.subjects[i] == subject {
			return i
		}
	}
	return -1
}

type turnstileSession struct{ *turnstile }

var _ gosmtp.Session = (*turnstileSession)(nil)

func (*turnstileSession) Mail(string, *gosmtp.MailOptions) error { return nil }
func (*turnstileSession) Rcpt(string, *gosmtp.RcptOptions) error { return nil }
func (*turnstileSession) Reset()                                 {}
func (*turnstileSession) Logout() error                          { return nil }

func (s *turnstileSession) Data(r io.Reader) error {
	content, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	for lines := bufio.NewScanner(strings.NewReader(string(content))); lines.Scan(); {
		if subject, is := strings.CutPrefix(lines.Text(), "Subject: "); is {
			s.mu.Lock()
			s.subjects = append(s.subjects, subject)
			s.mu.Unlock()
		}
	}
	s.arrived <- struct{}{}
	<-s.pass
	return nil
}

// A newsletter of thousands waits for one next hop that takes its time. A one-time
// password that comes then is the next to go, for its class or its priority; without
// either it is the last.
func TestUrgentMailPasses(t *testing.T) {
	const bulk, connections = 2000, 2
	rules := "[[class]]\nname = 'bulk'\nheaders = ['Precedence: bulk']\nrank = -10\n[[class]]\nname = 'otp'\nrank = 10\n"
	binary := build(t)
	for name, tc := range map[string]struct {
		classes  string
		envelope envelope
		passes   bool
	}{
		"by a rule":                {rules + "from = ['login@a.example']\n", envelope{from: "login@a.example"}, true},
		"by a rule for priorities": {rules + "min_priority = 4\n", envelope{from: "s@a.example", parameters: " MT-PRIORITY=4"}, true},
		"by priority alone":        {"", envelope{from: "s@a.example", parameters: " MT-PRIORITY=4"}, true},
		"as any other":             {"", envelope{from: "s@a.example"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			sink := newTurnstile(t)
			p := start(t, binary, writeConfig(t, settings{
				nextHop: sink.address, more: fmt.Sprintf("[delivery]\nconnections_per_destination = %d\n%s", connections, tc.classes),
			}))
			newsletter(t, p.smtp[0], bulk)
			expect(t, sink.arrived)
			for range 5 {
				sink.next(t)
			}
			tc.envelope.to = []string{"r@b.example"}
			c := mustDial(t, p.smtp[0])
			if _, err := c.data(tc.envelope, []byte("Subject: urgent\r\n\r\n123456\r\n")); err != nil {
				t.Fatal(err)
			}
			c.close()
			// What was on its way when it came, and one that has its turn among ten.
			before := sink.next(t) + connections + 1
			for range connections + 2 {
				sink.next(t)
			}
			if at := sink.place("urgent"); tc.passes != (0 <= at && at <= before) {
				t.Errorf("it is number %d, and at most %d were under way when it came", at, before)
			}
			close(sink.pass)
			p.waitEmpty()
			p.stop()
			if at := sink.place("urgent"); len(sink.subjects) != bulk+1 || !tc.passes && at < bulk-connections {
				t.Errorf("%d messages arrived, and it was number %d", len(sink.subjects), at)
			}
		})
	}
}

// newsletter queues n messages, over a few sessions.
func newsletter(t *testing.T, address string, n int) {
	t.Helper()
	const sessions = 20
	var senders sync.WaitGroup
	for part := range sessions {
		senders.Go(func() {
			c, err := dial(address)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.close()
			for i := part; i < n; i += sessions {
				content := fmt.Sprintf("Subject: news %d\r\nPrecedence: bulk\r\n\r\nx\r\n", i)
				if _, err := c.data(envelope{from: "news@a.example", to: []string{"r@b.example"}}, []byte(content)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	senders.Wait()
}
