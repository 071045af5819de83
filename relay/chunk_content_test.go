package relay

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"waypost/configs"
	"waypost/relay/relaytest"
)

// What comes in chunks has no dots to end it, and may be told to a host that
// takes DATA alone, for which they do (RFC 3030 §2, RFC 5321 §4.5.2). Nothing in
// it ends the message early there, and what could, where line ends are taken
// less strictly, is refused.
//
// S-13 S-16 S-17 3030-e
func TestChunksToAHostWithoutThem(t *testing.T) {
	const smuggled = "MAIL FROM:<evil@a.example>\r\nRCPT TO:<v@b.example>\r\nDATA\r\nx\r\n.\r\n"
	for _, row := range []struct {
		body string
		want int
	}{
		{"\n.\n", 550}, {"\n.\r\n", 550}, {"\r\n.\n", 550}, {"\r.\r\n", 550}, {"\r.\r", 550}, {"\r\n\x00.\r\n", 250}, {"\r\n.\x00\r\n", 250}, {"\r\r\n.\r\r\n", 550},
		{"\r\n.\r\n", 250}, {"\r\n..\r\n", 250}, {".\r\n.\r\n.\r\n", 250},
	} {
		t.Run(fmt.Sprintf("%q", row.body), func(t *testing.T) {
			sink := relaytest.NewSink(t, "127.0.0.1:0")
			s := start(t, 1, func(c *configs.Config) {
				c.Routes = []configs.Route{{To: "*", Via: configs.Legs("smtp://" + sink.Address()), TLS: configs.TLSNone}}
			})
			chunk := func(content string, want int) {
				c := s.dial("127.0.0.1")
				s.cmd(c, 250, "MAIL FROM:<s@a.example>")
				s.cmd(c, 250, "RCPT TO:<r@b.example>")
				fmt.Fprintf(c.W, "BDAT %d LAST\r\n%s", len(content), content)
				c.W.Flush()
				s.expect(c, want)
				s.cmd(c, 250, "NOOP") // and the session is in step
			}
			content := "Subject: x\r\n\r\nx" + row.body + smuggled
			chunk(content, row.want)
			// One without a line end at its end gets one, and only one.
			const last = "Subject: last\r\n\r\nx"
			chunk(last, 250)
			want := []string{last + "\r\n"}
			if row.want == 250 {
				want = append(want, content)
			}
			var got []string
			for _, m := range sink.Wait(len(want)) {
				_, after, _ := bytes.Cut(m.Content, []byte("Subject: "))
				got = append(got, "Subject: "+string(after))
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("came: %q, want %q", got, want)
			}
		})
	}
}
