package terminal

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Is reports whether w is a terminal.
func Is(w io.Writer) bool {
	_, ok := size(w)
	return ok
}

// Width returns how many columns w has, or 0 when it is no terminal or does
// not say.
func Width(w io.Writer) int {
	n, _ := size(w)
	return n
}

func size(w io.Writer) (columns int, ok bool) {
	f, ok := w.(*os.File)
	if !ok {
		return 0, false
	}
	s, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, false
	}
	return int(s.Col), true
}
