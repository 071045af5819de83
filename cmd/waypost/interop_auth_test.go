//go:build interop

package main_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"waypost/relay/relaytest"
)

// loginLib logs in with Python's client, by the mechanism of the third argument,
// and sends what comes on its input.
const loginLib = `
import smtplib, ssl, sys
host, port, mechanism, password = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
context = ssl._create_unverified_context()
if mechanism == "EXTERNAL":
    context.load_cert_chain(sys.argv[5], sys.argv[6])
with smtplib.SMTP(host, port) as c:
    c.starttls(context=context)
    c.ehlo()
    if mechanism == "EXTERNAL":
        code, text = c.docmd("AUTH", "EXTERNAL =")
    else:
        c.user, c.password = "app", password
        code, text = c.auth(mechanism, getattr(c, "auth_" + mechanism.lower()))
    assert code == 235, (code, text)
    c.sendmail("sender@a.example", ["rcpt@b.example"], sys.stdin.read().replace("\n", "\r\n").encode())
`

const loginPassword = "s3cret pass"

// loginWorld is a program that only those who log in may use, by password or by
// certificate.
type loginWorld struct {
	dir, host, port string
	sink            *relaytest.Sink
	*process
}

func startLoginWorld(t *testing.T) *loginWorld {
	w := &loginWorld{dir: t.TempDir(), sink: relaytest.NewSink(t, "127.0.0.1:0")}
	binary := build(t)
	for name, text := range map[string]string{"password": loginPassword + "\n", "client.py": loginLib, "letter": strings.ReplaceAll(letterText, "\n", "\r\n"),
		"letter without its last line end": strings.TrimSuffix(letterText, "\n")} {
		if err := os.WriteFile(w.file(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	add := exec.CommandContext(t.Context(), binary, "user", "add", "app", "--scheme", "scram-sha-256", "--password-file", w.file("password"), "--file", w.file("users"))
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("user add: %v\n%s", err, out)
	}
	ca := relaytest.NewCA(t)
	writePEM(t, w.file("ca.pem"), "CERTIFICATE", ca.Authority().Certificate[0])
	w.writeLeaf(t, "client", ca.Leaf("client.example"))
	w.process = start(t, binary, writeConfig(t, settings{dataDir: w.file("data"), nextHop: w.sink.Address(), more: tlsTable(t) + fmt.Sprintf(
		"[[listener]]\naddress = '127.0.0.1:0'\ntls = 'starttls'\nauth = 'required'\nclient_ca = '%s'\n[relay]\nnetworks = []\nusers_file = '%s'\n",
		w.file("ca.pem"), w.file("users"))}))
	w.host, w.port, _ = strings.Cut(w.smtp[1], ":")
	return w
}

func (w *loginWorld) file(name string) string { return filepath.Join(w.dir, name) }

func (w *loginWorld) writeLeaf(t *testing.T, name string, leaf tls.Certificate) {
	der, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, w.file(name+".pem"), "CERTIFICATE", leaf.Certificate[0])
	writePEM(t, w.file(name+".key"), "PRIVATE KEY", der)
}

// TestLogins has the clients that people use log in, by each mechanism that they
// know, and send a letter. With a wrong password nothing gets through.
func TestLogins(t *testing.T) {
	w := startLoginWorld(t)
	type run struct {
		name, program, pkg string
		wrong              bool // it is also tried with a wrong password, which takes its time
		sends              bool
		args               func(password string) []string
	}
	runs := []run{}
	for _, mechanism := range []string{"plain", "login", "scram-sha-256"} {
		runs = append(runs, run{"msmtp " + mechanism, "msmtp", "msmtp", true, true, func(password string) []string {
			return []string{"--host=" + w.host, "--port=" + w.port, "--from=sender@a.example", "--tls=on", "--tls-certcheck=off",
				"--auth=" + mechanism, "--user=app", "--passwordeval=printf '%s' '" + password + "'", "rcpt@b.example"}
		}})
	}
	for _, mechanism := range []string{"PLAIN", "LOGIN"} {
		runs = append(runs, run{"curl " + mechanism, "curl", "curl", false, true, func(password string) []string {
			return w.curl("--user", "app:"+password, "--login-options", "AUTH="+mechanism)
		}}, run{"swaks " + mechanism, "swaks", "swaks", false, true, func(password string) []string {
			return []string{"--server", w.host, "--port", w.port, "--tls", "--auth", mechanism, "--auth-user", "app", "--auth-password", password,
				"--from", "sender@a.example", "--to", "rcpt@b.example", "--data", "@" + w.file("letter without its last line end")}
		}}, run{"smtplib " + mechanism, "python3", "python3", false, true, func(password string) []string {
			return []string{w.file("client.py"), w.host, w.port, mechanism, password}
		}})
	}
	// It binds the login to the TLS session.
	runs = append(runs, run{"gsasl SCRAM-SHA-256-PLUS", "gsasl", "gsasl", true, false, func(password string) []string {
		return []string{"--smtp", "--connect", w.host + ":" + w.port, "--mechanism", "SCRAM-SHA-256-PLUS", "--authentication-id", "app",
			"--password", password, "--x509-ca-file=", "--quality-of-protection=qop-auth"}
	}}, run{"curl EXTERNAL", "curl", "curl", false, true, func(string) []string {
		return w.curl("--user", "client.example:", "--login-options", "AUTH=EXTERNAL", "--cert", w.file("client.pem"), "--key", w.file("client.key"))
	}}, run{"smtplib EXTERNAL", "python3", "python3", false, true, func(string) []string {
		return []string{w.file("client.py"), w.host, w.port, "EXTERNAL", "", w.file("client.pem"), w.file("client.key")}
	}}, run{"openssl EXTERNAL", "openssl", "openssl", false, true, func(string) []string {
		return []string{"s_client", "-connect", w.host + ":" + w.port, "-starttls", "smtp", "-name", "client.example", "-quiet", "-crlf",
			"-cert", w.file("client.pem"), "-key", w.file("client.key")}
	}})
	for _, r := range runs {
		t.Run(r.name, func(t *testing.T) {
			before := w.sink.Count()
			in := letterText
			if r.program == "openssl" { // which speaks no SMTP itself
				in = "EHLO client.example\nAUTH EXTERNAL =\nMAIL FROM:<sender@a.example>\nRCPT TO:<rcpt@b.example>\nDATA\n" +
					strings.ReplaceAll(letterText, "\n.", "\n..") + ".\nQUIT\n"
			}
			if out, err := w.login(t, tool(t, r.program, r.pkg), r.args(loginPassword), in); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if r.sends {
				wantLetter(t, w.sink.Wait(before + 1)[before], "ESMTPSA", "")
			}
			if !r.wrong {
				return
			}
			if out, err := w.login(t, tool(t, r.program, r.pkg), r.args("wrong"), letterText); err == nil {
				t.Errorf("it says nothing of a wrong password:\n%s", out)
			}
		})
	}
	w.waitEmpty()
	want := 0
	for _, r := range runs {
		if r.sends {
			want++
		}
	}
	if n := w.sink.Count(); n != want {
		t.Errorf("%d letters came, want %d", n, want)
	}
	w.wantNoPassword(t)
	w.stop()
}

// wantNoPassword looks for the password where it must not be: in the queue and
// what is kept of messages, and in the log.
func (w *loginWorld) wantNoPassword(t *testing.T) {
	places := map[string][]byte{}
	w.mu.Lock()
	places["log"] = []byte(strings.Join(w.tail, "\n"))
	w.mu.Unlock()
	err := filepath.WalkDir(w.file("data"), func(name string, e os.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			places[name], err = os.ReadFile(name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range places {
		for _, secret := range []string{loginPassword, base64.StdEncoding.EncodeToString([]byte(loginPassword)), base64.StdEncoding.EncodeToString([]byte("\x00app\x00" + loginPassword))} {
			if bytes.Contains(text, []byte(secret)) {
				t.Errorf("%s has the password", name)
			}
		}
		if len(text) == 0 && name == "log" {
			t.Error("there is no log to look at")
		}
	}
}

func (w *loginWorld) curl(more ...string) []string {
	return append([]string{"--silent", "--show-error", "--insecure", "--ssl-reqd", "--url", "smtp://" + w.host + ":" + w.port + "/client.example",
		"--mail-from", "sender@a.example", "--mail-rcpt", "rcpt@b.example", "--upload-file", w.file("letter")}, more...)
}

func (w *loginWorld) login(t *testing.T, program string, args []string, in string) ([]byte, error) {
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Stdin = strings.NewReader(in)
	return cmd.CombinedOutput()
}
