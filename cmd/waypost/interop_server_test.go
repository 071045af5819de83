//go:build interop

package main_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// postfix is a Postfix of the test's own: configuration, queue and data are in
// a directory of its own, and it listens on loopback only.
type postfix struct {
	address string
	config  string // directory
}

// startPostfix starts a Postfix that takes everything from loopback and passes
// it on to nextHop. The parameters are further lines of its main.cf.
func startPostfix(t testing.TB, nextHop string, parameters ...string) *postfix {
	t.Helper()
	program := tool(t, "postfix", "postfix")
	if os.Geteuid() != 0 {
		t.Fatal("Postfix's master starts as root only: run this test as root")
	}
	dir := openDir(t)
	p := &postfix{address: freeAddress(t), config: filepath.Join(dir, "etc")}
	for _, sub := range []string{"etc", "queue", "data"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "chown", "postfix", filepath.Join(dir, "data")).CombinedOutput(); err != nil {
		t.Fatalf("chown: %v\n%s", err, out)
	}
	p.write(t, "main.cf", p.mainCF(dir, nextHop)+strings.Join(parameters, "\n")+"\n")
	p.write(t, "master.cf", p.masterCF())
	runBackground(t, program, "-c", p.config, "start-fg")
	// What runs in the foreground is a script that waits for the master, and
	// passes no signal on to it.
	t.Cleanup(func() {
		if out, err := exec.Command(program, "-c", p.config, "stop").CombinedOutput(); err != nil {
			t.Errorf("postfix stop: %v\n%s", err, out)
		}
	})
	waitFor(t, "Postfix", func() bool { return listens(p.address) })
	return p
}

func (p *postfix) write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.config, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// mainCF has Postfix leave the content as it is, so that it can be compared.
func (p *postfix) mainCF(dir, nextHop string) string {
	host, port, _ := strings.Cut(nextHop, ":")
	return fmt.Sprintf(`compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
meta_directory = /etc/postfix
shlib_directory = /usr/lib/postfix
mail_owner = postfix
setgid_group = postdrop
maillog_file = /dev/stdout
myhostname = postfix.example
mydestination =
local_recipient_maps =
local_transport = error:no local mail
alias_maps =
alias_database =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
relayhost = [%[2]s]:%[3]s
disable_dns_lookups = yes
smtpd_peername_lookup = no
local_header_rewrite_clients =
message_drop_headers =
smtp_line_length_limit = 0
in_flow_delay = 0
minimal_backoff_time = 1s
maximal_backoff_time = 1s
queue_run_delay = 1s
biff = no
`, dir, host, port)
}

// masterCF lists the services that a relay needs, none in a chroot.
func (p *postfix) masterCF() string {
	return fmt.Sprintf(`%s inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
showq unix n - n - - showq
postlog unix-dgram n - n - 1 postlogd
`, p.address)
}

// queued returns what Postfix still has in its queue, one message a line.
func (p *postfix) queued(t testing.TB) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), tool(t, "postqueue", "postfix"), "-c", p.config, "-j")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("postqueue: %v\n%s", err, &stderr)
	}
	return string(out)
}

// waitEmpty returns when Postfix has passed everything on.
func (p *postfix) waitEmpty(t testing.TB) {
	t.Helper()
	waitFor(t, "Postfix's queue to be empty", func() bool { return strings.TrimSpace(p.queued(t)) == "" })
}
