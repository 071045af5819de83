package inbound

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/queue"
	"waypost/relay/alias"
	"waypost/relay/policy"
	"waypost/relay/recipient"
	"waypost/relay/smtp"
)

func TestLocalMail(t *testing.T) {
	b, q := newBackend(t, nil, 0)
	m := Local{User: "local user www-data", From: "s@a.example", To: []string{"r@b.example", "q@b.example"}, Notify: smtp.NotifyNever, Return: "HDRS", EnvelopeID: "e"}
	if err := b.TakeLocal(m, strings.NewReader("Subject: x\r\n\r\nx\r\n")); err != nil {
		t.Fatal(err)
	}
	list, _, err := q.List(queue.Filter{}, 0, 10)
	if err != nil || len(list) != 1 {
		t.Fatalf("%d messages, %v", len(list), err)
	}
	e := list[0]
	if e.ReversePath.String() != "s@a.example" || e.Client != "local user www-data" || e.Return != "HDRS" || e.EnvelopeID != "e" || e.Listener != "drop directory" {
		t.Errorf("envelope %+v", e.Envelope)
	}
	if rcpts := e.Deliveries[0].Recipients; len(rcpts) != 2 || rcpts[1].Notify != smtp.NotifyNever {
		t.Errorf("recipients %+v", rcpts)
	}
	if got := content(t, q, e.ID); !strings.HasPrefix(got, "Received: from localhost ([127.0.0.1])\r\n") || !strings.HasSuffix(got, "\r\n\r\nx\r\n") {
		t.Errorf("content %q", got)
	}
}

func TestLocalMailThatIsRefused(t *testing.T) {
	full, _ := newBackend(t, nil, 1<<60)
	b, q := newBackend(t, nil, 0)
	good := "Subject: x\r\n\r\nx\r\n"
	for _, tc := range []struct {
		name    string
		backend *Backend
		m       Local
		content string
		code    int
	}{
		{"sender", b, Local{From: "s@-a", To: []string{"r@b.example"}}, good, 501},
		{"recipient", b, Local{From: "s@a.example", To: []string{"> x"}}, good, 501},
		{"nobody", b, Local{From: "s@a.example"}, good, 503},
		{"content", b, Local{From: "s@a.example", To: []string{"r@b.example"}}, "Subject: x\n\nx\n", 550},
		{"room", full, Local{From: "s@a.example", To: []string{"r@b.example"}}, good, 452},
	} {
		err := tc.backend.TakeLocal(tc.m, strings.NewReader(tc.content))
		if reply, ok := errors.AsType[*gosmtp.SMTPError](err); !ok || reply.Code != tc.code {
			t.Errorf("%s: %v, want %d", tc.name, err, tc.code)
		}
	}
	if n := q.Stats().Messages; n != 0 {
		t.Errorf("%d messages in the queue", n)
	}
}

// returner notes what goes back.
type returner struct{ got []Returned }

func (*returner) Expanded(io.Writer, queue.ID, *queue.Envelope, []byte, []Expanded) (bool, bool, error) {
	panic("no report on aliases was asked for")
}

func (r *returner) Returned(w io.Writer, one *Returned) (eightBit, utf8 bool, err error) {
	text, err := io.ReadAll(one.Content)
	if err == nil {
		_, err = w.Write(text)
	}
	r.got = append(r.got, *one)
	return one.Envelope.EightBit, false, err
}

