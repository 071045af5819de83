package queue

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// asideName is the directory of what a repair could not keep in the queue.
const asideName = "damaged"

// aside writes what is damaged to a file of its own, one after the other:
//
//	a line of JSON (asideHead), then as many octets as it says, then a newline
//
// The file is made when the first comes.
type aside struct {
	dir  string
	file *os.File
	w    *bufio.Writer
	err  error
}

// asideHead says what the octets behind it are.
type asideHead struct {
	ID     string `json:"id,omitempty"`
	File   string `json:"file,omitempty"`
	Bucket string `json:"bucket,omitempty"`
	Key    string `json:"key,omitempty"` // in hexadecimal
	Reason string `json:"reason"`
	Length int    `json:"length"`
}

func (a *aside) put(d Damage, raw []byte) {
	if raw == nil {
		return // the old index has it, or nobody
	}
	head := asideHead{File: d.File, Reason: d.Reason}
	if d.ID != 0 {
		head.ID = d.ID.String()
	}
	a.record(head, raw)
}

// record adds one; an error is told at the end.
func (a *aside) record(head asideHead, raw []byte) {
	if a.err != nil {
		return
	}
	if a.file == nil {
		if a.err = a.create(); a.err != nil {
			return
		}
	}
	head.Length = len(raw)
	line, err := json.Marshal(head)
	a.err = err
	for _, b := range [][]byte{line, {'\n'}, raw, {'\n'}} {
		_, err := a.w.Write(b)
		a.err = errors.Join(a.err, err)
	}
}

func (a *aside) create() error {
	dir := filepath.Join(a.dir, asideName)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	stamp := time.Now().UTC().Format("20060102T150405Z")
	for n := 0; ; n++ {
		f, err := os.OpenFile(filepath.Join(dir, fmt.Sprintf("%s-%d.records", stamp, n)), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		a.file, a.w = f, bufio.NewWriter(f)
		return errors.Join(ownedLike(a.dir, dir), ownedLike(a.dir, f.Name()))
	}
}

// content gives the content file of a message another name beside the first.
func (a *aside) content(id ID) error {
	dir := filepath.Join(a.dir, asideName)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	err := os.Link(filepath.Join(a.dir, contentPath(id)), filepath.Join(dir, id.String()+".content"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
		return nil // it has none, or a repair that was cut off came this far
	}
	return err
}

// finish makes everything durable. It returns the file's name.
func (a *aside) finish() (name string, err error) {
	if a.err != nil {
		return "", fmt.Errorf("set aside what is damaged: %w", a.err)
	}
	if a.file != nil {
		name = filepath.Join(asideName, filepath.Base(a.file.Name()))
		if err := errors.Join(a.w.Flush(), a.file.Sync()); err != nil {
			return "", fmt.Errorf("set aside what is damaged: %w", err)
		}
	}
	dir := filepath.Join(a.dir, asideName)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return name, errors.Join(syncDir(dir), syncDir(a.dir))
}

func (a *aside) close() {
	if a.file != nil {
		a.file.Close()
	}
}
