package inbound

import (
	"errors"
	"strings"
	"testing"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/queue"
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
		{"recipient", b, Local{From: "s@a.example", To: []string{"r@b.example", "> x"}}, good, 501},
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
