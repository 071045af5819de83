package smtpserver

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// v2 makes a header of version 2.
func v2(command, family byte, data string) string {
	return proxyV2 + string([]byte{command, family}) + string(binary.BigEndian.AppendUint16(nil, uint16(len(data)))) + data
}

const (
	tcp4 = "\xc0\x00\x02\x01\xc0\x00\x02\x02\x30\x39\x00\x19"
	tcp6 = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" + "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x30\x39\x00\x19"
)

// headers are the valid ones, with the client that each tells of.
var headers = []struct{ name, header, client string }{
	{"v1 TCP4", "PROXY TCP4 192.0.2.1 192.0.2.2 12345 25\r\n", "192.0.2.1:12345"},
	{"v1 TCP6", "PROXY TCP6 2001:db8::1 2001:db8::2 12345 25\r\n", "[2001:db8::1]:12345"},
	{"v1 UNKNOWN", "PROXY UNKNOWN\r\n", ""},
	{"v1 UNKNOWN with more", "PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", ""},
	{"v2 TCP4", v2(0x21, 0x11, tcp4), "192.0.2.1:12345"},
	{"v2 TCP6", v2(0x21, 0x21, tcp6), "[2001:db8::1]:12345"},
	{"v2 with more behind", v2(0x21, 0x11, tcp4+"\x04\x00\x03abc"), "192.0.2.1:12345"},
	{"v2 LOCAL", v2(0x20, 0x00, ""), ""},
	{"v2 LOCAL with addresses", v2(0x20, 0x11, tcp4), ""},
	{"v2 unspecified", v2(0x21, 0x00, "abc"), ""},
}

var badHeaders = []struct{ name, header string }{
	{"garbage", "EHLO c.example\r\n"},
	{"TLS", "\x16\x03\x01\x00\x01"},
	{"v1 too long", "PROXY UNKNOWN " + strings.Repeat("x", 92) + "\r\n"},
	{"v1 without end", "PROXY TCP4 " + strings.Repeat("1", 200)},
	{"v1 other family", "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n"},
	{"v1 wrong family", "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n"},
	{"v1 no port", "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n"},
	{"v1 large port", "PROXY TCP4 192.0.2.1 192.0.2.2 65536 25\r\n"},
	{"v1 no address", "PROXY TCP4 x y 1 25\r\n"},
	{"v1 two blanks", "PROXY  TCP4 192.0.2.1 192.0.2.2 1 25\r\n"},
	{"v1 zone", "PROXY TCP6 fe80::1%eth0 fe80::2 1 25\r\n"},
	{"v2 other version", v2(0x31, 0x11, tcp4)},
	{"v2 other command", v2(0x22, 0x11, tcp4)},
	{"v2 socket", v2(0x21, 0x31, strings.Repeat("x", 216))},
	{"v2 datagram", v2(0x21, 0x12, tcp4)},
	{"v2 short addresses", v2(0x21, 0x21, tcp4)},
	{"v2 65535 octets", v2(0x21, 0x11, strings.Repeat("x", 65535))},
}

func withProxy(o *Options) { o.ProxyFrom = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }

// remote is the client of the last session, as the backend sees it.
func (m *memory) remote() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.conn == nil {
		return "none"
	}
	return m.conn.Conn().RemoteAddr().String()
}

// Each header comes with the commands behind it in the same segment, and an
// octet at a time.
func TestProxyProtocol(t *testing.T) {
	for _, tc := range headers {
		for _, piece := range []int{1, 1000} {
			t.Run(tc.name, func(t *testing.T) {
				m := &memory{}
				_, address := start(t, m, withProxy)
				c := dial(t, address)
				for sent := tc.header + "EHLO c.example\r\n"; sent != ""; {
					n := min(piece, len(sent))
					c.say(sent[:n])
					sent = sent[n:]
				}
				c.expect("220", "250-")
				want := tc.client
				if want == "" {
					want = c.LocalAddr().String()
				}
				if got := m.remote(); got != want {
					t.Errorf("client %s, want %s", got, want)
				}
			})
		}
	}
}

// I-15: too long, too large, or none.
func TestBadProxyHeaders(t *testing.T) {
	for _, tc := range badHeaders {
		t.Run(tc.name, func(t *testing.T) {
			_, address := start(t, &memory{}, withProxy)
			c := dial(t, address)
			c.Write([]byte(tc.header)) // which fails where the end comes early
			c.expect("closed")
		})
	}
}

