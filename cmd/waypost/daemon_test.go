package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience bounds every wait, so that a fault ends a test and does not hang it.
const patience = 30 * time.Second

type daemonsKey struct{}

// daemon is a command in the background.
type daemon struct {
	cmd *exec.Cmd

	mu    sync.Mutex
	more  chan struct{} // closed, and replaced, with every line
	lines []string
	ended bool
}

func start(ts *testscript.TestScript, neg bool, args []string) {
	begin(ts, neg, args)
	d := named(ts, args[0])
	if line := d.await(ts, regexp.MustCompile(`queue open|sink: listening`)); strings.HasPrefix(line, "sink: ") {
		ts.Setenv("SINK", line[strings.LastIndex(line, " ")+1:])
		return
	}
	const listening = `protocol"?[:=]"?%s"?[, ]"?address"?[:=]"?([^" ]+)` // in both formats of the log
	ts.Setenv("SMTP", d.find(ts, fmt.Sprintf(listening, "smtp")))
	ts.Setenv("METRICS", d.find(ts, fmt.Sprintf(listening, "http")))
}

func begin(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start|begin NAME command...")
	}
	r, w, err := os.Pipe()
	ts.Check(err)
	d := &daemon{cmd: exec.Command(args[1], args[2:]...), more: make(chan struct{})}
	d.cmd.Env = environment(ts)
	d.cmd.Dir = ts.MkAbs(".")
	d.cmd.Stdout, d.cmd.Stderr = w, w
	ts.Check(d.cmd.Start())
	ts.Check(w.Close())
	go d.read(r)
	daemons(ts)[args[0]] = d
	ts.Defer(func() {
		_ = d.cmd.Process.Kill() // it has ended where all is well
		_ = d.cmd.Wait()
	})
}

func daemons(ts *testscript.TestScript) map[string]*daemon {
	return ts.Value(daemonsKey{}).(map[string]*daemon)
}

func named(ts *testscript.TestScript, name string) *daemon {
	d := daemons(ts)[name]
	if d == nil {
		ts.Fatalf("nothing was started as %s", name)
	}
	return d
}

// environment is that of the script, which testscript gives to commands alone.
func environment(ts *testscript.TestScript) []string {
	ts.Check(ts.Exec("env"))
	return strings.Split(strings.TrimSpace(ts.ReadFile("stdout")), "\n")
}

func (d *daemon) read(r io.ReadCloser) {
	defer r.Close()
	for lines := bufio.NewScanner(r); lines.Scan(); {
		d.add(lines.Text(), false)
	}
	d.add("", true)
}

func (d *daemon) add(line string, ended bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended = ended; !ended {
		d.lines = append(d.lines, line)
	}
	close(d.more)
	d.more = make(chan struct{})
}

// await returns the first line that matches, and waits for it if need be.
func (d *daemon) await(ts *testscript.TestScript, pattern *regexp.Regexp) string {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for seen := 0; ; {
		d.mu.Lock()
		lines, ended, more := d.lines, d.ended, d.more
		d.mu.Unlock()
		for ; seen < len(lines); seen++ {
			if pattern.MatchString(lines[seen]) {
				return lines[seen]
			}
		}
		if ended || ctx.Err() != nil {
			ts.Fatalf("no line matches %q; there are:\n%s", pattern, strings.Join(lines, "\n"))
		}
		select {
		case <-more:
		case <-ctx.Done():
		}
	}
}

func (d *daemon) find(ts *testscript.TestScript, pattern string) string {
	expr := regexp.MustCompile(pattern)
	return expr.FindStringSubmatch(d.await(ts, expr))[1]
}

func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await NAME regexp")
	}
	named(ts, args[0]).await(ts, regexp.MustCompile(args[1]))
}

func finish(ts *testscript.TestScript, neg bool, args []string) {
	want := 0
	if len(args) == 2 {
		var err error
		want, err = strconv.Atoi(args[1])
		ts.Check(err)
	} else if neg || len(args) != 1 {
		ts.Fatalf("usage: finish NAME [N]")
	}
	d := named(ts, args[0])
	ts.Check(d.cmd.Process.Signal(syscall.SIGTERM))
	d.end(ts, args[0], want)
}

// ended waits until a command ends by itself.
func ended(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: ended NAME")
	}
	named(ts, args[0]).end(ts, args[0], 0)
}

// end waits for the end, which must be with a code.
func (d *daemon) end(ts *testscript.TestScript, name string, want int) {
	d.wait(ts)
	if got := d.cmd.ProcessState.ExitCode(); got != want {
		ts.Fatalf("%s: exit code %d, want %d:\n%s", name, got, want, strings.Join(d.lines, "\n"))
	}
	ts.Check(os.WriteFile(ts.MkAbs(name+".log"), []byte(strings.Join(d.lines, "\n")+"\n"), 0o600))
}

func sendSignal(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: signal NAME")
	}
	ts.Check(named(ts, args[0]).cmd.Process.Signal(syscall.SIGTERM))
}

func hangUp(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: hangup NAME")
	}
	ts.Check(named(ts, args[0]).cmd.Process.Signal(syscall.SIGHUP))
}

func crash(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: crash NAME")
	}
	d := named(ts, args[0])
	ts.Check(d.cmd.Process.Kill())
	d.wait(ts)
}

// wait returns when the command has ended and all its output was read.
func (d *daemon) wait(ts *testscript.TestScript) {
	timer := time.AfterFunc(patience, func() { _ = d.cmd.Process.Kill() })
	defer timer.Stop()
	if err := d.cmd.Wait(); err != nil {
		if _, ok := errors.AsType[*exec.ExitError](err); !ok {
			ts.Fatalf("%v", err)
		}
	}
	for {
		d.mu.Lock()
		ended, more := d.ended, d.more
		d.mu.Unlock()
		if ended {
			return
		}
		<-more
	}
}
