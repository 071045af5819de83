package terminal

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Is reports whether w is a terminal.
func Is(w io.Writer) bool {
	_, _, ok := size(w)
	return ok
}

// Width returns how many columns w has, or 0 when it is no terminal or does
// not say.
func Width(w io.Writer) int {
	n, _, _ := size(w)
	return n
}

// Size returns how many columns and rows w has; both are 0 when it is no terminal
// or does not say.
func Size(w io.Writer) (columns, rows int) {
	columns, rows, _ = size(w)
	return columns, rows
}

func size(w io.Writer) (columns, rows int, ok bool) {
	f, ok := w.(*os.File)
	if !ok {
		return 0, 0, false
	}
	s, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, 0, false
	}
	return int(s.Col), int(s.Row), true
}
