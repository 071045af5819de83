package inbound

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/queue"
	"waypost/relay/relaytest"
	"waypost/relay/smtpserver"
)

// script is a dialogue that a section of a standard asks for. Its lines are
//
//	C: text    the client sends text and CRLF; a Go string in quotes is sent as
//	           it is, without CRLF
//	S: text    the next reply begins with text; the lines of a reply are joined
//	           by "|", and "closed" is the end of the connection
//	S~ text    the next reply has text in it
//	TLS        the client does its part of a handshake
//	Q: number  so many messages are in the queue
//	H: text    the message in the queue has this line
//
// It begins behind EHLO, or with RAW at the start of the connection. After " || "
// stands what the same backend makes of it under go-smtp's own server, where
// that is something else, and after " // " why; "-" ends the script there. OWN
// is for what that server does not have at all.
type script struct{ section, lines string }

// conformanceEngine serves one of the two, with everything that it has.
func conformanceEngine(t *testing.T, own bool, b *Backend, cert tls.Certificate) (address string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	secure := &tls.Config{Certificates: []tls.Certificate{cert}}
	if own {
		s := smtpserver.New(smtpserver.Options{
			Hostname: "relay.example", Backend: b, MaxSize: 1 << 20, MaxRecipients: 100, TLS: secure, TLSMode: smtpserver.TLSOffered,
			Auth: smtpserver.AuthOptional, AuthInClear: true,
			Extensions: smtpserver.Extensions{BinaryMIME: true, RequireTLS: true, DeliverBy: true, Priority: true, HoldMax: time.Hour},
		})
		go s.Serve(ln)
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			s.Shutdown(ctx)
		})
		return ln.Addr().String()
	}
	s := gosmtp.NewServer(b)
	s.Domain, s.MaxMessageBytes, s.TLSConfig, s.AllowInsecureAuth = "relay.example", 1<<20, secure, true
	s.EnableSMTPUTF8, s.EnableDSN, s.EnableBINARYMIME, s.EnableREQUIRETLS, s.EnableDELIVERBY, s.EnableMTPRIORITY = true, true, true, true, true, true
	s.ErrorLog = silent{}
	go s.Serve(ln)
	t.Cleanup(func() {
		// Not Close, which ends sessions from a goroutine that is not theirs.
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		s.Shutdown(ctx)
	})
	return ln.Addr().String()
}

type silent struct{}

func (silent) Printf(string, ...any) {}
func (silent) Println(...any)        {}

// dialogue runs one script.
type dialogue struct {
	t   *testing.T
	own bool
	q   *queue.Queue
	nc  net.Conn
	r   *bufio.Reader
}

func (d *dialogue) send(s string) {
	d.t.Helper()
	if s, err := strconv.Unquote(s); err == nil {
		io.WriteString(d.nc, s) // the next reply tells if this failed
		return
	}
	io.WriteString(d.nc, s+"\r\n")
}

func (d *dialogue) reply() string {
	d.t.Helper()
	var lines []string
	for {
		line, err := d.r.ReadString('\n')
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			d.t.Fatal("no reply")
		case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
			return "closed"
		case err != nil:
			d.t.Fatal(err)
		}
		lines = append(lines, strings.TrimSuffix(line, "\r\n"))
		if len(line) < 4 || line[3] != '-' {
			return strings.Join(lines, "|")
		}
	}
}

// line does one line of a script; false ends it.
func (d *dialogue) line(line string) bool {
	d.t.Helper()
	line, _, _ = strings.Cut(line, " // ")
	line, stock, differs := strings.Cut(line, " || ")
	if differs && !d.own {
		if stock = strings.TrimSpace(stock); stock == "-" {
			return false
		}
		line = line[:3] + stock
	}
	if line == "TLS" {
		conn := tls.Client(d.nc, &tls.Config{InsecureSkipVerify: true})
		if err := conn.Handshake(); err != nil {
			d.t.Fatal(err)
		}
		d.nc = conn
		d.r.Reset(conn)
		return true
	}
	kind, text, _ := strings.Cut(line, " ")
	switch text = strings.TrimRight(text, " "); kind {
	case "C:":
		d.send(text)
	case "S:":
		if got := d.reply(); !strings.HasPrefix(got, text) {
			d.t.Fatalf("reply %q, want %q", got, text)
		}
	case "S~":
		if got := d.reply(); !strings.Contains(got, text) {
			d.t.Fatalf("reply %q, want %q in it", got, text)
		}
	case "Q:":
		if got := strconv.FormatInt(d.q.Stats().Messages, 10); got != text {
			d.t.Fatalf("%s messages in the queue, want %s", got, text)
		}
	case "H:":
		entries, _, err := d.q.List(queue.Filter{}, 0, 2)
		if err != nil || len(entries) != 1 {
			d.t.Fatalf("%d messages in the queue, %v", len(entries), err)
		}
		if got := content(d.t, d.q, entries[0].ID); !strings.Contains(got, "\r\n"+text+"\r\n") {
			d.t.Fatalf("no line %q in %q", text, got)
		}
	default:
		d.t.Fatalf("bad line %q", line)
	}
	return true
}

// play runs a script against one engine, from one address.
func play(t *testing.T, own bool, from, lines string) {
	t.Helper()
	lines, raw := strings.CutPrefix(strings.TrimSpace(lines), "RAW\n")
	b, q := newBackend(t, func(o *Options) {
		o.MaxRecipients, o.Authenticator = 100, oneUser{}
		o.ETRN = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	}, 0)
	address := conformanceEngine(t, own, b, relaytest.NewCA(t).Leaf("relay.example"))
	nc, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	d := &dialogue{t, own, q, nc, bufio.NewReader(nc)}
	if !raw {
		lines = "S: 220\nC: EHLO client.example\nS: 250-\n" + lines
	}
	for line := range strings.SplitSeq(lines, "\n") {
		if line = strings.TrimSpace(line); line != "" && !d.line(line) {
			return
		}
	}
}

// The server's part of the standards, section by section, and where go-smtp's
// server differs with the same backend behind it.
func TestConformance(t *testing.T) {
	for _, s := range conformance {
		t.Run(s.section, func(t *testing.T) { play(t, true, "127.0.0.1", strings.TrimPrefix(s.lines, "OWN")) })
		if !strings.HasPrefix(s.lines, "OWN") {
			t.Run(s.section+", go-smtp", func(t *testing.T) { play(t, false, "127.0.0.1", s.lines) })
		}
	}
}
