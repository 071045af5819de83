//go:build interop

package main_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDovecotAsMailboxServer delivers by LMTP to a real Dovecot, over TCP and
// over a Unix socket, and reads the mailboxes.
func TestDovecotAsMailboxServer(t *testing.T) {
	dovecot := tool(t, "dovecot", "dovecot-lmtpd")
	for _, kind := range []string{"lmtp", "lmtp+unix"} {
		t.Run(kind, func(t *testing.T) {
			dir, tcp := openDir(t), freeAddress(t)
			hop := startDovecot(t, dovecot, dir, tcp)
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
				got := mailbox(t, dir, fmt.Sprintf("letter%d@b.example", i))
				// Dovecot ends lines with LF, and puts fields of its own before ours.
				if want := strings.ReplaceAll(string(content), "\r\n", "\n"); !strings.HasSuffix(got, want) {
					t.Errorf("letter %d: %d octets came, and do not end in the %d that were sent", i, len(got), len(want))
				}
				if !strings.Contains(got, "by relay.example with ") {
					t.Errorf("letter %d has not come through us", i)
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
func startDovecot(t *testing.T, dovecot, dir, tcp string) string {
	t.Helper()
	host, port, err := net.SplitHostPort(tcp)
	if err != nil {
		t.Fatal(err)
	}
	var users strings.Builder
	for i := range letters() {
		fmt.Fprintf(&users, "letter%d@b.example:::::%s/mail/%d\n", i, dir, i)
	}
	text := fmt.Sprintf(`protocols = lmtp
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
		return err == nil && listens(tcp)
	})
	return "lmtp://" + tcp
}

// mailbox returns the one message in a user's mailbox, when it is there.
func mailbox(t *testing.T, dir, user string) string {
	t.Helper()
	var names []string
	waitFor(t, "mail for "+user, func() bool {
		found, err := filepath.Glob(filepath.Join(dir, "mail", user, "new", "*"))
		names = found
		return err == nil && len(found) > 0
	})
	if len(names) != 1 {
		t.Errorf("%s has %d messages", user, len(names))
	}
	content, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
