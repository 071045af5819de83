package auth

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Reasons why a users file is not changed.
var (
	// ErrExists means that there is a user of that name already.
	ErrExists = errors.New("there is a user of that name already")
	// ErrUnknownUser means that there is none.
	ErrUnknownUser = errors.New("there is no user of that name")
)

// Set gives a user a hash in the text of a users file: a new user when add is
// set, else one that exists. Everything else, comments included, stays.
func Set(text, name, hash string, add bool) (string, error) {
	lines := strings.SplitAfter(text, "\n")
	line := name + ":" + hash + "\n"
	for i, l := range lines {
		if other, _, ok := splitLine(l); ok && other == name {
			if add {
				return "", fmt.Errorf("%w: %q", ErrExists, name)
			}
			lines[i] = line
			return strings.Join(lines, ""), nil
		}
	}
	if !add {
		return "", fmt.Errorf("%w: %q", ErrUnknownUser, name)
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text + line, nil
}

// Remove takes a user out of the text of a users file.
func Remove(text, name string) (string, error) {
	lines := strings.SplitAfter(text, "\n")
	for i, l := range lines {
		if other, _, ok := splitLine(l); ok && other == name {
			return strings.Join(append(lines[:i:i], lines[i+1:]...), ""), nil
		}
	}
	return "", fmt.Errorf("%w: %q", ErrUnknownUser, name)
}

// Edit changes a users file in one step, so that whoever reads it sees the old
// text or the new one: change gets the text and returns the new one, which must
// be a users file. A file that does not exist is empty when create is set. The
// new file can be read by its owner alone; group and owner stay where they can.
func Edit(name string, create bool, change func(text string) (string, error)) error {
	// What is replaced is the file, and not a link that leads to it.
	real, err := filepath.EvalSymlinks(name)
	if errors.Is(err, fs.ErrNotExist) && create {
		real, err = name, nil
	}
	if err != nil {
		return fmt.Errorf("change the users: %w", err)
	}
	unlock, err := lock(real)
	if err != nil {
		return fmt.Errorf("change the users: %w", err)
	}
	defer unlock()
	old, err := os.ReadFile(real)
	if err != nil && !(create && errors.Is(err, fs.ErrNotExist)) {
		return fmt.Errorf("change the users: %w", err)
	}
	if _, err := Parse(old); err != nil {
		return fmt.Errorf("change the users: %s:%w", name, err)
	}
	text, err := change(string(old))
	if err != nil {
		return err
	}
	if _, err := Parse([]byte(text)); err != nil {
		return fmt.Errorf("change the users: the new text is wrong: %s:%w", name, err)
	}
	if err := replace(real, []byte(text)); err != nil {
		return fmt.Errorf("change the users: %w", err)
	}
	return nil
}
