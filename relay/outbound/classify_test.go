package outbound

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"

	"waypost/queue"
	"waypost/relay/smtp"
	"waypost/relay/smtpclient"
	"waypost/resolver"
)

// TestFailures: what each kind of error means for a recipient. Only what can
// never succeed is permanent; a host's 5yz to us is not.
func TestFailures(t *testing.T) {
	dns := func(kind resolver.Kind, status [3]int) error {
		return &resolver.Error{Kind: kind, Name: "b.example", Enhanced: status}
	}
	said := func(stage smtpclient.Stage, code int, enhanced smtp.EnhancedCode) error {
		return &smtpclient.Error{Stage: stage, Reply: smtp.NewReply(code, enhanced, "go away")}
	}
	broke := func(stage smtpclient.Stage, err error) error { return &smtpclient.Error{Stage: stage, Err: err} }
	for _, row := range []struct {
		name   string
		err    error
		state  queue.State
		status string
		text   string
	}{
		{"no such domain", dns(resolver.NoSuchDomain, [3]int{5, 1, 2}), queue.Failed, "5.1.2", "no such domain"},
		{"bad name", dns(resolver.BadName, [3]int{5, 1, 2}), queue.Failed, "5.1.2", "not a domain name"},
		{"null MX", dns(resolver.NullMX, [3]int{5, 1, 10}), queue.Failed, "5.1.10", "takes no mail"},
		{"loop", dns(resolver.Loop, [3]int{5, 4, 6}), queue.Failed, "5.4.6", "loops back"},
		{"no address", dns(resolver.NoAddress, [3]int{5, 4, 4}), queue.Failed, "5.4.4", "no usable address"},
		{"wrapped", fmt.Errorf("hosts: %w", dns(resolver.NullMX, [3]int{5, 1, 10})), queue.Failed, "5.1.10", "takes no mail"},
		{"DNS does not answer", dns(resolver.Temporary, [3]int{4, 4, 3}), queue.Deferred, "4.4.3", "b.example"},
		{"alias loop", dns(resolver.CNAMELoop, [3]int{4, 4, 3}), queue.Deferred, "4.4.3", "aliases"},
		{"no host answers", resolver.NoneUsable("b.example", noDomain("x"), noAnswer("y")), queue.Deferred, "4.4.3", "y"},
		{"no host exists", resolver.NoneUsable("b.example", noDomain("x")), queue.Failed, "5.4.4", "x"},

		{"refused", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, queue.Deferred, "4.4.1", "refused"},
		{"no route", fmt.Errorf("connect: %w", syscall.EHOSTUNREACH), queue.Deferred, "4.4.1", "no route"},
		{"time-out", fmt.Errorf("connect: %w", context.DeadlineExceeded), queue.Deferred, "4.4.1", "deadline"},
		{"unknown", errors.New("never seen before"), queue.Deferred, "4.4.1", "never seen"},

		{"greeted 554", said(smtpclient.StageGreeting, 554, smtp.EnhancedCode{5, 7, 1}), queue.Deferred, "4.7.1", "554"},
		{"greeted 554, no code", said(smtpclient.StageGreeting, 554, smtp.EnhancedCode{}), queue.Deferred, "4.0.0", "554"},
		{"greeted 421", said(smtpclient.StageGreeting, 421, smtp.EnhancedCode{4, 3, 2}), queue.Deferred, "4.3.2", "421"},
		{"EHLO refused", said(smtpclient.StageHello, 550, smtp.EnhancedCode{5, 7, 1}), queue.Deferred, "4.7.1", "550"},
		{"AUTH refused", said(smtpclient.StageAuth, 535, smtp.EnhancedCode{5, 7, 8}), queue.Deferred, "4.7.8", "535"},
		{"STARTTLS missing", broke(smtpclient.StageSTARTTLS, smtpclient.ErrNoSTARTTLS), queue.Deferred, "4.7.0", "STARTTLS"},
		{"handshake", broke(smtpclient.StageHandshake, io.ErrUnexpectedEOF), queue.Deferred, "4.7.0", "handshake"},
		{"AUTH missing", broke(smtpclient.StageAuth, smtpclient.ErrNoAuth), queue.Deferred, "4.7.0", "AUTH"},
		{"AUTH in clear", broke(smtpclient.StageAuth, smtpclient.ErrClearAuth), queue.Deferred, "4.7.0", "without TLS"},
		{"silence", broke(smtpclient.StageGreeting, os.ErrDeadlineExceeded), queue.Deferred, "4.4.2", "greeting"},
		{"lost", broke(smtpclient.StageDot, io.ErrUnexpectedEOF), queue.Deferred, "4.4.2", "dot"},
		{"no SMTP", broke(smtpclient.StageGreeting, smtpclient.ErrProtocol), queue.Deferred, "4.5.0", "protocol"},

		{"damaged", fmt.Errorf("content of X is %w", queue.ErrDamaged), queue.Deferred, "4.3.0", "content of X"},
		{"damaged while it was sent", &smtpclient.Error{Stage: smtpclient.StageContent, Scope: smtpclient.ScopeTransaction, Err: queue.ErrDamaged}, queue.Deferred, "4.3.0", "content"},
		{"cannot be written", &smtpclient.Error{Stage: smtpclient.StageMail, Scope: smtpclient.ScopeTransaction, Err: smtpclient.ErrEnvelope}, queue.Deferred, "4.3.0", "envelope"},
		{"bare line end", &smtpclient.Error{Stage: smtpclient.StageContent, Scope: smtpclient.ScopeTransaction, Err: smtpclient.ErrBareLineEnd}, queue.Failed, "5.6.0", "bare CR or LF"},
		{"nothing known", nil, queue.Deferred, "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := failureOf("mx[192.0.2.1]:25", row.err)
			want(t, f.result(), row.state, row.status, row.text)
			if f.result().Host != "mx[192.0.2.1]:25" {
				t.Errorf("host %q", f.result().Host)
			}
		})
	}
}

