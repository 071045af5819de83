//go:build interop

package main_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// plantedBug is a fault of the kind that loses mail, or sends it twice, or tells
// its sender what is not so, and the test that has to find it.
type plantedBug struct {
	name     string
	file     string // below the root of the module
	old, new string
	run      string // of go test, in the package of the file
	says     string // a part of what the failing test prints
}

var plantedBugs = []plantedBug{
	{"acknowledged before the sync", "queue/journal.go", "err := j.disk.syncData(j.file); err", "err := error(nil); err",
		"TestPowerGoesAtEachSync", "power_test.go"},
	{"a failed sync is tried again", "queue/journal.go", "err := j.disk.syncData(j.file); err", "err := j.disk.syncData(j.file); err != nil && j.disk.syncData(j.file)",
		"TestPowerGoesAtEachSync", "was synced again after that had failed"},
	{"the name of a content is not synced", "queue/content.go", ", d.queue.opts.disk.syncDir(d.queue.contentDir())", "",
		"TestPowerGoesAtEachSync", "its file is missing"},
	{"a content is not synced", "queue/content.go", "d.queue.opts.disk.sync(d.file), ", "",
		"TestPowerGoesAtEachSync", "the content of"},
	{"a failure is final without its report", "queue/settle.go", "if err := p.put(b); err != nil {", "if err := error(nil); err != nil || p == nil {",
		"TestPowerGoesAtEachSync", "and is reported on: false"},
	{"the checksum of the journal is not looked at", "queue/journal.go", " || binary.BigEndian.Uint32(b[16:]) != recordChecksum(b[:recordHead+n])", "",
		"TestTornTail", "open journal"},
	{"damage in the journal passes for a torn tail", "queue/journal.go", "case records.later(b) >= 0:", "case false:",
		"TestDamagedJournalIsRefused", "a_flipped_bit"},
	{"a journal that was cut passes for whole", "queue/journal.go", "return false, v.short(number, int64(len(whole)-len(b)), int64(len(whole)))", "return false, nil",
		"TestTruncatedJournal/segment_3", "opened"},
	{"the checksum of a content is not looked at", "queue/content.go", "err == io.EOF && f.sum.Sum32() != f.message.sum", "err == io.EOF && false",
		"TestDamagedContentFile", "--- FAIL"},
	{"a checkpoint does not say how far it came", "queue/checkpoint.go", "return putApplied(tx, segment)", "return nil",
		"TestEveryTornWrite", "--- FAIL"},
	{"what became of a recipient is forgotten", "queue/settle.go", "b.put(key, s.record)\n", "\n",
		"TestCrashInEachState/S5", "left:"},
	{"a total is not in the commit", "queue/settle.go", "b.count(s.message.Class, change.minus(", "b.count(s.message.Class, tally{}.minus(",
		"TestTotalsAreExact", "counted anew"},
	{"who was removed is reported on", "queue/settle.go", "if recordSum(record) != s.before.sum {", "if false {",
		"TestChangesDuringAnAttempt", "--- FAIL: TestChangesDuringAnAttempt/remove_one,_failed"},
	{"a null reverse-path is answered", "queue/settle.go", "if s.message.ReversePath.IsNull() {", "if false {",
		"TestFailureIsReportedToTheSender", "null_sender"},
	{"a dead destination costs a probe for each message", "queue/standing.go", "d.probing = true", "d.probing = false",
		"TestOneProbeAtATime", "at once"},
	{"a one-time password waits for the newsletters before it", "queue/lane.go", "if d.waits || d.called || ", "if ",
		"TestPassGoesToHigherClass", "served, in order"},
	{"old hints pile up", "queue/superseded.go", "return known && holds != holding{f, it}", "return known && false && holds != holding{f, it}",
		"TestOneHintForEachDelivery", "hints, want"},
	{"what left twice is back", "queue/overlay.go", "back := before != nil && (before.gone || before.back)", "back := before == nil && before != nil",
		"TestMessageComesBack", "there is"},
	{"two pages of buckets pass for damage", "queue/tree.go", "err != nil || p.kind != pageLeaf && p.kind != pageBranch", "err != nil || p.kind != pageLeaf",
		"TestManySmallBuckets", "does not list the buckets"},
	{"4yz passes for delivered", "relay/outbound/send.go", "case reply.Positive():", "case reply.Positive() || !reply.Permanent():",
		"TestEachRecipientHasItsReply", "--- FAIL"},
	{"a content that breaks off is whole", "relay/smtpserver/content.go", "return io.ErrUnexpectedEOF", "return io.EOF",
		"FuzzDotReader", "has no end"},
	{"a fault of ours is the client's", "relay/inbound/session.go", "metrics.RefusedStorage, 451, gosmtp.EnhancedCode{4, 3, 0}", "metrics.RefusedStorage, 554, gosmtp.EnhancedCode{5, 3, 0}",
		"TestFaultOfOurs", "554"},
}

// TestPlantedBugs plants such faults, one at a time, in a copy that only the
// compiler sees, and wants each of them found: tests that find nothing may be
// tests that cannot. It prints which test found which.
func TestPlantedBugs(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, bug := range plantedBugs {
		t.Run(bug.name, func(t *testing.T) {
			t.Parallel() // most of the time is for the compiler and the linker
			begun := time.Now()
			cmd := exec.CommandContext(t.Context(), "go", "test", "-vet=off", "-count=1", "-timeout", "5m",
				"-overlay", bug.plant(t, root), "-run", "^"+strings.ReplaceAll(bug.run, "/", "$/^"), "./"+filepath.Dir(bug.file))
			cmd.Dir = root
			out, err := cmd.CombinedOutput()
			switch {
			case err == nil:
				t.Fatalf("%s does not find it:\n%.1000s", bug.run, out)
			case !strings.Contains(string(out), "--- FAIL: ") || !strings.Contains(string(out), bug.says):
				t.Fatalf("%s fails for another reason:\n%.3000s", bug.run, out)
			}
			t.Logf("found by %s in %s", bug.run, time.Since(begun).Round(time.Millisecond))
		})
	}
}

// plant writes the file with the fault, and the overlay that has it take the
// place of the other, and returns the overlay's name.
func (bug plantedBug) plant(t *testing.T, root string) string {
	t.Helper()
	original := filepath.Join(root, bug.file)
	text, err := os.ReadFile(original)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), bug.old); n != 1 {
		t.Fatalf("%s has %q %d times, want once: find the place anew", bug.file, bug.old, n)
	}
	dir := t.TempDir()
	planted, overlay := filepath.Join(dir, "planted.go"), filepath.Join(dir, "overlay.json")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {original: planted}})
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{planted: []byte(strings.Replace(string(text), bug.old, bug.new, 1)), overlay: list} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return overlay
}
