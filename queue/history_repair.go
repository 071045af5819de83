package queue

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// repairedHistory is a file of the history while it is written anew.
const repairedHistory = "repaired"

// repairHistory gives each file of the history that is damaged another name,
// and leaves one with its whole blocks, and with every other story that can be
// read, in its place. A file has its new name before its old one is gone, so
// that a repair that is cut off can be begun again.
func (r *repair) repairHistory() error {
	if r.noHistory {
		kept, err := r.asideHistory(historyName)
		if err == nil {
			err = errors.Join(os.RemoveAll(filepath.Join(r.dir, historyName)), syncDir(r.dir))
		}
		r.History = append(r.History, kept)
		return err
	}
	for _, e := range r.spoilt {
		if err := r.repairHistoryFile(e); err != nil {
			return fmt.Errorf("history file %s: %w", historyPath(e.number), err)
		}
	}
	return nil
}

func (r *repair) repairHistoryFile(e historyExtent) error {
	dir := filepath.Join(r.dir, historyName)
	name, temp := filepath.Join(r.dir, historyPath(e.number)), filepath.Join(dir, repairedHistory)
	reading, unreadable := r.historyFile(e)
	if unreadable != nil {
		reading = &historyReading{}
	}
	if err := removeFile(temp); err != nil { // of a repair that was cut off
		return err
	}
	if err := writeFile(temp, reading.writeRepaired); err != nil {
		return err
	}
	kept, err := r.asideHistory(historyPath(e.number))
	if err != nil {
		return err
	}
	r.History = append(r.History, kept)
	return errors.Join(ownedLike(r.dir, temp), os.Rename(temp, name), syncDir(dir))
}

// writeRepaired writes what can be read, in the order in which it stands.
func (r *historyReading) writeRepaired(w io.Writer) error {
	whole, faults := r.whole, r.faults
	for len(whole)+len(faults) > 0 {
		var b []byte
		if len(faults) == 0 || len(whole) > 0 && whole[0].offset < faults[0].from {
			b, whole = r.b[whole[0].offset:][:whole[0].size], whole[1:]
		} else {
			f := faults[0]
			if stories := salvageStories(r.b[f.from:f.to]); len(stories) > 0 {
				b, _ = encodeBlock(stories, f.before, f.after)
			}
			faults = faults[1:]
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

// asideHistory gives a file another name among what is set aside, and returns
// it.
func (r *repair) asideHistory(name string) (string, error) {
	return r.beside("history-"+filepath.Base(name), func(kept string) error { return keepAs(filepath.Join(r.dir, name), kept) })
}

// beside finds a name among what is set aside, and lets keep use it.
func (r *repair) beside(base string, keep func(kept string) error) (string, error) {
	dir := filepath.Join(r.dir, asideName)
	if err := errors.Join(os.MkdirAll(dir, 0o700), ownedLike(r.dir, dir)); err != nil {
		return "", err
	}
	for n := 1; ; n++ {
		kept := filepath.Join(asideName, fmt.Sprintf("%s.%d", base, n))
		err := keep(filepath.Join(r.dir, kept))
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		return kept, errors.Join(err, syncDir(dir), syncDir(r.dir))
	}
}

// keepAs gives a file another name beside its own, and a directory, which can
// have only one, another one instead.
func keepAs(name, kept string) error {
	info, err := os.Lstat(name)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return os.Link(name, kept)
	}
	if _, err := os.Lstat(kept); err == nil {
		return fs.ErrExist
	}
	return os.Rename(name, kept)
}
