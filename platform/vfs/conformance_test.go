package vfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"testing"
)

// TestConformance holds every file system to the same behaviour.
func TestConformance(t *testing.T) {
	systems := map[string]func(t *testing.T) (FS, string){
		"os":    func(t *testing.T) (FS, string) { return OS(), t.TempDir() },
		"mem":   func(t *testing.T) (FS, string) { return NewMem(), "/" },
		"fault": func(t *testing.T) (FS, string) { return NewFault(NewMem(), func(Op) error { return nil }), "/" },
	}
	cases := map[string]func(t *testing.T, fsys FS, dir string){
		"read_and_write_at_offsets":    conformReadWrite,
		"open_flags":                   conformFlags,
		"truncate_cuts_and_zero_fills": conformTruncate,
		"names":                        conformNames,
		"rename_replaces":              conformRename,
		"second_lock_is_refused":       conformLock,
		"helpers":                      conformHelpers,
	}
	for sysName, open := range systems {
		for caseName, run := range cases {
			t.Run(sysName+"/"+caseName, func(t *testing.T) {
				fsys, dir := open(t)
				run(t, fsys, dir)
			})
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

func create(t *testing.T, fsys FS, name string, flag int) File {
	t.Helper()
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|flag, 0o644)
	must(t, err)
	return f
}

func conformReadWrite(t *testing.T, fsys FS, dir string) {
	for _, flag := range []int{0, O_DSYNC} {
		f := create(t, fsys, path.Join(dir, "a"), flag|os.O_TRUNC)
		_, err := f.WriteAt([]byte("world"), 9000)
		must(t, err)
		_, err = f.WriteAt([]byte("hello"), 0)
		must(t, err)
		must(t, f.Sync())
		size, err := f.Size()
		must(t, err)
		if size != 9005 {
			t.Fatalf("size %d, want 9005", size)
		}
		want := append([]byte("hello"), make([]byte, 8995)...)
		want = append(want, "world"...)
		got := make([]byte, 9005)
		_, err = f.ReadAt(got, 0)
		must(t, err)
		if !bytes.Equal(got, want) {
			t.Fatal("content differs")
		}
		n, err := f.ReadAt(got, 9000)
		if n != 5 || err != io.EOF {
			t.Fatalf("read at the end: %d, %v; want 5, EOF", n, err)
		}
		if n, err := f.ReadAt(got[:1], 20000); n != 0 || err != io.EOF {
			t.Fatalf("read beyond the end: %d, %v; want 0, EOF", n, err)
		}
		must(t, f.Close())
		if _, err := f.ReadAt(got, 0); !errors.Is(err, fs.ErrClosed) {
			t.Fatalf("read after close: %v", err)
		}
	}
}

func conformFlags(t *testing.T, fsys FS, dir string) {
	name := path.Join(dir, "a")
	_, err := fsys.OpenFile(name, os.O_RDWR, 0)
	wantErr(t, err, fs.ErrNotExist)
	f := create(t, fsys, name, os.O_EXCL)
	_, err = f.WriteAt([]byte("abc"), 0)
	must(t, err)
	must(t, f.Close())
	_, err = fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	wantErr(t, err, fs.ErrExist)
	ro, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	must(t, err)
	if _, err := ro.WriteAt([]byte("x"), 0); err == nil {
		t.Fatal("a file opened for reading was written")
	}
	must(t, ro.Close())
	f = create(t, fsys, name, os.O_TRUNC)
	if size, _ := f.Size(); size != 0 {
		t.Fatalf("size %d after O_TRUNC", size)
	}
	must(t, f.Close())
}

func conformTruncate(t *testing.T, fsys FS, dir string) {
	f := create(t, fsys, path.Join(dir, "a"), 0)
	data := bytes.Repeat([]byte{7}, 10000)
	_, err := f.WriteAt(data, 0)
	must(t, err)
	must(t, f.Truncate(5000))
	must(t, f.Truncate(10000))
	got := make([]byte, 10000)
	_, err = f.ReadAt(got, 0)
	must(t, err)
	if !bytes.Equal(got[:5000], data[:5000]) || !bytes.Equal(got[5000:], make([]byte, 5000)) {
		t.Fatal("what was cut off came back")
	}
	must(t, f.Close())
}

func conformNames(t *testing.T, fsys FS, dir string) {
	must(t, fsys.MkdirAll(path.Join(dir, "d/e"), 0o755))
	must(t, fsys.MkdirAll(path.Join(dir, "d/e"), 0o755))
	for _, name := range []string{"c", "a", "b"} {
		must(t, create(t, fsys, path.Join(dir, "d", name), 0).Close())
	}
	names, err := fsys.ReadDir(path.Join(dir, "d"))
	must(t, err)
	if len(names) != 4 || names[0] != "a" || names[1] != "b" || names[2] != "c" || names[3] != "e" {
		t.Fatalf("names %v", names)
	}
	info, err := fsys.Stat(path.Join(dir, "d"))
	must(t, err)
	if !info.IsDir() || info.Name() != "d" {
		t.Fatalf("stat of a directory: %v %v", info.IsDir(), info.Name())
	}
	must(t, fsys.Remove(path.Join(dir, "d/a")))
	wantErr(t, fsys.Remove(path.Join(dir, "d/a")), fs.ErrNotExist)
	if err := fsys.Remove(path.Join(dir, "d")); err == nil {
		t.Fatal("a directory with names in it was removed")
	}
	must(t, fsys.SyncDir(path.Join(dir, "d")))
	must(t, fsys.RemoveAll(path.Join(dir, "d")))
	must(t, fsys.RemoveAll(path.Join(dir, "d")))
	_, err = fsys.Stat(path.Join(dir, "d"))
	wantErr(t, err, fs.ErrNotExist)
	_, err = fsys.ReadDir(path.Join(dir, "d"))
	wantErr(t, err, fs.ErrNotExist)
	wantErr(t, fsys.SyncDir(path.Join(dir, "d")), fs.ErrNotExist)
}

func conformRename(t *testing.T, fsys FS, dir string) {
	a, b := path.Join(dir, "a"), path.Join(dir, "b")
	must(t, WriteFileAtomic(fsys, a, []byte("new"), 0o644))
	must(t, WriteFileAtomic(fsys, b, []byte("old"), 0o644))
	must(t, fsys.Rename(a, b))
	got, err := ReadFile(fsys, b)
	must(t, err)
	if string(got) != "new" {
		t.Fatalf("content %q", got)
	}
	wantErr(t, fsys.Rename(a, b), fs.ErrNotExist)
}

func conformLock(t *testing.T, fsys FS, dir string) {
	name := path.Join(dir, "LOCK")
	l, err := fsys.Lock(name)
	must(t, err)
	_, err = fsys.Lock(name)
	wantErr(t, err, ErrLocked)
	must(t, l.Close())
	l, err = fsys.Lock(name)
	must(t, err)
	must(t, l.Close())
}

func conformHelpers(t *testing.T, fsys FS, dir string) {
	deep := path.Join(dir, "x/y/z")
	must(t, MkdirAllSync(fsys, deep, 0o755))
	must(t, MkdirAllSync(fsys, deep, 0o755))
	name := path.Join(deep, "f")
	must(t, WriteFileAtomic(fsys, name, []byte("one"), 0o644))
	must(t, WriteFileAtomic(fsys, name, []byte("two!"), 0o644))
	got, err := ReadFile(fsys, name)
	must(t, err)
	if string(got) != "two!" {
		t.Fatalf("content %q", got)
	}
	if err := MkdirAllSync(fsys, path.Join(name, "below"), 0o755); err == nil {
		t.Fatal("a directory was made below a file")
	}
	_, err = ReadFile(fsys, path.Join(dir, "none"))
	wantErr(t, err, fs.ErrNotExist)
}
