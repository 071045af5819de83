//go:build interop

package main_test

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestSocketActivation has systemd's own tool open the socket, and start the
// program when the first client comes.
func TestSocketActivation(t *testing.T) {
	binary := build(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	config := writeConfig(t, settings{nextHop: "127.0.0.1:9"})
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, []byte(strings.Replace(string(text), "127.0.0.1:0", address, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.Command("systemd-socket-activate", "--listen="+address, binary, "serve", "-c", config),
		ready: make(chan struct{}), ended: make(chan struct{})}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.watch(stderr)
	t.Cleanup(p.clean)
	waitFor(t, "the socket", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	if err := deliverOne(address); err != nil {
		t.Error(err)
	}
	<-p.ready
	if p.smtp[0] != address {
		t.Errorf("it listens on %v, want %s", p.smtp, address)
	}
	p.stop()
}
