package bench

import (
	"bufio"
	"bytes"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func receive(t *testing.T, ledger *Ledger) *Receiver {
	t.Helper()
	r, err := NewReceiver("127.0.0.1:0", ledger)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// The two ends fit together: what the client sends, the receiver counts,
// whatever its size, its kind and its recipients.
func TestLoadReachesReceiver(t *testing.T) {
	for name, load := range map[string]Load{
		"kept sessions":       {Messages: 100, Sessions: 7, Sizes: Mix[int]{{5000, 1}}},
		"a session each":      {Messages: 20, Sessions: 3, PerSession: 1, Sizes: Mix[int]{{5000, 1}}},
		"many recipients":     {Messages: 40, Sessions: 3, PerSession: 4, Recipients: Range{60, 70}, Sizes: Mix[int]{{1000, 1}}},
		"all kinds and sizes": {Messages: 96, Sessions: 4, Recipients: Range{1, 5}, Sizes: Mix[int]{{400, 3}, {5000, 2}, {200_000, 1}}, Bodies: Mix[Body]{{BodyText, 1}, {BodyDots, 1}, {BodyLong, 1}, {BodyEightBit, 1}}},
		"at a rate":           {Messages: 20, Sessions: 2, Rate: 500, Sizes: Mix[int]{{5000, 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			ledger := NewLedger(&load)
			load.Target = receive(t, ledger).Addr().String()
			if err := load.Run(t.Context(), ledger); err != nil {
				t.Fatal(err)
			}
			if err := ledger.Wait(t.Context(), time.Minute); err != nil {
				t.Fatal(err)
			}
			if got, want := ledger.Counts(), (Counts{Acknowledged: load.Messages, Arrived: load.Messages}); got != want {
				t.Errorf("counts %+v, want %+v", got, want)
			}
			for what, r := range map[string]Rate{"accepted": ledger.Accepted(), "arrived": ledger.ArrivedSince(time.Time{})} {
				if l := r.Latency; r.Messages != load.Messages || l.P50 <= 0 || l.P50 > l.P90 || l.P90 > l.P99 || l.P99 > l.Max || r.PerSecond <= 0 {
					t.Errorf("%s: %+v", what, r)
				}
			}
		})
	}
}

func TestContentHasItsSize(t *testing.T) {
	load := Load{Sizes: Mix[int]{{MinSize, 1}, {1000, 1}, {5120, 1}, {65536, 1}}, Bodies: Mix[Body]{{BodyText, 1}, {BodyDots, 1}, {BodyLong, 1}, {BodyEightBit, 1}}}
	c := newContents(&load, "0123abcd")
	for n := range 16 {
		want := load.shapeOf(n)
		m := c.message(n)
		wire, ended := strings.CutSuffix(string(m.head)+string(m.rest), ".\r\n")
		content := strings.ReplaceAll(wire, "\r\n..", "\r\n.")
		// A line end takes two octets, so one may be missing.
		if len(content) != want.size && len(content) != want.size-1 || !ended {
			t.Errorf("%v: size %d", want, len(content))
		}
		for line := range strings.SplitSeq(strings.TrimSuffix(wire, "\r\n"), "\r\n") {
			if len(line) > 999 || strings.ContainsAny(line, "\r\n") || strings.HasPrefix(line, ".") && !strings.HasPrefix(line, "..") {
				t.Errorf("%v: line %.100q", want, line)
			}
		}
	}
}

// Each value comes as often as it should, and not all at once.
func TestMix(t *testing.T) {
	m, err := ParseMix("text:10, dots:5,8bit", ParseBody)
	if err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		count := map[Body]int{}
		for n := range 16 {
			count[m.at(16*round+n)]++
		}
		if count[BodyText] != 10 || count[BodyDots] != 5 || count[BodyEightBit] != 1 {
			t.Errorf("round %d: %v", round, count)
		}
	}
	for _, bad := range []string{"", "html", "text:0", "text:-1", "text:x", "text:20000", "text,", "text:1:2"} {
		if m, err := ParseMix(bad, ParseBody); err == nil {
			t.Errorf("%q is taken as %v", bad, m)
		}
	}
}

func TestRange(t *testing.T) {
	var r Range
	if r.at(5) != 1 || r.String() != "1" {
		t.Errorf("the zero value is %v", r)
	}
	if err := r.Set("3-5"); err != nil || r.at(0) != 3 || r.at(2) != 5 || r.at(3) != 3 || r.String() != "3-5" {
		t.Errorf("%v: %v", r, err)
	}
	for _, bad := range []string{"", "0", "-1", "5-3", "1001", "x", "1-", "1-x"} {
		if err := r.Set(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// A relay that loses, doubles, damages or invents is found out.
func TestLedgerFindsFaults(t *testing.T) {
	load := Load{Messages: 5, Sessions: 1, Recipients: Range{2, 2}, Sizes: Mix[int]{{1000, 1}}}
	ledger := NewLedger(&load)
	ledger.begin()
	both := []int{0, 1}
	for n := range 4 {
		ledger.sending(n, time.Now())
		ledger.acknowledged(n)
	}
	ledger.arrived(ledger.run, 0, both, ledger.sum(0))     // as it should be
	ledger.arrived(ledger.run, 1, both[:1], ledger.sum(1)) // not for the other
	ledger.arrived(ledger.run, 2, both, ledger.sum(2)+1)   // damaged
	ledger.arrived(ledger.run, 0, both[1:], ledger.sum(0)) // again
	ledger.arrived("another", 0, both, ledger.sum(0))      // of another run
	ledger.arrived(ledger.run, 77, both[:1], 0)            // of no message
	ledger.arrived(ledger.run, 0, []int{7}, ledger.sum(0)) // for nobody
	want := Counts{Acknowledged: 4, Arrived: 2, Lost: 3, Doubled: 1, Damaged: 2, Strange: 4}
	if got := ledger.Counts(); got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
	if err := ledger.Wait(t.Context(), time.Millisecond); err != nil || ledger.Counts().Lost != 3 {
		t.Errorf("waited: %v", err)
	}
}

// One flipped bit below the number is damage, and a trace field above it is
// none.
func TestReceiverReadsContent(t *testing.T) {
	load := Load{Messages: 1, Sizes: Mix[int]{{5000, 1}}, Bodies: Mix[Body]{{BodyDots, 1}}}
	ledger := NewLedger(&load)
	m := newContents(&load, ledger.run).message(0)
	read := func(wire []byte) (string, int, uint32) {
		run, n, sum, err := readContent(bufio.NewReader(bytes.NewReader(wire)))
		if err != nil {
			t.Fatal(err)
		}
		return run, n, sum
	}
	wire := append(append([]byte("Received: from x\r\n\tby y\r\n"), m.head...), m.rest...)
	if run, n, sum := read(wire); run != ledger.run || n != 0 || sum != ledger.sum(0) {
		t.Errorf("run %q, message %d, checksum %x", run, n, sum)
	}
	wire[len(wire)-10] ^= 1
	if _, _, sum := read(wire); sum == ledger.sum(0) {
		t.Error("a flipped bit is not seen")
	}
	if _, n, _ := read([]byte("Subject: x\r\n\r\n" + tag + ledger.run + " 0\r\n.\r\n")); n != -1 {
		t.Error("a number is found in the body")
	}
}

func TestRefusalEndsTheLoad(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("554 no\r\n"))
			_ = conn.Close()
		}
	}()
	load := Load{Target: ln.Addr().String(), Messages: 10, Sessions: 2, Sizes: Mix[int]{{1000, 1}}}
	for _, want := range []string{"554 no", "refused"} {
		ledger := NewLedger(&load)
		if err := load.Run(t.Context(), ledger); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
		if r := ledger.Accepted(); r != (Rate{}) {
			t.Errorf("nothing was accepted: %+v", r)
		}
		_ = ln.Close() // the second time nobody listens
	}
}

// The time of a process counts, that of its children, and that of a child that
// has ended.
func TestUsage(t *testing.T) {
	busy := exec.Command("sh", "-c", `read go; sh -c 'i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done'; echo done; read wait`)
	in, err := busy.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := busy.StdoutPipe()
	if err == nil {
		err = busy.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	tree, err := Watch(busy.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write([]byte("go\n")); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "done\n" {
		t.Fatalf("the shell says %q: %v", line, err)
	}
	usage, err := tree.Stop()
	_ = in.Close()
	_ = busy.Wait() // its exit code says only that there was no more to read
	if err != nil {
		t.Fatal(err)
	}
	if usage.CPUSeconds <= 0 || usage.Processes < 1 || usage.PeakRSS < 100_000 || usage.PeakPSS <= 0 || usage.PeakPSS > usage.PeakRSS {
		t.Errorf("usage %+v", usage)
	}
	if _, err := Watch(1 << 30); err == nil {
		t.Error("a process that is not there is watched")
	}
	if parent, ticks, ok := parseStat([]byte("7 (a) b) S 3 1 1 0 -1 4 0 0 0 0 1 2 3 4 20 0 1 0 5 6 7")); parent != 3 || ticks != 10 || !ok {
		t.Errorf("parent %d, %d ticks, %v", parent, ticks, ok)
	}
	own, err := Watch(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := own.Stop(); err != nil {
		t.Error(err)
	}
}
