//go:build interop

package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"waypost/relay/relaytest"
)

// letterText is what the clients send, in the way of a program on Unix.
const letterText = "From: sender@a.example\nTo: rcpt@b.example\nSubject: a letter\n\n.a line with a dot\n.\n\nthe end\n"

// smtplib is Python's client, with the arguments of one row behind it.
const smtplib = `
import smtplib, ssl, sys
host, port, mode = sys.argv[1], int(sys.argv[2]), sys.argv[3]
context = ssl._create_unverified_context()
kind = (lambda: smtplib.SMTP_SSL(host, port, context=context)) if mode == "implicit" else (lambda: smtplib.SMTP(host, port))
with kind() as c:
    if mode == "starttls":
        c.starttls(context=context)
    options, sender, to = [], "sender@a.example", "rcpt@b.example"
    if mode == "utf8":
        options, sender, to = ["SMTPUTF8", "BODY=8BITMIME"], "žena@a.example", "δοκιμή@b.example"
    code, _ = c.verify("rcpt@b.example")
    assert code == 252, code
    assert c.help().startswith(b"2.0.0 Commands"), c.help()
    refused = c.sendmail(sender, [to, "no@-bad-.example"], sys.stdin.read().replace("\n", "\r\n").encode(), options)
    assert list(refused) == ["no@-bad-.example"], refused
`

// clientRun is one program that sends a letter.
type clientRun struct {
	name     string
	listener int
	program  string
	pkg      string
	args     []string // HOST and PORT stand for the listener's
	with     string   // the protocol in our trace field
	to       string   // the recipient, if it is another
}

func clientRuns(t *testing.T) []clientRun {
	script := filepath.Join(t.TempDir(), "client.py")
	letter := filepath.Join(t.TempDir(), "letter")
	for name, text := range map[string]string{script: smtplib, letter: strings.ReplaceAll(letterText, "\n", "\r\n")} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	msmtp := func(more ...string) []string {
		return append([]string{"--host=HOST", "--port=PORT", "--from=sender@a.example", "--domain=client.example", "--tls-certcheck=off"}, append(more, "rcpt@b.example")...)
	}
	curl := func(url string, more ...string) []string {
		return append([]string{"--silent", "--show-error", "--insecure", "--url", url, "--mail-from", "sender@a.example", "--mail-rcpt", "rcpt@b.example", "--upload-file", letter}, more...)
	}
	return []clientRun{
		{name: "msmtp", listener: without, program: "msmtp", pkg: "msmtp", args: msmtp(), with: "ESMTP"},
		{name: "msmtp, STARTTLS", listener: required, program: "msmtp", pkg: "msmtp", args: msmtp("--tls=on"), with: "ESMTPS"},
		{name: "msmtp, implicit TLS", listener: implicit, program: "msmtp", pkg: "msmtp", args: msmtp("--tls=on", "--tls-starttls=off"), with: "ESMTPS"},
		{name: "curl", listener: without, program: "curl", pkg: "curl", args: curl("smtp://HOST:PORT/client.example"), with: "ESMTP"},
		{name: "curl, STARTTLS", listener: offered, program: "curl", pkg: "curl", args: curl("smtp://HOST:PORT/client.example", "--ssl-reqd"), with: "ESMTPS"},
		{name: "curl, implicit TLS", listener: implicit, program: "curl", pkg: "curl", args: curl("smtps://HOST:PORT/client.example"), with: "ESMTPS"},
		{name: "smtplib", listener: without, program: "python3", pkg: "python3", args: []string{script, "HOST", "PORT", "plain"}, with: "ESMTP"},
		{name: "smtplib, STARTTLS", listener: offered, program: "python3", pkg: "python3", args: []string{script, "HOST", "PORT", "starttls"}, with: "ESMTPS"},
		{name: "smtplib, implicit TLS", listener: implicit, program: "python3", pkg: "python3", args: []string{script, "HOST", "PORT", "implicit"}, with: "ESMTPS"},
		{name: "smtplib, SMTPUTF8", listener: without, program: "python3", pkg: "python3", args: []string{script, "HOST", "PORT", "utf8"}, with: "UTF8SMTP", to: "δοκιμή@b.example"},
	}
}

// TestClients has the clients that people use send a letter through the
// program.
func TestClients(t *testing.T) {
	sink := relaytest.NewSink(t, "127.0.0.1:0")
	p := start(t, build(t), writeConfig(t, settings{
		nextHop: sink.Address(), listeners: []string{offered: "starttls", required: "required", implicit: "implicit", without: "none"}, more: tlsTable(t),
	}))
	for _, r := range clientRuns(t) {
		t.Run(r.name, func(t *testing.T) { r.run(t, p.smtp[r.listener], sink) })
	}
	p.waitEmpty()
	p.stop()
}

func (r *clientRun) run(t *testing.T, address string, sink *relaytest.Sink) {
	before := sink.Count()
	host, port, _ := strings.Cut(address, ":")
	replace := strings.NewReplacer("HOST", host, "PORT", port)
	args := make([]string, len(r.args))
	for i, arg := range r.args {
		args[i] = replace.Replace(arg)
	}
	cmd := exec.CommandContext(t.Context(), tool(t, r.program, r.pkg), args...)
	cmd.Stdin = strings.NewReader(letterText)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	wantLetter(t, sink.Wait(before + 1)[before], r.with, r.to)
}

// wantLetter checks the letter at its end.
func wantLetter(t *testing.T, m relaytest.Message, with, to string) {
	t.Helper()
	if to == "" {
		to = "rcpt@b.example"
	}
	trace, rest, err := cutTrace(m.Content)
	if err != nil || !strings.Contains(trace, " with "+with+" id ") {
		t.Errorf("trace %q, %v, want with %s", trace, err, with)
	}
	// Some add fields of their own behind the subject.
	if want := "\r\n\r\n.a line with a dot\r\n.\r\n\r\nthe end\r\n"; !strings.HasSuffix(rest, want) || !strings.Contains(rest, "\r\nSubject: a letter\r\n") || len(m.To) != 1 || m.To[0] != to {
		t.Errorf("to %q came %q", m.To, rest)
	}
}