// Whoever left mail that is refused for good is told, once, and the others get it.
func TestLocalMailGoesBack(t *testing.T) {
	const good, bare = "Subject: x\r\n\r\nx\r\n", "Subject: x\n\nx\n"
	denied := policy.Lists{Senders: []string{"denied@a.example"}, Recipients: []string{"no@b.example"}}
	aliases := func(t *testing.T) *alias.File {
		name := filepath.Join(t.TempDir(), "aliases")
		if err := os.WriteFile(name, []byte("cron: ann@b.example, bob@b.example\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := alias.Load(name, "relay.example", nil)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	for _, test := range []struct {
		name    string
		m       Local
		content string
		taken   int    // recipients
		refused string // recipients with codes
		to      string // who is told
		whole   bool
		code    int // of the error
	}{
		{"nothing", Local{From: "s@a.example", To: []string{"r@b.example"}}, good, 1, "", "", false, 0},
		{"a quoted address", Local{From: "\"a b\"@a.example", To: []string{"\"c d\"@b.example"}}, good, 1, "", "", false, 0},
		{"a recipient", Local{From: "s@a.example", To: []string{"r@b.example", "no@b.example"}}, good, 1, "no@b.example 550", "s@a.example", true, 0},
		{"all recipients", Local{From: "s@a.example", To: []string{"no@b.example", "a b"}}, good, 0, "no@b.example 550, \"a b\" 501", "s@a.example", true, 0},
		{"a hostile address", Local{From: "s@a.example", To: []string{"x\r\nTo: y\xff"}}, good, 0, "\"x??To: y?\" 501", "s@a.example", true, 0},
		{"the sender", Local{From: "denied@a.example", To: []string{"r@b.example"}}, good, 0, "r@b.example 550", "denied@a.example", true, 0},
		{"the content", Local{From: "s@a.example", To: []string{"r@b.example", "no@b.example"}}, bare, 0, "no@b.example 550, r@b.example 550", "s@a.example", false, 0},
		{"of an alias", Local{From: "cron@relay.example", To: []string{"no@b.example"}}, good, 0, "no@b.example 550", "ann@b.example bob@b.example", true, 0},
		{"nobody wants to hear", Local{From: "s@a.example", To: []string{"no@b.example"}, Notify: smtp.NotifyNever}, good, 0, "", "", false, 0},
		{"nobody to tell", Local{To: []string{"no@b.example"}}, good, 0, "", "", false, 550},
		{"nobody to tell of one", Local{To: []string{"r@b.example", "no@b.example"}}, good, 1, "", "", false, 550},
		{"a sender that is none", Local{From: "s@-a", To: []string{"r@b.example"}}, good, 0, "", "", false, 501},
	} {
		t.Run(test.name, func(t *testing.T) {
			reports := &returner{}
			b, q := newBackend(t, func(o *Options) {
				o.Reporter, o.Aliases, o.Rules.Deny = reports, aliases(t), denied
			}, 0)
			err := b.TakeLocal(test.m, strings.NewReader(test.content))
			if reply, ok := errors.AsType[*gosmtp.SMTPError](err); test.code == 0 && err != nil || test.code != 0 && (!ok || reply.Code != test.code) {
				t.Errorf("%v, want %d", err, test.code)
			}
			var taken int
			var told []string
			list, _, err := q.List(queue.Filter{}, 0, 10)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range list {
				for _, r := range recipients(e) {
					if e.ReversePath.IsNull() && test.m.From != "" {
						told = append(told, r.Path.String())
						if r.Notify != smtp.NotifyNever || content(t, q, e.ID) != test.content {
							t.Errorf("report %+v: %q", r, content(t, q, e.ID))
						}
					} else {
						taken++
						if from := e.ReversePath.String(); from != test.m.From || !slices.Contains(test.m.To, r.Path.String()) {
							t.Errorf("taken from %s for %s", from, r.Path)
						}
					}
				}
			}
			var refused []string
			for _, one := range reports.got {
				if (one.ID != 0) != (test.taken > 0) || one.Whole != test.whole || one.Size != int64(len(test.content)) && one.Whole {
					t.Errorf("goes back: %+v", one)
				}
				for _, r := range one.Refused {
					refused = append(refused, fmt.Sprintf("%s %d", r.Path, r.Reply.Code))
				}
			}
			if got := strings.Join(refused, ", "); taken != test.taken || got != test.refused || strings.Join(told, " ") != test.to {
				t.Errorf("%d taken, %s refused, %q told", taken, got, told)
			}
		})
	}
}

func recipients(e queue.Entry) (all []queue.Recipient) {
	for _, d := range e.Deliveries {
		all = append(all, d.Recipients...)
	}
	return all
}

// Without a client that comes back, what is refused for now waits in the queue,
// however many they are.
func TestLocalMailWaitsInTheQueue(t *testing.T) {
	b, q := newBackend(t, func(o *Options) { o.MaxRecipients, o.Recipients = 2, notNow{} }, 0)
	m := Local{From: "s@a.example", To: []string{"1@b.example", "2@b.example", "3@b.example"}}
	if err := b.TakeLocal(m, strings.NewReader("Subject: x\r\n\r\nx\r\n")); err != nil {
		t.Fatal(err)
	}
	if got := q.Stats(); got.Messages != 1 || got.Queued != 3 {
		t.Errorf("%d messages, %d recipients", got.Messages, got.Queued)
	}
}

// notNow knows nobody for now.
type notNow struct{ Recipients }

func (notNow) Check(context.Context, recipient.Question) policy.Decision {
	return policy.Decision{Reply: smtp.NewReply(450, smtp.EnhancedCode{4, 2, 1}, "Later")}
}

func (notNow) CheckSender(context.Context, smtp.Path) policy.Decision {
	return policy.Decision{Reply: smtp.NewReply(451, smtp.EnhancedCode{4, 4, 3}, "Later")}
}
