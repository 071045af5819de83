//go:build interop

package main_test

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestSeriesAreBounded queues mail for a million domains, none of which can be
// found, and reads the page of the metrics meanwhile: it has no more series
// than the configuration says, whoever is written to.
func TestSeriesAreBounded(t *testing.T) {
	const sessions, messages, each, top = 4, 250, 1000, 15
	config := writeConfig(t, settings{dataDir: filepath.Join(memoryDir(t), "data"), nextHop: "127.0.0.1:9", more: "[history]\nsize = '0'\n[delivery]\nworkers = 1\nslow_workers = 1\n"})
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	edited := strings.NewReplacer("to = '*'", "to = 'elsewhere.example'", "retry = ['1s']", "retry = ['1h']",
		"[metrics]\n", fmt.Sprintf("[metrics]\ntop_destinations = %d\n", top)).Replace(string(text))
	if err := os.WriteFile(config, []byte(edited), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, build(t), config)
	begun := p.series()
	most := begun + 4*top // two states, attempts and waiting of each that has a name

	var sending sync.WaitGroup
	for s := range sessions {
		sending.Go(func() {
			c, err := dial(p.smtp[0])
			if err != nil {
				t.Error(err)
				return
			}
			defer c.close()
			for m := range messages {
				if err := c.pipeline(envelope{from: "s@a.example", to: strangers(s*messages+m, each)}); err != nil {
					t.Errorf("session %d, message %d: %v", s, m, err)
					return
				}
				if m%50 != 0 {
					continue
				}
				if n := p.series(); n > most {
					t.Errorf("%d series, and there may be %d", n, most)
					return
				}
			}
		})
	}
	sending.Wait()
	if t.Failed() {
		return
	}
	waitFor(t, "some attempts", func() bool { return p.metric("waypost_queue_destinations_waiting") >= 1000 })
	if n := p.metric("waypost_queue_destinations"); n != sessions*messages*each {
		t.Errorf("mail waits for %v domains", n)
	}
	if n := p.series(); n != most {
		t.Errorf("%d series, want %d at the start and 4 for each of %d domains", n, begun, top)
	}
	t.Logf("%d series at the start, %d in the end; VmHWM %.0f MB", begun, p.series(), float64(status(t, p.cmd.Process.Pid, "VmHWM"))/1e6)
}

// strangers are recipients whose domains no other lot has.
func strangers(lot, n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("r@d%d-%d.example", lot, i))
	}
	return all
}

// pipeline sends a short message to many (RFC 2920 §3.1).
func (c *client) pipeline(e envelope) error {
	if err := c.conn.SetDeadline(time.Now().Add(2 * patience)); err != nil {
		return err
	}
	// What is written may be more than the other side reads before its replies are read.
	written := make(chan error, 1)
	go func() {
		fmt.Fprintf(c.text.W, "MAIL FROM:<%s>%s\r\n", e.from, e.parameters)
		for _, to := range e.to {
			fmt.Fprintf(c.text.W, "RCPT TO:<%s>\r\n", to)
		}
		fmt.Fprint(c.text.W, "DATA\r\n")
		written <- c.text.W.Flush()
	}()
	for range 1 + len(e.to) {
		if _, err := c.reply(250); err != nil {
			return err
		}
	}
	if _, err := c.reply(354); err != nil {
		return err
	}
	if err := <-written; err != nil {
		return err
	}
	if _, err := c.text.W.WriteString("Subject: x\r\n\r\nx\r\n.\r\n"); err != nil {
		return err
	}
	_, err := c.queued()
	return err
}

// series is how many there are of our own; those of Go's runtime come and go.
func (p *process) series() (n int) {
	p.t.Helper()
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	reply, err := client.Get("http://" + p.http + "/metrics")
	if err != nil {
		p.t.Error(err) // not from the test's own goroutine, perhaps
		return 0
	}
	defer reply.Body.Close()
	lines := bufio.NewScanner(reply.Body)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "waypost_") {
			n++
		}
	}
	if err := lines.Err(); err != nil {
		p.t.Error(err)
	}
	return n
}
