package resolver

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"waypost/resolver/dnstest"
)

// TestAddresses asks a real server on loopback about hosts.
func TestAddresses(t *testing.T) {
	v4 := many("h.example. 300 IN A 192.0.2.%d", 9)
	v6 := many("h.example. 300 IN AAAA 2001:db8::%d", 9)
	for title, row := range map[string]struct {
		host      string // default: h.example
		records   []string
		behaviour map[uint16]dnstest.Behaviour
		limit     int
		want      []string
		kind      Kind
		unasked   bool // no query may be sent
	}{
		"IPv4":               {records: v4[:2], want: []string{"192.0.2.0", "192.0.2.1"}},
		"IPv6":               {records: v6[:2], want: []string{"2001:db8::", "2001:db8::1"}},
		"5321-5.2-a both":    {records: append(v4[:2:2], v6[:2]...), want: []string{"2001:db8::", "192.0.2.0", "2001:db8::1", "192.0.2.1"}},
		"many of one":        {records: v4, want: []string{"192.0.2.0", "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"}},
		"N-01 many of both":  {records: append(v4[:9:9], v6...), want: []string{"2001:db8::", "192.0.2.0", "2001:db8::1", "192.0.2.1", "2001:db8::2"}},
		"many and one":       {records: append(v4[:9:9], v6[0]), limit: 3, want: []string{"2001:db8::", "192.0.2.0", "192.0.2.1"}},
		"one and many":       {records: append(v6[:9:9], v4[0]), limit: 2, want: []string{"2001:db8::", "192.0.2.0"}},
		"N-01 250, over TCP": {records: many("h.example. 300 IN A 198.51.%d.1", 250), want: []string{"198.51.0.1", "198.51.1.1", "198.51.2.1", "198.51.3.1", "198.51.4.1"}},
		"N-02 mapped":        {records: []string{"h.example. 300 IN AAAA ::ffff:127.0.0.1"}, want: []string{"127.0.0.1"}},
		"2181-10.3-a alias":  {records: []string{"h.example. 300 IN CNAME i.example.", "i.example. 300 IN A 192.0.2.1"}, want: []string{"192.0.2.1"}},
		"N-05 alias loop":    {records: []string{"h.example. 300 IN CNAME h.example."}, kind: CNAMELoop},
		"AAAA fails":         {records: v4[:1], behaviour: map[uint16]dnstest.Behaviour{dns.TypeAAAA: {Rcode: dns.RcodeServerFailure}}, want: []string{"192.0.2.0"}},
		"A fails":            {records: v6[:1], behaviour: map[uint16]dnstest.Behaviour{dns.TypeA: {Rcode: dns.RcodeRefused}}, want: []string{"2001:db8::"}},
		"AAAA denies":        {records: v4[:1], behaviour: map[uint16]dnstest.Behaviour{dns.TypeAAAA: {Rcode: dns.RcodeNameError}}, want: []string{"192.0.2.0"}},
		"AAAA denies, no A":  {records: []string{"h.example. 300 IN TXT x"}, behaviour: map[uint16]dnstest.Behaviour{dns.TypeAAAA: {Rcode: dns.RcodeNameError}}, kind: NoAddress},
		"A denies, AAAA off": {records: v6[:1], behaviour: map[uint16]dnstest.Behaviour{dns.TypeA: {Rcode: dns.RcodeNameError}, dns.TypeAAAA: {Rcode: dns.RcodeServerFailure}}, kind: Temporary},
		"both fail":          {records: v4[:1], behaviour: map[uint16]dnstest.Behaviour{dns.TypeNone: {Rcode: dns.RcodeServerFailure}}, kind: Temporary},
		"no A, AAAA fails":   {records: []string{"h.example. 300 IN TXT x"}, behaviour: map[uint16]dnstest.Behaviour{dns.TypeAAAA: {Rcode: dns.RcodeServerFailure}}, kind: Temporary},
		"neither":            {records: []string{"h.example. 300 IN TXT x"}, kind: NoAddress},
		"no such name":       {kind: NoSuchDomain},
		"underscore":         {host: "mail_1.example", records: []string{"mail_1.example. 300 IN A 192.0.2.1"}, want: []string{"192.0.2.1"}},
		"one label":          {host: "Mailbox", records: []string{"mailbox. 300 IN A 192.0.2.1"}, want: []string{"192.0.2.1"}},

		"localhost":          {host: "LOCALHOST.", want: []string{"127.0.0.1", "::1"}, unasked: true},
		"below localhost":    {host: "a.localhost", want: []string{"127.0.0.1", "::1"}, unasked: true},
		"IPv4 in text":       {host: "10.0.0.5", want: []string{"10.0.0.5"}, unasked: true},
		"IPv6 in text":       {host: "2001:db8::1", want: []string{"2001:db8::1"}, unasked: true},
		"mapped in text":     {host: "::ffff:10.0.0.5", want: []string{"10.0.0.5"}, unasked: true},
		"IPv4 literal":       {host: "[192.0.2.1]", want: []string{"192.0.2.1"}, unasked: true},
		"IPv6 literal":       {host: "[ipv6:2001:db8::1]", want: []string{"2001:db8::1"}, unasked: true},
		"mapped literal":     {host: "[IPv6:::ffff:127.0.0.1]", want: []string{"127.0.0.1"}, unasked: true},
		"bad literal":        {host: "[x]", kind: BadName, unasked: true},
		"number":             {host: "127.1", kind: BadName, unasked: true},
		"not a name":         {host: "a b", kind: BadName, unasked: true},
		"in the hosts file":  {host: "Db.", want: []string{"fd00::7", "10.0.0.7", "10.0.0.8"}, unasked: true},
		"second name there":  {host: "db.internal", want: []string{"10.0.0.7"}, unasked: true},
		"commented out":      {host: "gone", kind: NoSuchDomain},
		"bad address there":  {host: "broken", kind: NoSuchDomain},
		"mapped there":       {host: "mapped", want: []string{"10.0.0.9"}, unasked: true},
		"underscore in file": {host: "my_service", want: []string{"10.0.0.10"}, unasked: true},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			s := dnstest.New(t, row.records...)
			for qtype, b := range row.behaviour {
				s.Set("h.example", b, qtype)
			}
			host := row.host
			if host == "" {
				host = "h.example"
			}
			hosts := filepath.Join(t.TempDir(), "hosts")
			content := "# names\n10.0.0.7\tdb db.internal # the database\r\n10.0.0.8 DB.\nfd00::7 db\n10.0.0.7 db\n" +
				"#10.0.0.1 gone\n10.0.0 broken\n10.0.0.2\n::ffff:10.0.0.9 mapped\n10.0.0.10 my_service"
			if err := os.WriteFile(hosts, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			r := newResolver(t, s, Options{MaxAddresses: row.limit, HostsFile: hosts})
			got, err := r.Addresses(t.Context(), host)
			if row.want == nil {
				wantKind(t, err, row.kind)
			} else if want := addrs(t, row.want...); err != nil || !slices.Equal(got, want) {
				t.Errorf("addresses are %v, %v, want %v", got, err, want)
			}
			if row.unasked && s.Queries(host, dns.TypeNone) != 0 {
				t.Errorf("%s was asked of the DNS", host)
			}
		})
	}
}

