package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"waypost/relay/relaytest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"waypost": main, "sendmail": main, "mailq": main, "newaliases": main})
}

// TestScripts runs the archives in testdata/script. Besides testscript's own
// commands they have:
//
//	code N command…          run a command, which must exit with N
//	start NAME command…      run a command in the background until it listens;
//	                         sets $SMTP, $METRICS or $SINK
//	begin NAME command…      run a command in the background
//	ended NAME               wait until it ends by itself, with 0
//	await NAME regexp        wait until the command has printed such a line
//	finish NAME [N]          send SIGTERM; it must exit with N (default 0), and
//	                         what it printed is then in the file NAME.log
//	signal NAME              send SIGTERM and go on
//	hangup NAME              send SIGHUP
//	crash NAME               kill it, without a chance to clean up
//	send FROM TO… FILE       submit the file to $SMTP; sets $ID
//	freeport NAME            set $NAME to an address on loopback where nobody listens
//	certificate [TIME] NAME...
//	                         write tls.crt and tls.key for these names, and ca.crt
//	                         with the authority; -1h is one that ended an hour ago
//	dangle                   begin a message on $SMTP, and leave it there
//	onterminal COLUMNS command…  run a command on a terminal so wide; what it
//	                         prints is then in the file terminal.out
//	answer TEXT command…     the same, with the text typed on the terminal
//	evilhop                  start a next hop whose replies could steer a terminal;
//	                         sets $HOP
//	evilsend                 send $SMTP a message that could; sets $ID
//	harmless FILE...         the files have nothing that could
//	documented COMMAND FILE  the file has JSON as JSON.md says of the command
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			for name, value := range map[string]string{
				"HOME":                       env.WorkDir,
				"TZ":                         "UTC",
				"GORACE":                     "atexit_sleep_ms=10",
				"WAYPOST_HOSTNAME":           "relay.example",
				"WAYPOST_DATA_DIR":           env.WorkDir + "/data",
				"WAYPOST_LISTENER_0_ADDRESS": "127.0.0.1:0",
				"WAYPOST_METRICS_ADDRESS":    "127.0.0.1:0",
				"WAYPOST_QUEUE_MIN_FREE":     "1MB",
				"WAYPOST_QUEUE_EPHEMERAL":    "true",
			} {
				env.Setenv(name, value)
			}
			env.Values[daemonsKey{}] = map[string]*daemon{}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": code, "documented": documented(t), "evilhop": evilHop(t), "evilsend": evilSend, "harmless": harmless, "onterminal": onTerminal, "answer": answer, "send": send, "dangle": dangle, "freeport": freePort, "certificate": certificate(t),
			"start": start, "begin": begin, "ended": ended, "await": await, "signal": sendSignal, "hangup": hangUp, "finish": finish, "crash": crash,
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// freePort is for what is told on which port to listen. Nothing else here uses
// that address, so that nothing comes between.
func freePort(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: freeport NAME")
	}
	ln, err := net.Listen("tcp", "127.0.0.9:0")
	ts.Check(err)
	ts.Setenv(args[0], ln.Addr().String())
	ts.Check(ln.Close())
}

// certificate makes certificates, each with an authority of its own.
func certificate(t *testing.T) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		left := 24 * 365 * time.Hour
		if len(args) > 0 {
			if d, err := time.ParseDuration(args[0]); err == nil {
				left, args = d, args[1:]
			}
		}
		if neg || len(args) == 0 {
			ts.Fatalf("usage: certificate [TIME] NAME...")
		}
		ca := relaytest.NewCA(t)
		leaf := ca.LeafUntil(time.Now().Add(left), args...)
		key, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
		ts.Check(err)
		for name, block := range map[string]pem.Block{
			"ca.crt":  {Type: "CERTIFICATE", Bytes: ca.Authority().Certificate[0]},
			"tls.crt": {Type: "CERTIFICATE", Bytes: leaf.Certificate[0]},
			"tls.key": {Type: "PRIVATE KEY", Bytes: key},
		} {
			ts.Check(os.WriteFile(ts.MkAbs(name), pem.EncodeToMemory(&block), 0o600))
		}
	}
}

func code(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	if neg || err != nil || len(args) < 2 {
		ts.Fatalf("usage: code N command...")
	}
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}
