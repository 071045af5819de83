package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// Usage is what a process and all its descendants used in a stretch of time.
type Usage struct {
	// CPUSeconds is processor time, in user and system mode. Children that
	// ended count if their parent waited for them.
	CPUSeconds float64 `json:"cpu_seconds"`
	// PeakRSS and PeakPSS are the most memory that was resident at one moment,
	// in octets, with shared pages counted for each process, or divided among
	// those that have them. PeakPSS is 0 where the kernel does not tell.
	PeakRSS int64 `json:"peak_rss_octets"`
	PeakPSS int64 `json:"peak_pss_octets"`
	// Processes is the most there were.
	Processes int `json:"processes"`
}

// Tree watches a process and its descendants.
type Tree struct {
	root   int
	before time.Duration
	stop   chan struct{}
	ended  sync.WaitGroup
	peak   Usage
	err    error
}

// memoryInterval is how often a Tree looks at the memory. Each look costs
// the machine a little.
const memoryInterval = 250 * time.Millisecond

// Watch begins to watch a process.
func Watch(pid int) (*Tree, error) {
	t := &Tree{root: pid, stop: make(chan struct{})}
	_, before, err := t.processes()
	if err != nil {
		return nil, err
	}
	t.before = before
	t.ended.Go(t.sample)
	return t, nil
}

// Stop waits until the processes come to rest, five seconds at most, and
// returns what they used since Watch.
func (t *Tree) Stop() (Usage, error) {
	cpu, err := t.rest()
	close(t.stop)
	t.ended.Wait()
	t.peak.CPUSeconds = (cpu - t.before).Seconds()
	return t.peak, errors.Join(err, t.err)
}

// rest returns the processor time once it hardly grows any more: what a relay
// does after the last arrival is a part of the work.
func (t *Tree) rest() (time.Duration, error) {
	_, last, err := t.processes()
	for range 20 {
		if err != nil {
			break
		}
		time.Sleep(memoryInterval)
		var now time.Duration
		_, now, err = t.processes()
		if now-last <= clockTick {
			return now, err
		}
		last = now
	}
	return last, err
}

func (t *Tree) sample() {
	ticker := time.NewTicker(memoryInterval)
	defer ticker.Stop()
	for {
		pids, _, err := t.processes()
		if err != nil {
			t.err = err
			return
		}
		rss, pss := memory(pids)
		t.peak.PeakRSS, t.peak.PeakPSS = max(t.peak.PeakRSS, rss), max(t.peak.PeakPSS, pss)
		t.peak.Processes = max(t.peak.Processes, len(pids))
		select {
		case <-ticker.C:
		case <-t.stop:
			return
		}
	}
}

// clockTick is the unit of processor times in /proc, on every Linux.
const clockTick = 10 * time.Millisecond

// processes returns the process and its descendants, and the processor time
// that they and their dead used so far.
func (t *Tree) processes() (pids []int, cpu time.Duration, err error) {
	names, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, 0, err
	}
	children := map[int][]int{}
	used := map[int]time.Duration{}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if parent, ticks, ok := parseStat(text); ok {
			children[parent] = append(children[parent], pid)
			used[pid] = time.Duration(ticks) * clockTick
		}
	}
	if _, ok := used[t.root]; !ok {
		return nil, 0, fmt.Errorf("there is no process %d", t.root)
	}
	pids = []int{t.root}
	for i := 0; i < len(pids); i++ {
		cpu += used[pids[i]]
		pids = append(pids, children[pids[i]]...)
	}
	return pids, cpu, nil
}

// parseStat reads the parent of a process, and the processor time of it and
// of the children it has waited for (proc_pid_stat(5)).
func parseStat(text []byte) (parent int, ticks int64, ok bool) {
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:]) // behind the name, which may have blanks
	if len(fields) < 15 {
		return 0, 0, false
	}
	parent, err := strconv.Atoi(string(fields[1]))
	for _, field := range fields[11:15] { // utime stime cutime cstime
		n, e := strconv.ParseInt(string(field), 10, 64)
		err = errors.Join(err, e)
		ticks += n
	}
	return parent, ticks, err == nil
}

// memory sums the memory of processes. Those that have ended have none.
func memory(pids []int) (rss, pss int64) {
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil { // another user's process, perhaps: what everybody may know
			text, _ = os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			rss += kilobytes(text, "VmRSS:")
			continue
		}
		rss += kilobytes(text, "Rss:")
		pss += kilobytes(text, "Pss:")
	}
	return rss, pss
}

// kilobytes reads a figure, in octets.
func kilobytes(text []byte, name string) int64 {
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte(name)); ok {
			n, _ := strconv.ParseInt(string(bytes.Fields(rest)[0]), 10, 64)
			return n << 10
		}
	}
	return 0
}