// TestProxiedClients has swaks say for whom it speaks, by XCLIENT and by both
// versions of the PROXY protocol.
func TestProxiedClients(t *testing.T) {
	program := tool(t, "swaks", "swaks")
	sink := relaytest.NewSink(t, "127.0.0.1:0")
	p := start(t, build(t), writeConfig(t, settings{
		nextHop: sink.Address(), more: "[[listener]]\naddress = '127.0.0.1:0'\nxclient_from = ['127.0.0.1']\n" +
			"[[listener]]\naddress = '127.0.0.1:0'\nproxy_protocol_from = ['127.0.0.1']\n[relay]\nnetworks = ['192.0.2.0/24']\n",
	}))
	const xclient, proxy = 1, 2
	proxied := []string{"--proxy-source", "192.0.2.7", "--proxy-source-port", "5", "--proxy-dest", "192.0.2.8", "--proxy-dest-port", "25"}
	for _, tc := range []struct {
		name     string
		listener int
		args     []string
		exit     int
		trace    string
	}{
		{"XCLIENT", xclient, []string{"--xclient-addr", "192.0.2.7", "--xclient-name", "inside.example"}, swaksDone, "from client.example (inside.example [192.0.2.7])"},
		{"XCLIENT for a stranger", xclient, []string{"--xclient-addr", "198.51.100.7"}, swaksRcpt, ""},
		{"no XCLIENT", xclient, nil, swaksRcpt, ""},
		{"PROXY 1", proxy, append([]string{"--proxy-version", "1", "--proxy-family", "TCP4"}, proxied...), swaksDone, "from client.example ([192.0.2.7])"},
		{"PROXY 2", proxy, append([]string{"--proxy-version", "2", "--proxy-family", "AF_INET"}, proxied...), swaksDone, "from client.example ([192.0.2.7])"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := sink.Count()
			host, port, _ := strings.Cut(p.smtp[tc.listener], ":")
			cmd := exec.CommandContext(t.Context(), program, append([]string{"--server", host, "--port", port, "--helo", "client.example", "--from", "sender@a.example", "--to", "rcpt@b.example"}, tc.args...)...)
			out, _ := cmd.CombinedOutput()
			if got := cmd.ProcessState.ExitCode(); got != tc.exit {
				t.Fatalf("swaks ended with %d, want %d:\n%s", got, tc.exit, out)
			}
			if tc.trace == "" {
				return
			}
			m := sink.Wait(before + 1)[before]
			if trace, _, err := cutTrace(m.Content); err != nil || !strings.Contains(trace, tc.trace) {
				t.Errorf("trace %q, %v, want %s", trace, err, tc.trace)
			}
		})
	}
	p.waitEmpty()
	p.stop()
}

// TestEximAsClient has a real Exim send to the program, by BDAT in groups of
// commands, and by DATA.
func TestEximAsClient(t *testing.T) {
	program := tool(t, "exim4", "exim4-daemon-light")
	sink := relaytest.NewSink(t, "127.0.0.1:0")
	p := start(t, build(t), writeConfig(t, settings{nextHop: sink.Address(), listeners: []string{"starttls"}, more: tlsTable(t)}))
	host, port, _ := strings.Cut(p.smtp[0], ":")
	for name, chunking := range map[string]string{"BDAT": "*", "DATA": ""} {
		t.Run(name, func(t *testing.T) {
			before := sink.Count()
			dir := openDir(t)
			for _, sub := range []string{"spool", "log"} {
				if err := os.Mkdir(filepath.Join(dir, sub), 0o777); err != nil {
					t.Fatal(err)
				}
			}
			if out, err := exec.CommandContext(t.Context(), "chown", "-R", "Debian-exim:", filepath.Join(dir, "spool"), filepath.Join(dir, "log")).CombinedOutput(); err != nil {
				t.Fatalf("chown: %v\n%s", err, out)
			}
			config := filepath.Join(dir, "exim.conf")
			if err := os.WriteFile(config, []byte(eximConfig(program, dir, host, port, chunking)), 0o644); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), program, "-C", config, "-f", "sender@a.example", "-odi", "-oi", "rcpt@b.example")
			cmd.Stdin = strings.NewReader(letterText)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("exim: %v\n%s", err, out)
			}
			log, err := os.ReadFile(filepath.Join(dir, "log", "mainlog"))
			if chunked := strings.Contains(string(log), " K "); err != nil || !strings.Contains(string(log), " => rcpt@b.example ") || chunked != (chunking != "") {
				t.Fatalf("chunks: %t, %v; Exim's log:\n%s", chunked, err, log)
			}
			wantLetter(t, sink.Wait(before + 1)[before], "ESMTPS", "")
		})
	}
	p.waitEmpty()
	p.stop()
}

func eximConfig(program, dir, host, port, chunking string) string {
	return fmt.Sprintf(`exim_path = %[5]s
exim_user = Debian-exim
exim_group = Debian-exim
never_users =
primary_hostname = exim.example
spool_directory = %[1]s/spool
log_file_path = %[1]s/log/%%slog
keep_environment =
begin routers
all:
  driver = manualroute
  route_list = * %[2]s
  self = send
  transport = smtp
begin transports
smtp:
  driver = smtp
  port = %[3]s
  hosts_try_chunking = %[4]s
  tls_verify_certificates =
begin retry
* * F,2h,1m
`, dir, host, port, chunking, program)
}
