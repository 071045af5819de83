// Package terminal keeps what strangers wrote from steering the terminal of
// whoever reads it, and says what fits on that terminal.
//
// It refuses to change anything that does not go to a terminal: whoever writes
// into a file gets every octet. It draws nothing.
package terminal
