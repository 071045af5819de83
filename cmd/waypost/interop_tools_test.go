//go:build interop

package main_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"waypost/relay/relaytest"
)

// tool finds a program. One that is not installed is a failure, and no reason
// to skip: the package is the one of Debian that has it.
func tool(t testing.TB, name, pkg string) string {
	t.Helper()
	// The sbin directories are not in everybody's path.
	for _, candidate := range []string{name, "/usr/sbin/" + name, "/usr/lib/postfix/sbin/" + name} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	t.Fatalf("%s is not installed: it is in the Debian package %s", name, pkg)
	return ""
}

// openDir makes a directory that other users can enter: tools of Postfix give
// up root's rights, and the test's own directories are closed to them.
func openDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "waypost-interop-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// freeAddress returns a port for a program that cannot choose one itself.
func freeAddress(t testing.TB) string {
	t.Helper()
	for {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := ln.Addr().String()
		_ = ln.Close()
		if _, again := givenAddresses.LoadOrStore(address, true); !again {
			return address
		}
	}
}

// givenAddresses are those that were free once, and may be somebody's by now.
var givenAddresses sync.Map

// listens reports whether somebody listens.
func listens(address string) bool {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return false
	}
	_ = conn.Close() // nothing was sent
	return true
}

// background runs a program until stop, or the end of the test.
type background struct {
	t     testing.TB
	cmd   *exec.Cmd
	out   bytes.Buffer // may be read when it has ended
	ended chan error
}

func runBackground(t testing.TB, path string, args ...string) *background {
	t.Helper()
	b := &background{t: t, cmd: exec.Command(path, args...), ended: make(chan error, 1)}
	b.cmd.Stdout, b.cmd.Stderr = &b.out, &b.out
	b.cmd.WaitDelay = patience // for a child of its own that keeps the output open
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { b.ended <- b.cmd.Wait() }()
	t.Cleanup(b.stop)
	return b
}

// stop asks it to end, and waits. It may be called twice.
func (b *background) stop() {
	_ = b.cmd.Process.Signal(syscall.SIGTERM) // the only error is that it has ended
	err := <-b.ended
	b.ended <- err
	if b.t.Failed() {
		out := b.out.Bytes()
		b.t.Logf("%s: %v; what it said ends:\n%s", b.cmd, err, out[max(len(out)-4000, 0):])
	}
}

// smtpSink is Postfix's receiving test server. It writes each message to a
// file.
type smtpSink struct {
	address, dir string
}

func startSMTPSink(t testing.TB) *smtpSink {
	t.Helper()
	s := &smtpSink{address: freeAddress(t), dir: openDir(t)}
	if err := os.Chmod(s.dir, 0o777); err != nil { // root's smtp-sink becomes somebody else
		t.Fatal(err)
	}
	args := []string{"-d", filepath.Join(s.dir, "message."), s.address, "100"}
	if os.Geteuid() == 0 {
		args = append([]string{"-u", "nobody"}, args...)
	}
	runBackground(t, tool(t, "smtp-sink", "postfix"), args...)
	waitFor(t, "smtp-sink", func() bool { return listens(s.address) })
	return s
}

// files returns the files of the messages that came.
func (s *smtpSink) files(t testing.TB) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(s.dir, "message.*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// smtpSource sends messages with Postfix's test client, in 20 sessions.
func smtpSource(t testing.TB, address string, messages int, more ...string) {
	t.Helper()
	args := append([]string{"-s", "20", "-m", fmt.Sprint(messages), "-l", "5120",
		"-f", "sender@a.example", "-t", "rcpt@b.example", "-M", "source.example"}, more...)
	out, err := exec.CommandContext(t.Context(), tool(t, "smtp-source", "postfix"), append(args, address)...).CombinedOutput()
	if err != nil {
		t.Fatalf("smtp-source: %v\n%s", err, out)
	}
}

// certificate makes a certificate for names, signed by an authority of the
// test's own, and returns the files of certificate and key.
func certificate(t testing.TB, dir string, names ...string) (certificate, key string) {
	t.Helper()
	leaf := relaytest.NewCA(t).Leaf(names...)
	der, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePEM(t, certificate, "CERTIFICATE", leaf.Certificate[0])
	writePEM(t, key, "PRIVATE KEY", der)
	return certificate, key
}

func writePEM(t testing.TB, name, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// tlsTable is the part of a configuration that names a certificate.
func tlsTable(t testing.TB) string {
	t.Helper()
	certificate, key := certificate(t, t.TempDir(), "relay.example")
	return fmt.Sprintf("[tls]\ncertificate = '%s'\nkey = '%s'\n", certificate, key)
}