// TestOwnReplies: a reply that nobody gave is told as a reason, so that no
// report ascribes it to a host.
func TestOwnReplies(t *testing.T) {
	r := failureOfReply("mx", smtp.NewReply(554, smtp.EnhancedCode{5, 6, 3}, "no 8-bit content")).result()
	want(t, r, queue.Failed, "5.6.3", "no 8-bit content")
	if r.Reply.Code != 0 || r.Reason != "no 8-bit content" {
		t.Errorf("reply %v, reason %q", r.Reply, r.Reason)
	}
	want(t, failureOfReply("mx", smtp.NewReply(451, smtp.EnhancedCode{4, 3, 0}, "later")).result(), queue.Deferred, "4.3.0", "later")
}

// TestReserved: addresses to which a stranger's zone may not send us, however
// they are written, and their neighbours, to which it may.
//
// N-02
func TestReserved(t *testing.T) {
	for text, reservedOnes := range map[string]bool{
		"127.0.0.1 127.255.255.254 0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255":                                          true,
		"172.16.0.1 172.31.255.255 192.168.0.1 192.168.255.255 169.254.169.254 169.254.0.1":                          true,
		"100.64.0.1 100.127.255.255 192.0.0.1 198.18.0.1 198.19.255.255 240.0.0.1":                                   true,
		"224.0.0.1 239.255.255.255 255.255.255.255":                                                                  true,
		":: ::1 fe80::1 fe80::1%eth0 febf::1 fec0::1 fc00::1 fdff::1 ff02::1 100::1":                                 true,
		"::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:0.0.0.0 ::ffff:100.64.0.1 ::ffff:198.18.0.1": true,
		"64:ff9b::7f00:1 64:ff9b::a00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::1 64:ff9b::":                                   true,
		"2002:7f00:1:: 2002:a00:1::1 2002:c0a8:1::1 2002:a9fe:a9fe::1 ::127.0.0.1 ::192.168.0.1":                     true,
		"1.1.1.1 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1":                        false,
		"172.15.255.255 172.32.0.0 192.0.1.0 192.167.255.255 192.169.0.0 198.17.255.255":                             false,
		"198.20.0.0 169.253.255.255 169.255.0.0 223.255.255.255 ::ffff:9.9.9.9":                                      false,
		"2606:4700::1111 2001:4860:4860::8888 64:ff9b::909:909 2002:909:909::1":                                      false,
	} {
		for s := range strings.FieldsSeq(text) {
			if got := reserved(netip.MustParseAddr(s)); got != reservedOnes {
				t.Errorf("%s: reserved %v, want %v", s, got, reservedOnes)
			}
		}
	}
}

// TestAllowPrivate: a network that is allowed opens itself and nothing else,
// also to addresses that are written as IPv6.
func TestAllowPrivate(t *testing.T) {
	o := &Outbound{Options: Options{AllowPrivate: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00:1::/32")}}}
	given := []netip.Addr{
		netip.MustParseAddr("10.2.0.1"), netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("::ffff:10.1.0.2"),
		netip.MustParseAddr("fd00:2::1"), netip.MustParseAddr("fd00:1::1"), netip.MustParseAddr("9.9.9.9"),
	}
	got, err := o.public("mx.example", given)
	if err != nil || fmt.Sprint(got) != "[10.1.0.1 ::ffff:10.1.0.2 fd00:1::1 9.9.9.9]" {
		t.Errorf("%v, %v", got, err)
	}
	got, err = o.public("mx.example", given[:1])
	if got != nil || !errors.Is(err, errPrivate) {
		t.Errorf("%v, %v", got, err)
	}
	want(t, failureOf("", err).result(), queue.Failed, "5.4.4", "mx.example")
}

// What strangers have a part in does not fill the queue.
func TestLongReasonsAreShortened(t *testing.T) {
	f := failureOf("mx", &smtpclient.Error{Stage: smtpclient.StageHandshake, Err: errors.New(strings.Repeat("name, ", 10_000))})
	if n := len(f.result().Reason); n < maxReason || n > maxReason+20 || !strings.HasPrefix(f.reason, "handshake: name, ") {
		t.Errorf("%d octets are kept: %.100q", n, f.reason)
	}
}
