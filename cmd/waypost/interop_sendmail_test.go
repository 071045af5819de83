//go:build interop

package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"waypost/relay/relaytest"
)

// sendmailUser is a program that knows only /usr/sbin/sendmail, and what has to
// arrive.
type sendmailUser struct {
	name, program, pkg string
	args               []string
	in                 string
	from               string
	to                 []string
	content            []string // what must stand in it
	prints             string
	now                bool // there is nothing to see while no waypost runs
}

const patch = "From 0123456789abcdef0123456789abcdef01234567 Mon Sep 17 00:00:00 2001\nFrom: Ann <ann@a.example>\n" +
	"Date: Mon, 5 Jan 2026 10:00:00 +0000\nSubject: [PATCH] mend it\n\n.a line with a dot\n.\n---\n"

func sendmailUsers(t *testing.T) []sendmailUser {
	mail := filepath.Join(t.TempDir(), "mend.patch")
	if err := os.WriteFile(mail, []byte(patch), 0o600); err != nil {
		t.Fatal(err)
	}
	php := `exit(mail("rcpt@b.example", "Grüße", "from PHP\n.\nthe end", ["From" => "App <app@a.example>", "Bcc" => "hidden@b.example"], "-fbounces@a.example") ? 0 : 1);`
	return []sendmailUser{
		{
			name: "mail", program: "bsd-mailx", pkg: "bsd-mailx", args: []string{"-s", "a letter", "-r", "ann@a.example", "-c", "copy@b.example", "rcpt@b.example"},
			in: "from mail\nthe end\n", from: "ann@a.example", to: []string{"copy@b.example", "rcpt@b.example"},
			content: []string{"\r\nSubject: a letter\r\n", "\r\nCc: copy@b.example\r\n", "\r\n\r\nfrom mail\r\nthe end\r\n"},
		},
		{
			name: "mail -v", program: "bsd-mailx", pkg: "bsd-mailx", args: []string{"-v", "-s", "a letter", "-r", "ann@a.example", "rcpt@b.example"},
			in: "from mail\n", from: "ann@a.example", to: []string{"rcpt@b.example"}, prints: ">>> RCPT TO:<rcpt@b.example>", now: true,
		},
		{
			name: "PHP", program: "php", pkg: "php-cli", args: []string{"-n", "-r", php},
			from: "bounces@a.example", to: []string{"hidden@b.example", "rcpt@b.example"},
			content: []string{"\r\nFrom: App <app@a.example>\r\n", "\r\nTo: rcpt@b.example\r\n", "\r\n\r\nfrom PHP\r\n.\r\nthe end\r\n"},
		},
		{
			name: "git send-email", program: "git", pkg: "git-email",
			args: []string{"send-email", "--confirm=never", "--quiet", "--suppress-cc=all", "--from=Ann <ann@a.example>", "--envelope-sender=ann@a.example", "--to=rcpt@b.example", "--cc=copy@b.example", mail},
			from: "ann@a.example", to: []string{"copy@b.example", "rcpt@b.example"},
			prints:  "Sent [PATCH] mend it",
			content: []string{"\r\nSubject: [PATCH] mend it\r\n", "\r\nFrom: Ann <ann@a.example>\r\n", "\r\n\r\n.a line with a dot\r\n.\r\n---\r\n"},
		},
	}
}

// TestSendmailUsers has programs that know only /usr/sbin/sendmail find ours in
// its place. Half of them come while no waypost runs, and their mail waits.
func TestSendmailUsers(t *testing.T) {
	binary, address, drop := build(t), freeAddress(t), openDir(t)
	sink := relaytest.NewSink(t, "127.0.0.1:0")
	config := writeConfig(t, settings{nextHop: sink.Address()})
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	edited := "drop_dir = '" + drop + "'\n" + strings.Replace(string(text), "'127.0.0.1:0'", "'"+address+"'", 1)
	if err := os.WriteFile(config, []byte(edited), 0o600); err != nil {
		t.Fatal(err)
	}
	users := sendmailUsers(t)
	for _, u := range users {
		if !u.now {
			u.run(t, binary, config)
		}
	}
	if n := sink.Count(); n != 0 {
		t.Fatalf("%d messages arrived while no waypost ran", n)
	}
	p := start(t, binary, config)
	for _, u := range users {
		u.run(t, binary, config)
	}
	p.waitEmpty()
	got := sink.Wait(2*len(users) - 1)
	for _, u := range users {
		n := 0
		for i := range got {
			if u.is(&got[i]) {
				n++
			}
		}
		if want := 2; !u.now && n != want || n == 0 {
			t.Errorf("%s: %d messages are as they should be, of:\n%s", u.name, n, strings.Join(texts(got), "\n--\n"))
		}
	}
	p.stop()
}

func (u *sendmailUser) run(t *testing.T, binary, config string) {
	t.Helper()
	args := []string{"--dev-bind", "/", "/", "--ro-bind", binary, "/usr/sbin/sendmail", "--ro-bind-try", binary, "/usr/lib/sendmail", "--die-with-parent", tool(t, u.program, u.pkg)}
	c := exec.CommandContext(t.Context(), tool(t, "bwrap", "bubblewrap"), append(args, u.args...)...)
	c.Stdin = strings.NewReader(u.in)
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "LANG=C.UTF-8", "GIT_AUTHOR_NAME=Ann", "GIT_AUTHOR_EMAIL=ann@a.example", "GIT_COMMITTER_NAME=Ann", "GIT_COMMITTER_EMAIL=ann@a.example", "WAYPOST_CONFIG=" + config}
	out, err := c.CombinedOutput()
	if err != nil || !strings.Contains(string(out), u.prints) || u.prints == "" && len(out) > 0 {
		t.Errorf("%s: %v\n%s", u.name, err, out)
	}
}

// is reports whether a message is what has to arrive.
func (u *sendmailUser) is(m *relaytest.Message) bool {
	return m.From == u.from && slices.Equal(slices.Sorted(slices.Values(m.To)), u.to) && !strings.Contains(string(m.Content), "hidden@") &&
		!slices.ContainsFunc(u.content, func(part string) bool { return !strings.Contains(string(m.Content), part) })
}
