//go:build interop

package queue

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What root does to a stopped queue leaves nothing that its owner cannot open.
func TestOwnerIsKept(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("giving files away takes root")
	}
	const owner = 65534
	for what, do := range map[string]func(dir string) error{
		"verify": func(dir string) error {
			_, err := VerifyDir(t.Context(), dir, func(Damage) {})
			return err
		},
		"compact": func(dir string) error {
			_, err := CompactDir(dir)
			return err
		},
		"repair": func(dir string) error {
			err := os.Truncate(filepath.Join(dir, contentName, oldIDs[oldLarge]), 1000)
			_, repair := RepairDir(t.Context(), dir, func(Damage) {})
			return errors.Join(err, repair)
		},
	} {
		t.Run(what, func(t *testing.T) {
			dir := testQueue(t, "format3")
			walk := func(f func(name string) error) {
				err := filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error { return errors.Join(err, f(name)) })
				if err != nil {
					t.Fatal(err)
				}
			}
			walk(func(name string) error { return os.Lchown(name, owner, owner) })
			if err := do(dir); err != nil {
				t.Fatal(err)
			}
			walk(func(name string) error {
				info, err := os.Lstat(name)
				if err == nil && info.Sys().(*syscall.Stat_t).Uid != owner {
					t.Errorf("%s belongs to another", name)
				}
				return err
			})
		})
	}
}
