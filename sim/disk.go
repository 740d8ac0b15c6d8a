package sim

import (
	"os"

	"baton/platform/vfs"
)

// lyingDisk says that writes are durable and leaves them in its cache: what P1 relies on is taken away, to show that the
// checkers would see it.
type lyingDisk struct{ vfs.FS }

func (d lyingDisk) OpenFile(name string, flag int, perm os.FileMode) (vfs.File, error) {
	f, err := d.FS.OpenFile(name, flag&^vfs.O_DSYNC, perm)
	if err != nil {
		return nil, err
	}
	return lyingFile{f}, nil
}

type lyingFile struct{ vfs.File }

func (lyingFile) Sync() error { return nil }
