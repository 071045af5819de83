package smtpserver

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
)

// FuzzChunks sends any content by BDAT, cut anywhere, and in place of the first
// chunk's size anything at all. The content arrives, and no octet of it is a
// command; where the size is none, that is the last thing to be answered.
func FuzzChunks(f *testing.F) {
	for _, content := range []string{"", "x", "\r\n.\r\nQUIT\r\n", "a\r\nMAIL FROM:<evil@x.example>\r\nRSET\r\nBDAT 3 LAST\r\nabc", strings.Repeat("0123456789abcdef", 600)} {
		f.Add(content, 0, 0, "")
		f.Add(content, 3, 5, "")
		f.Add(content, 1, 4096, "-1")
	}
	for _, size := range []string{"0x1", "1 2", "1 FOO", "99999999999999999999", "4294967296", "\t1", "1\t", "", "+1", " 1 LAST", "1\rQUIT"} {
		f.Add("QUIT\r\nQUIT\r\n", 2, 6, size)
	}
	f.Fuzz(func(t *testing.T, content string, one, two int, size string) {
		content = content[:min(len(content), 1<<15)]
		size, _, _ = strings.Cut(size, "\n") // what follows would be another line
		cut := func(n int) int { return min(max(n, 0), len(content)) }
		one, two = cut(min(one, two)), cut(max(one, two))
		line := fmt.Sprint(one)
		if size != "" {
			line = size
		}
		m := &memory{}
		got := exchange(t, m, fmt.Sprintf("EHLO x\r\n%sBDAT %s\r\n%sBDAT %d\r\n%sBDAT %d LAST\r\n%sNOOP end\r\n",
			envelope, line, content[:one], two-one, content[one:two], len(content)-two, content[two:]))
		all := m.all()
		arrived := len(all) == 1 && all[0].content == content && len(got) == 8
		refused := len(all) == 0 && len(got) == 5 && got[4][0] == '5'
		if size == "" && !arrived {
			t.Fatalf("%q: replies %q, messages %+v", content, got, all)
		}
		if n, last, ok := parseChunk(strings.Trim(strings.TrimRight(size, " \t"), " ")); size != "" && (!ok || n == int64(one) && !last) && !arrived && !refused {
			t.Fatalf("%q, size %q: replies %q, messages %+v", content, size, got, all)
		}
	})
}

// exchange runs a session for a client that sends text and closes its side, and
// returns the last line of each reply.
func exchange(t *testing.T, m *memory, text string) (replies []string) {
	t.Helper()
	server := New(Options{Hostname: "relay.example", Backend: m, MaxSize: 1 << 16})
	ours, theirs := net.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		newSession(server, &halfClosed{Conn: ours, left: int64(len(text))}, netip.IPv6Unspecified()).serve()
	}()
	go theirs.Write([]byte(text)) // which fails when the session ends early
	r := bufio.NewReader(theirs)
	for {
		line, err := r.ReadString('\n')
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(line) > 3 && line[3] == ' ' {
			replies = append(replies, line)
		}
	}
	<-ended
	return replies
}
