// Package drop is the directory in which mail of this host waits while no
// waypost runs: the sendmail command leaves it there, and the daemon takes it
// into the queue.
//
// A message is one file, written under another name, synced, and renamed when
// it is whole. Its first line is the envelope as a JSON object, and what
// follows is the content with CRLF line ends. A crash of the daemon between the
// commit and the removal of the file can make a second copy of the message; it
// never makes none.
//
// Other users write into the directory, so nothing in it is trusted: a file
// is taken only if it is a plain one with a single name, and what is no message is
// set aside. Of what is refused for good, whoever takes messages tells the sender.
package drop

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// suffix ends the name of a whole message.
	suffix = ".mail"
	// maxEnvelope is how long the first line can be.
	maxEnvelope = 4 << 20
	// format is the version of the envelope.
	format = 1
)

// Envelope is what a message in the directory says of itself.
type Envelope struct {
	// Format is set by Write.
	Format int `json:"format"`
	// From is the reverse-path without its angle brackets; empty is the null
	// one.
	From string `json:"from"`
	// To are the forward-paths, at least one.
	To []string `json:"to"`
	// Notify is NOTIFY for all of them, as in "SUCCESS,FAILURE"; empty when it
	// was not asked for (RFC 3461 §4.1).
	Notify string `json:"notify,omitempty"`
	// Return is RET, "FULL" or "HDRS", or empty (RFC 3461 §4.3).
	Return string `json:"ret,omitempty"`
	// ID is ENVID, not encoded, or empty (RFC 3461 §4.4).
	ID string `json:"envid,omitempty"`
	// UTF8 says that SMTPUTF8 is needed (RFC 6531).
	UTF8 bool `json:"smtputf8,omitempty"`
}

// Write puts a message into dir. When it returns nil the message is on disk.
func Write(dir string, e Envelope, content io.Reader) error {
	e.Format = format
	head, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("drop message: %w", err)
	}
	name := filepath.Join(dir, fmt.Sprintf("%d-%s", time.Now().UnixNano(), rand.Text()))
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("drop message: %w", err)
	}
	if err := fill(f, head, content); err != nil {
		return errors.Join(fmt.Errorf("drop message: %w", err), f.Close(), os.Remove(name))
	}
	if err := os.Rename(name, name+suffix); err != nil {
		return errors.Join(fmt.Errorf("drop message: %w", err), f.Close(), os.Remove(name))
	}
	// The directory may be closed to us for reading, and so for a sync of its
	// own; that of the whole file system has the new name in it.
	return errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
}

func fill(f *os.File, head []byte, content io.Reader) error {
	w := bufio.NewWriter(f)
	if _, err := w.Write(append(head, '\n')); err != nil {
		return err
	}
	if _, err := io.Copy(w, content); err != nil {
		return err
	}
	return errors.Join(w.Flush(), f.Sync())
}

// readEnvelope reads the first line, and returns where the content begins.
func readEnvelope(r *bufio.Reader) (e Envelope, begin int64, err error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) || len(line) > maxEnvelope {
			return e, 0, fmt.Errorf("%w: its first line does not end", ErrBad)
		}
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return e, 0, fmt.Errorf("%w: its first line is no envelope: %w", ErrBad, err)
	}
	switch {
	case e.Format != format:
		return e, 0, fmt.Errorf("%w: format %d, this program reads %d", ErrBad, e.Format, format)
	case len(e.To) == 0:
		return e, 0, fmt.Errorf("%w: it has no recipients", ErrBad)
	}
	return e, int64(len(line)), nil
}
