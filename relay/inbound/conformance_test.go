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
	"regexp"
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

// script is a dialogue that an item of a standard asks for. Its lines are
//
//	C: text    the client sends text and CRLF; a Go string in quotes is sent as
//	           it is, without CRLF
//	S: text    the next reply begins with text; the lines of a reply are joined
//	           by "|", and "closed" is the end of the connection
//	S~ text    the next reply has text in it
//	TLS        the client does its part of a handshake
//	Q: number  so many messages are in the queue
//	R: paths   these are the recipients in the queue; "; " stands between messages
//	H: text    the message in the queue has this line, or the text of a Go string
//
// It begins behind EHLO, or with RAW at the start of the connection. After " || "
// stands what the same backend makes of it under go-smtp's own server, where
// that is something else, and after " // " why; "-" ends the script there. OWN
// is for what that server does not have at all.
type script struct{ name, lines string }

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
	t    *testing.T
	own  bool
	q    *queue.Queue
	nc   net.Conn
	r    *bufio.Reader
	verb string // of the command that the next reply is to, where that is certain
}

func (d *dialogue) send(s string) {
	d.t.Helper()
	if s, err := strconv.Unquote(s); err == nil {
		d.verb = ""
		io.WriteString(d.nc, s) // the next reply tells if this failed
		return
	}
	d.verb, _, _ = strings.Cut(strings.ToUpper(s), " ")
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
			if d.own {
				d.check(lines)
			}
			return strings.Join(lines, "|")
		}
	}
}

// replies are the codes that each command may have (RFC 5321 §4.3.2, and the
// standards of the extensions).
var replies = map[string]string{
	"EHLO": "250 504 550 502", "HELO": "250 504 550 502",
	"MAIL": "250 552 451 452 550 553 503 455 555 530 554", "RCPT": "250 251 550 551 552 553 450 451 452 503 455 555 556 530",
	"DATA": "354 503 554 451 550", ".": "250 552 554 451 452 450 550", "RSET": "250", "NOOP": "250", "QUIT": "221",
	"VRFY": "250 251 252 550 551 553 502 504 530", "EXPN": "250 252 550 502 504 530", "HELP": "211 214 502 504",
	"BDAT": "250 552 554 451 452 450 550 503", "STARTTLS": "220 454 502 503", "ETRN": "250 251 252 253 458 459 502 503 530",
	"AUTH": "235 334 432 454 534 535 538 502 503 504", "*": "501", "XCLIENT": "220 550 503",
}

// lastDetail is the highest detail of each subject of the registered enhanced
// codes (RFC 3463 and RFC 5248).
var lastDetail = []int{0, 10, 4, 6, 7, 6, 10, 30}

var wireLine = regexp.MustCompile(`^([2-5])([0-5][0-9])[ -](?:([245])\.([0-7])\.([0-9]{1,2}) )?[ -~]*$`)

// check holds a reply to what every reply has to be.
func (d *dialogue) check(lines []string) {
	d.t.Helper()
	for _, line := range lines {
		m := wireLine.FindStringSubmatch(line)
		switch {
		case m == nil || len(line) > 510 || line[:3] != lines[0][:3]:
			d.t.Fatalf("the line %q is of no reply", line)
		case m[1] == "3" || m[1]+m[2] == "220" || strings.HasPrefix(lines[0][4:], "relay.example"):
			// RFC 2034 §4: the greeting, EHLO's reply, and 3yz have no enhanced code.
		case m[3] != m[1]:
			d.t.Fatalf("%q has no enhanced code of its class", line)
		default:
			subject, _ := strconv.Atoi(m[4])
			if detail, _ := strconv.Atoi(m[5]); detail > lastDetail[subject] {
				d.t.Fatalf("%q has an enhanced code that is not registered", line)
			}
		}
	}
	number := lines[0][:3]
	if allowed, ok := replies[d.verb]; ok && number != "421" && number != "500" && number != "501" && !strings.Contains(allowed, number) {
		d.t.Fatalf("%s has no reply %q", d.verb, lines[0])
	}
	d.verb = ""
}

func (d *dialogue) entries() []queue.Entry {
	d.t.Helper()
	entries, _, err := d.q.List(queue.Filter{}, 0, 10)
	if err != nil {
		d.t.Fatal(err)
	}
	return entries
}

// recipients writes those of all messages as the line "R:" does.
func (d *dialogue) recipients() string {
	d.t.Helper()
	var messages []string
	for _, e := range d.entries() {
		var paths []string
		for _, delivery := range e.Deliveries {
			for _, r := range delivery.Recipients {
				paths = append(paths, r.Path.String())
			}
		}
		messages = append(messages, strings.Join(paths, " "))
	}
	return strings.Join(messages, "; ")
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
	case "R:":
		if got := d.recipients(); got != text {
			d.t.Fatalf("recipients %q, want %q", got, text)
		}
	case "H:":
		entries := d.entries()
		if len(entries) != 1 {
			d.t.Fatalf("%d messages in the queue", len(entries))
		}
		want, err := strconv.Unquote(text)
		if err != nil {
			want = "\r\n" + text + "\r\n"
		}
		if got := content(d.t, d.q, entries[0].ID); !strings.Contains(got, want) {
			d.t.Fatalf("no %q in %q", want, got)
		}
	default:
		d.t.Fatalf("bad line %q", line)
	}
	return true
}

// play runs a script against one engine, from one address.
func play(t *testing.T, own bool, from, lines string) {
	t.Helper()
	playWith(t, own, from, lines, func(*Options) {})
}

// playWith does so with a backend of choice.
func playWith(t *testing.T, own bool, from, lines string, edit func(*Options)) {
	t.Helper()
	lines, raw := strings.CutPrefix(strings.TrimSpace(lines), "RAW\n")
	b, q := newBackend(t, func(o *Options) {
		o.MaxRecipients, o.Authenticator = 100, oneUser{}
		o.ETRN = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
		edit(o)
	}, 0)
	address := conformanceEngine(t, own, b, relaytest.NewCA(t).Leaf("relay.example"))
	nc, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	d := &dialogue{t: t, own: own, q: q, nc: nc, r: bufio.NewReader(nc)}
	if !raw {
		lines = "S: 220\nC: EHLO client.example\nS: 250-\n" + lines
	}
	for line := range strings.SplitSeq(lines, "\n") {
		if line = strings.TrimSpace(line); line != "" && !d.line(line) {
			return
		}
	}
}

// The server's part of the standards, item by item, and where go-smtp's server
// differs with the same backend behind it. What holds for every reply is looked
// for in each:
//
// 5321-4.2-c 5321-4.2-d 5321-4.3.2-a: only the codes that the command has, all
// lines with the same one
//
// 2034-a 3463-a 5248-a: a registered enhanced code of the same class on each line
func TestConformance(t *testing.T) {
	for _, s := range conformance {
		t.Run(s.name, func(t *testing.T) { play(t, true, "127.0.0.1", strings.TrimPrefix(s.lines, "OWN")) })
		if !strings.HasPrefix(s.lines, "OWN") {
			t.Run(s.name+", go-smtp", func(t *testing.T) { play(t, false, "127.0.0.1", s.lines) })
		}
	}
}
