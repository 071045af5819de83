package queue

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// guard runs what reads or writes the index. bbolt panics where a page makes
// no sense to it, and reading a page that the disk cannot give, or that the
// file has no more, is a fault of memory. Both become an error here. What is
// wrong with our own code stays a panic.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if !isFault(p) && !inBolt() {
			panic(p)
		}
		err = fmt.Errorf("%w: %v", errPage, p)
	}()
	return f()
}

// errPage means that bbolt could not go on in the middle of something: its file
// may be used no more, not even to close it.
var errPage = fmt.Errorf("a page of the index is %w", ErrDamaged)

// isFault tells a fault of memory from other panics, such as the use of a nil
// pointer.
func isFault(p any) bool {
	_, ok := p.(interface{ Addr() uintptr })
	return ok
}

// inBolt reports whether the panic that was just recovered from came from
// bbolt, or from what it called: its frames come before any of ours.
func inBolt() bool {
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])]) // without Callers, inBolt and guard's function
	for {
		frame, more := frames.Next()
		switch {
		case strings.HasPrefix(frame.Function, "go.etcd.io/bbolt"):
			return true
		case strings.HasPrefix(frame.Function, "waypost/"), !more:
			return false
		}
	}
}
