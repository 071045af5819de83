package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

func onTerminal(ts *testscript.TestScript, neg bool, args []string) {
	columns, err := strconv.ParseUint(args[0], 10, 16)
	if err != nil || len(args) < 2 {
		ts.Fatalf("usage: [!] onterminal COLUMNS command...")
	}
	runOnTerminal(ts, neg, uint16(columns), "", args[1:])
}

func answer(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: [!] answer TEXT command...")
	}
	runOnTerminal(ts, neg, 80, args[0]+"\n", args[1:])
}

// runOnTerminal runs a command on a terminal on which something was typed.
func runOnTerminal(ts *testscript.TestScript, neg bool, columns uint16, typed string, args []string) {
	near, far, err := openTerminal(columns)
	ts.Check(err)
	defer near.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = environment(ts)
	cmd.Stdout, cmd.Stderr = far, far
	if typed != "" {
		cmd.Stdin = far
		_, err := io.WriteString(near, typed)
		ts.Check(err)
	}
	ts.Check(cmd.Start())
	ts.Check(far.Close())
	text, err := io.ReadAll(near)
	if !errors.Is(err, syscall.EIO) { // what a terminal says when nobody is left
		ts.Check(err)
	}
	if err := cmd.Wait(); (err != nil) != neg {
		ts.Fatalf("%v:\n%s", err, text)
	}
	ts.Check(os.WriteFile(ts.MkAbs("terminal.out"), text, 0o600))
}

// openTerminal makes a pseudoterminal.
func openTerminal(columns uint16) (near, far *os.File, err error) {
	if near, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		return nil, nil, err
	}
	fd := int(near.Fd())
	if err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, err
	}
	if err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
		return nil, nil, err
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return nil, nil, err
	}
	far, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	return near, far, err
}
