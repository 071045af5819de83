package terminal

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What is over soon is not told of, and what lasts not more often than can be read;
// nothing of it stays, and what strangers wrote cannot steer the terminal.
func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		p := &Progress{w: &out, next: time.Now().Add(patience)}
		p.Show("soon")
		p.Done()
		if out.Len() > 0 {
			t.Errorf("told at once: %q", out.String())
		}
		time.Sleep(patience)
		p.Show("looked at %d of %s", 1, "two\x1b[2J")
		p.Show("too soon")
		time.Sleep(often)
		p.Show("all")
		p.Done()
		p.Done()
		if want := "\rlooked at 1 of two?[2J\x1b[K\rall\x1b[K\r\x1b[K"; out.String() != want {
			t.Errorf("%q, want %q", out.String(), want)
		}
		silent := NewProgress(&out)
		time.Sleep(patience)
		silent.Show("to a file")
		silent.Done()
		if strings.Contains(out.String(), "to a file") {
			t.Error("something that is no terminal is told")
		}
	})
}