// Clients behind a proxy are counted each for itself, and the proxy is not.
func TestProxiedClientsAreCounted(t *testing.T) {
	_, address := start(t, &memory{}, func(o *Options) {
		withProxy(o)
		o.Connections = NewConnections(ConnectionLimits{Total: 10, PerAddress: 1})
	})
	for _, tc := range []struct{ client, want string }{{"192.0.2.1", "220"}, {"192.0.2.2", "220"}, {"192.0.2.1", "421 4.7.0"}} {
		c := dial(t, address)
		c.say("PROXY TCP4 " + tc.client + " 192.0.2.9 1 25\r\n")
		c.expect(tc.want)
	}
}

func TestProxyProtocolUnderTLS(t *testing.T) {
	m := &memory{}
	secure := withTLS(t, TLSImplicit)
	_, address := start(t, m, func(o *Options) {
		withProxy(o)
		secure(o)
	})
	c := dial(t, address)
	c.say(v2(0x21, 0x11, tcp4))
	c.secure().ready()
	if got := m.remote(); got != "192.0.2.1:12345" {
		t.Errorf("client %s", got)
	}
}

// What the proxy said stays true behind STARTTLS.
func TestProxyProtocolAndStartTLS(t *testing.T) {
	m := &memory{}
	secure := withTLS(t, TLSOffered)
	_, address := start(t, m, func(o *Options) {
		withProxy(o)
		secure(o)
	})
	c := dial(t, address)
	c.say("PROXY TCP4 192.0.2.1 192.0.2.9 7 25\r\n")
	c.ready().say("STARTTLS\r\n")
	c.expect("220")
	c.secure().say("EHLO c.example\r\n")
	c.expect("250-")
	if got := m.remote(); got != "192.0.2.1:7" {
		t.Errorf("client %s", got)
	}
}

// I-15: from those who may not.
//
// An address that is not listed may not speak for others.
func TestStrayProxyHeaders(t *testing.T) {
	for _, header := range []string{"PROXY TCP4 192.0.2.1 192.0.2.2 1 25\r\n", v2(0x21, 0x11, tcp4)} {
		m := &memory{}
		_, address := start(t, m, nil)
		c := dial(t, address)
		c.say(header + "EHLO c.example\r\n")
		c.expect("220", "550 5.7.1 PROXY protocol is not accepted", "closed")
		if got := m.remote(); got != "none" {
			t.Errorf("a session began for %s", got)
		}
	}
}

// I-15: five seconds.
//
// A proxy that says too little is cut off in its time.
func TestSlowProxy(t *testing.T) {
	server := New(Options{Hostname: "relay.example", Backend: &memory{}})
	ours, theirs := net.Pipe()
	defer theirs.Close()
	conn := &deadlines{Conn: ours}
	s := newSession(server, conn, netip.MustParseAddr("127.0.0.1"))
	go theirs.Write([]byte("PROXY TCP4"))
	if err := s.readProxyHeader(); !errors.Is(err, errExpired) {
		t.Errorf("error %v", err)
	}
	if conn.set <= 0 || conn.set > proxyTimeout {
		t.Errorf("deadline in %v", conn.set)
	}
}

// deadlines is a connection whose read deadline is over after the first read.
type deadlines struct {
	net.Conn
	set   time.Duration
	reads int
}

var errExpired = errors.New("expired")

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.set = time.Until(t)
	return nil
}

func (d *deadlines) Read(p []byte) (int, error) {
	if d.reads++; d.reads > 1 {
		return 0, errExpired
	}
	return d.Conn.Read(p)
}

// What is taken is a header and nothing else, and no part of one passes for the
// whole.
func FuzzProxy(f *testing.F) {
	for _, h := range headers {
		f.Add([]byte(h.header + "EHLO x\r\n"))
	}
	for _, h := range badHeaders {
		f.Add([]byte(h.header))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := parseProxy(b)
		if err != nil {
			if h != (proxyHeader{}) || err != errProxyShort && err != errProxyHeader {
				t.Fatalf("%q: %+v, %d, %v", b, h, n, err)
			}
			return
		}
		if n <= 0 || n > len(b) || n > maxProxyV2 || h.client.IsValid() != h.local.IsValid() {
			t.Fatalf("%q: %+v, %d octets", b, h, n)
		}
		if again, m, err := parseProxy(b[:n]); again != h || m != n || err != nil {
			t.Fatalf("%q alone: %+v, %d, %v", b[:n], again, m, err)
		}
		for cut := range n {
			if _, _, err := parseProxy(b[:cut]); err != errProxyShort {
				t.Fatalf("%q of %q: %v", b[:cut], b[:n], err)
			}
		}
	})
}
