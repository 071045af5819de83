package configs

import (
	"bytes"
	_ "embed" // for the reference
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Reference is the annotated reference file: every key with its meaning, unit
// and default, those that have one commented out. Read it only.
//
//go:embed waypost.toml
var Reference []byte

// Load reads the configuration file at path, then the environment ("NAME=value"
// lines, as of os.Environ), over the defaults. With the path "" the file is the
// one that WAYPOST_CONFIG names, and without that there is none.
//
// The error is [Problems] when the configuration cannot be used, and any other
// when the file cannot be read; either way there is no configuration.
func Load(path string, environ []string) (*Config, error) {
	return load(path, environ, disk{})
}

// Examine reads as [Load] does. Beside [Problems] it returns the configuration as
// far as it could be read, for whoever looks at the rest of it all the same:
// nothing may be served by it. It is nil when the file cannot be read.
func Examine(path string, environ []string) (*Config, error) {
	d, err := read(path, environ, disk{})
	if err != nil {
		return nil, err
	}
	return d.finish(disk{})
}

// LoadUnchecked reads as [Load] does, but judges nothing beyond what can be
// read: it is for commands that make the files which the configuration names.
func LoadUnchecked(path string, environ []string) (*Config, error) {
	d, err := read(path, environ, disk{})
	if err != nil {
		return nil, err
	}
	if len(d.problems) > 0 {
		return nil, Problems(InOrder(d.problems))
	}
	d.config.fill()
	return &d.config, nil
}

func load(path string, environ []string, fs files) (*Config, error) {
	d, err := read(path, environ, fs)
	if err != nil {
		return nil, err
	}
	c, err := d.finish(fs)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func read(path string, environ []string, fs files) (*draft, error) {
	env := newEnvironment(environ)
	if path == "" {
		path = env[fileVariable]
	}
	d := newDraft(defaults(env))
	if path != "" {
		text, err := fs.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read the configuration: %w", err)
		}
		// Some editors put a byte order mark before UTF-8.
		if !d.read(path, bytes.TrimPrefix(text, []byte("\ufeff"))) {
			return nil, Problems(d.problems)
		}
	}
	d.readEnvironment(env)
	return d, nil
}

// Validate checks a configuration that a program put together by itself, and
// sets its Warnings. The error is nil or [Problems], which have no places.
func (c *Config) Validate() error {
	v := validation{config: c, files: disk{}}
	v.all()
	c.Warnings = InOrder(v.warnings)
	if len(v.problems) > 0 {
		return Problems(InOrder(v.problems))
	}
	return nil
}

// files is what loading needs of the file system.
type files interface {
	ReadFile(name string) ([]byte, error)
	Stat(name string) (fs.FileInfo, error)
}

// disk is the real file system.
type disk struct{}

// maxFile bounds what is read of a file; no configuration, key or list of
// authorities comes near it, and a device has no end.
const maxFile = 16 << 20

// ReadFile reads a file, or a pipe to its end.
func (disk) ReadFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s has more than %d MB", name, maxFile>>20)
	}
	return text, err
}

func (disk) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }
