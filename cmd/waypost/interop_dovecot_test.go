//go:build interop

package main_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDovecotAsMailboxServer delivers by LMTP to a real Dovecot, over TCP and
// over a Unix socket, and reads the mailboxes as people do, by POP3 and by IMAP.
func TestDovecotAsMailboxServer(t *testing.T) {
	dovecot := tool(t, "dovecot", "dovecot-lmtpd")
	for _, kind := range []string{"lmtp", "lmtp+unix"} {
		t.Run(kind, func(t *testing.T) {
			dir, tcp := openDir(t), freeAddress(t)
			pop3, imap := freeAddress(t), freeAddress(t)
			hop := startDovecot(t, dovecot, dir, tcp, pop3, imap)
			if kind == "lmtp+unix" {
				hop = "lmtp+unix://" + filepath.Join(dir, "lmtp")
			}
			config := writeConfig(t, settings{nextHop: "HOP"})
			text, err := os.ReadFile(config)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(config, bytes.Replace(text, []byte("smtp://HOP"), []byte(hop), 1), 0o600); err != nil {
				t.Fatal(err)
			}
			p := start(t, build(t), config)
			c := mustDial(t, p.smtp[0])
			contents := letters()
			for i, content := range contents {
				e := letterEnvelope(i)
				if e.parameters = ""; bytes.ContainsFunc(content, func(r rune) bool { return r > 0x7f }) {
					e.parameters = " BODY=8BITMIME"
				}
				e.to = append(e.to, "nobody@b.example") // each recipient has a reply of its own
				if _, err := c.data(e, content); err != nil {
					t.Fatal(err)
				}
			}
			for i, content := range contents {
				user := fmt.Sprintf("letter%d@b.example", i)
				waitForMail(t, dir, user)
				for how, got := range map[string]string{"POP3": readPOP3(t, pop3, user), "IMAP": readIMAP(t, imap, user)} {
					// Dovecot puts fields of its own before ours.
					if !strings.HasSuffix(got, string(content)) {
						t.Errorf("letter %d by %s: %d octets came, and do not end in the %d that were sent", i, how, len(got), len(content))
					}
					if !strings.Contains(got, "by relay.example with ") {
						t.Errorf("letter %d by %s has not come through us", i, how)
					}
				}
			}
			waitFor(t, "the unknown recipient's failures", func() bool {
				return p.metric("waypost_recipients_bounced_total") >= float64(len(contents))
			})
			p.stop()
		})
	}
}

// startDovecot starts Dovecot with a mailbox for each letter, and returns the
// next hop of its TCP port.
func startDovecot(t *testing.T, dovecot, dir, tcp, pop3, imap string) string {
	t.Helper()
	host, port, err := net.SplitHostPort(tcp)
	if err != nil {
		t.Fatal(err)
	}
	var users strings.Builder
	for i := range letters() {
		fmt.Fprintf(&users, "letter%d@b.example:{PLAIN}secret::::%s/mail/%d\n", i, dir, i)
	}
	listener := func(name, address string) string {
		host, port, _ := strings.Cut(address, ":")
		return fmt.Sprintf("service %[1]s-login {\n  inet_listener %[1]s {\n    address = %[2]s\n    port = %[3]s\n  }\n  inet_listener %[1]ss {\n    port = 0\n  }\n}\n", name, host, port)
	}
	text := listener("pop3", pop3) + listener("imap", imap) + fmt.Sprintf(`protocols = lmtp pop3 imap
disable_plaintext_auth = no
base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/log
ssl = no
mail_location = maildir:%[1]s/mail/%%u
mail_uid = mail
mail_gid = mail
first_valid_uid = 1
first_valid_gid = 1
postmaster_address = postmaster@b.example
passdb {
  driver = passwd-file
  args = username_format=%%u %[1]s/users
}
userdb {
  driver = passwd-file
  args = username_format=%%u %[1]s/users
}
service lmtp {
  unix_listener %[1]s/lmtp {
    mode = 0666
  }
  inet_listener lmtp {
    address = %[2]s
    port = %[3]s
  }
}
`, dir, host, port)
	for name, content := range map[string]string{"users": users.String(), "dovecot.conf": text} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "mail"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "mail"), 0o777); err != nil {
		t.Fatal(err)
	}
	runBackground(t, dovecot, "-F", "-c", filepath.Join(dir, "dovecot.conf"))
	waitFor(t, "Dovecot to listen", func() bool {
		_, err := os.Stat(filepath.Join(dir, "lmtp"))
		return err == nil && listens(tcp) && listens(pop3) && listens(imap)
	})
	return "lmtp://" + tcp
}

// waitForMail waits until there is a message in a user's mailbox.
func waitForMail(t *testing.T, dir, user string) {
	t.Helper()
	waitFor(t, "mail for "+user, func() bool {
		found, err := filepath.Glob(filepath.Join(dir, "mail", user, "new", "*"))
		return err == nil && len(found) > 0
	})
}

// readPOP3 returns the one message of a user, and leaves it there (RFC 1939).
func readPOP3(t *testing.T, address, user string) string {
	t.Helper()
	c, err := textproto.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	want := func(prefix string) {
		t.Helper()
		if line, err := c.ReadLine(); err != nil || !strings.HasPrefix(line, prefix) {
			t.Fatalf("POP3: %q, %v, want %s", line, err, prefix)
		}
	}
	want("+OK")
	for _, step := range [][2]string{{"USER " + user, "+OK"}, {"PASS secret", "+OK"}, {"STAT", "+OK 1 "}, {"RETR 1", "+OK"}} {
		if err := c.PrintfLine("%s", step[0]); err != nil {
			t.Fatal(err)
		}
		want(step[1])
	}
	var b strings.Builder
	for {
		line, err := c.R.ReadString('\n') // not ReadDotBytes, which changes line ends
		if err != nil {
			t.Fatal(err)
		}
		if line == ".\r\n" {
			return b.String()
		}
		b.WriteString(strings.TrimPrefix(line, "."))
	}
}

// readIMAP does the same (RFC 9051).
func readIMAP(t *testing.T, address, user string) string {
	t.Helper()
	c, err := textproto.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, command := range []string{"a LOGIN " + user + " secret", "b SELECT INBOX"} {
		if err := c.PrintfLine("%s", command); err != nil {
			t.Fatal(err)
		}
		for tag := command[:2]; ; {
			line, err := c.ReadLine()
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(line, tag) {
				if !strings.HasPrefix(line, tag+"OK") {
					t.Fatalf("IMAP: %q to %q", line, command)
				}
				break
			}
		}
	}
	if err := c.PrintfLine("c FETCH 1 BODY.PEEK[]"); err != nil {
		t.Fatal(err)
	}
	line, err := c.ReadLine()
	if err != nil {
		t.Fatal(err)
	}
	var size int
	if _, err := fmt.Sscanf(line, "* 1 FETCH (BODY[] {%d}", &size); err != nil {
		t.Fatalf("IMAP: %q: %v", line, err)
	}
	content := make([]byte, size)
	if _, err := io.ReadFull(c.R, content); err != nil {
		t.Fatal(err)
	}
	return string(content)
}
