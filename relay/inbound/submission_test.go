package inbound

import (
	"testing"
)

// 5068-a: a listener for submission is for nothing else.
//
// What a listener for submission takes, and from whom. Each row is said behind
// EHLO by a client with an address that may relay, or by another one.
func TestSubmission(t *testing.T) {
	const ours, stranger, login = "127.0.0.1", "127.0.0.3", "C: AUTH PLAIN AHUAcA==\nS: 235\n"
	for _, tc := range []struct{ name, from, lines string }{
		{"6409-4.3-a no mail without a login", stranger, "C: MAIL FROM:<s@a.example>\nS: 530 5.7.0\nC: MAIL FROM:<>\nS: 530 5.7.0\n" + alive},
		{"6409-4.3-a with one", stranger, login + "C: MAIL FROM:<s@a.example>\nS: 250"},
		{"6409-4.3-a from a network that may", ours, "C: MAIL FROM:<s@a.example>\nS: 250"},
		{"6409-3.2-a the null reverse-path is none to refuse", ours, "C: MAIL FROM:<>\nS: 250\nC: RCPT TO:<r@b.example>\nS: 250"},
		{"6409-4.2-a domains are whole", ours, "C: MAIL FROM:<s@desk>\nS: 553 5.1.8\nC: MAIL FROM:<s@[192.0.2.1]>\nS: 250\n" +
			"C: RCPT TO:<r@desk>\nS: 553 5.1.2\nC: RCPT TO:<r@localhost>\nS: 250\nC: RCPT TO:<r@intranet>\nS: 250\nC: RCPT TO:<postmaster>\nS: 250\nC: RCPT TO:<r@b.example>\nS: 250"},
		{"6409-5-a bad syntax is 501", ours, "C: MAIL FROM:<s@-a.example>\nS: 501 5.1.8\nC: MAIL FROM:<s@a.example> SIZE=x\nS: 501 5.5.4\nC: MAIL s@a.example\nS: 501 5.5.4"},
		{"6409-7-a ETRN is not for submission", ours, "C: EHLO x\nS: 250-\nC: ETRN ok.example\nS: 502"},
		{"6409-7-a what is offered", ours, "C: EHLO x\nS: 250-relay.example|250-PIPELINING|250-SIZE 1048576|250-8BITMIME|250-SMTPUTF8|250-DSN|250-CHUNKING|250-ENHANCEDSTATUSCODES|250-BINARYMIME|250-STARTTLS|250-AUTH PLAIN|"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			playWith(t, true, tc.from, tc.lines, func(o *Options) {
				o.Submission = true
				o.Rules.LoginsMayRelay = true
				o.Rules.Domains = []string{"intranet"}
			})
		})
	}
}