// TestFamiliesSideBySide: two slow answers take the time of one.
func TestFamiliesSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := says(t, "h.example. 300 IN A 192.0.2.1", "h.example. 300 IN AAAA 2001:db8::1")
		s := &script{reply: func(server string, query *dns.Msg) (*dns.Msg, error) {
			time.Sleep(time.Second)
			return answer(server, query)
		}}
		r := newResolver(t, nil, Options{Servers: []string{"192.0.2.53"}, Exchange: s.exchange})
		start := time.Now()
		got, err := r.Addresses(t.Context(), "h.example")
		if took := time.Since(start); err != nil || len(got) != 2 || took != time.Second {
			t.Errorf("addresses are %v, %v after %v, want two after 1s", got, err, took)
		}
	})
}

// TestHostsFileChanges: a changed, a removed and a new hosts file are seen.
func TestHostsFileChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	synctest.Test(t, func(t *testing.T) {
		s := &script{reply: says(t, "h.example. 0 IN A 192.0.2.1")}
		r := newResolver(t, nil, Options{Servers: []string{"192.0.2.53"}, HostsFile: path, Exchange: s.exchange})
		for i, step := range []struct{ content, want string }{
			{"", "192.0.2.1"},
			{"10.0.0.1 h.example\n", "10.0.0.1"},
			{"10.0.0.200 h.example\n", "10.0.0.200"},
			{"10.0.0.201 h.example\n", "10.0.0.201"}, // of the same size
			{"", "192.0.2.1"},
		} {
			var err error
			if step.content != "" {
				err = os.WriteFile(path, []byte(step.content), 0o600)
				// The file system's clock may be too coarse to tell the steps apart.
				at := time.Unix(1_000_000_000+int64(i), 0)
				err = errors.Join(err, os.Chtimes(path, at, at))
			} else if i > 0 {
				err = os.Remove(path)
			}
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(watchEvery)
			got, err := r.Addresses(t.Context(), "h.example")
			if err != nil || !slices.Equal(got, addrs(t, step.want)) {
				t.Errorf("step %d: addresses are %v, %v, want %s", i, got, err, step.want)
			}
		}
	})
}

// TestUnreadableFileKeepsWhatWasRead: a file that turns unreadable is not an
// empty one.
func TestUnreadableFileKeepsWhatWasRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "hosts")
		if err := os.WriteFile(path, []byte("10.0.0.1 h\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		w := watch(path, parseHosts)
		want := addrs(t, "10.0.0.1")
		if got := w.get()["h"]; !slices.Equal(got, want) {
			t.Fatalf("read %v, want %v", got, want)
		}
		// A directory in its place can be described and not be read.
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		time.Sleep(watchEvery)
		if got := w.get()["h"]; !slices.Equal(got, want) {
			t.Errorf("after it became unreadable: %v, want %v", got, want)
		}
	})
}

// TestOwnPort: an address of ours at another port is another server.
func TestOwnPort(t *testing.T) {
	s := dnstest.New(t, mxRecord, "mx.example. 300 IN A 127.0.0.9")
	for own, want := range map[string]bool{"127.0.0.9:0": true, "127.0.0.9:2526": true, "127.0.0.9:2525": false, "[::ffff:127.0.0.9]:2526": true} {
		r := newResolver(t, s, Options{Port: 2526, Own: func() []netip.AddrPort {
			return []netip.AddrPort{netip.MustParseAddrPort(own)}
		}})
		_, err := r.Hosts(t.Context(), "d.example")
		if want {
			wantKind(t, err, Loop)
		} else if err != nil {
			t.Errorf("own %s: %v", own, err)
		}
	}
}
