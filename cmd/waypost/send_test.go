package main

import (
	"strings"

	gosmtp "github.com/emersion/go-smtp"
	"github.com/rogpeppe/go-internal/testscript"
)

func send(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: send FROM TO... FILE")
	}
	from, to, file := args[0], args[1:len(args)-1], args[len(args)-1]
	c, err := gosmtp.Dial(ts.Getenv("SMTP"))
	ts.Check(err)
	defer c.Close()
	ts.Check(c.Mail(from, nil))
	for _, rcpt := range to {
		ts.Check(c.Rcpt(rcpt, nil))
	}
	w, err := c.Data()
	ts.Check(err)
	_, err = w.Write([]byte(strings.ReplaceAll(ts.ReadFile(file), "\n", "\r\n")))
	ts.Check(err)
	reply, err := w.CloseWithResponse()
	ts.Check(err)
	ts.Check(c.Quit())
	_, id, _ := strings.Cut(reply.StatusText, "queued as ")
	ts.Setenv("ID", id)
}

func dangle(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: dangle")
	}
	c, err := gosmtp.Dial(ts.Getenv("SMTP"))
	ts.Check(err)
	ts.Defer(func() { _ = c.Close() }) // the other side has closed it by then
	ts.Check(c.Mail("sender@example.com", nil))
	ts.Check(c.Rcpt("bob@example.org", nil))
	_, err = c.Data()
	ts.Check(err)
}
