package agent

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"time"
)

// A node's backup directory travels as a tar file: the manifest, then the
// segments by name. The same directory gives the same bytes each time, so it
// can be read once to know its hash and once to be stored.
const (
	storeManifest = "manifest.json"
	storeSegments = "segments"
	// holeBytes of zeros in a row become a hole again when they are unpacked:
	// scavenged segments are full of them.
	holeBytes = 64 << 10
	// maxStoreManifest bounds the manifest that is kept in memory.
	maxStoreManifest = 256 << 20
)

var storeSegment = regexp.MustCompile(`^[0-9]{20}-[0-9a-f]{16}\.seg$`)

// errStoreFiles: the tar file is not one of a node's backup directory.
var errStoreFiles = errors.New("it does not hold the files of a node's backup")

// packStore writes the backup in dir as a tar file.
func packStore(ctx context.Context, w io.Writer, dir string) error {
	entries, err := os.ReadDir(filepath.Join(dir, storeSegments))
	if err != nil {
		return fmt.Errorf("read the node's backup: %w", err)
	}
	names := []string{storeManifest}
	for _, e := range entries {
		if !storeSegment.MatchString(e.Name()) {
			return fmt.Errorf("read the node's backup: %q is not one of its files", e.Name())
		}
		names = append(names, path.Join(storeSegments, e.Name()))
	}
	slices.Sort(names[1:])
	out := tar.NewWriter(w)
	for _, name := range names {
		if err := packFile(ctx, out, dir, name); err != nil {
			return fmt.Errorf("read %s of the node's backup: %w", name, err)
		}
	}
	return out.Close()
}

func packFile(ctx context.Context, out *tar.Writer, dir, name string) error {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return errors.New("it is no regular file")
	}
	if err := out.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: st.Size(), ModTime: time.Unix(0, 0), Format: tar.FormatPAX}); err != nil {
		return err
	}
	_, err = io.Copy(out, &endingReader{ctx, f})
	return err
}

// unpackStore writes the files of a tar file into the new directory dir. What
// is read is trusted no further than that: other names than those of a backup
// are refused with errStoreFiles, and nothing is written outside of dir.
func unpackStore(in io.Reader, dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, storeSegments), 0o700); err != nil {
		return fmt.Errorf("unpack the backup: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("unpack the backup: %w", err)
	}
	defer root.Close()
	r := tar.NewReader(in)
	for n := 0; ; n++ {
		h, err := r.Next()
		if err == io.EOF && n > 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errStoreFiles, err)
		}
		folder, base := path.Split(h.Name)
		if h.Typeflag != tar.TypeReg || h.Name != storeManifest && (folder != storeSegments+"/" || !storeSegment.MatchString(base)) {
			return fmt.Errorf("%w: it has an entry %.80q", errStoreFiles, h.Name)
		}
		if err := unpackFile(root, h.Name, r); err != nil {
			return err
		}
	}
}

// unpackFile keeps apart what was wrong: an error of reading is errStoreFiles
// or the reader's own, one of writing is the disk's.
func unpackFile(root *os.Root, name string, in io.Reader) error {
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return &unpackError{fmt.Errorf("unpack the backup: %w", err)}
	}
	defer f.Close()
	buf, zeros := make([]byte, holeBytes), make([]byte, holeBytes)
	size := int64(0)
	for {
		n, err := io.ReadFull(in, buf)
		if n > 0 && !bytes.Equal(buf[:n], zeros[:n]) {
			if _, werr := f.WriteAt(buf[:n], size); werr != nil {
				return &unpackError{fmt.Errorf("unpack the backup: %w", werr)}
			}
		}
		size += int64(n)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errStoreFiles, err)
		}
	}
	if err := f.Truncate(size); err != nil {
		return &unpackError{fmt.Errorf("unpack the backup: %w", err)}
	}
	return nil
}

// unpackError is an error of this host's disk, not of the backup.
type unpackError struct{ err error }

func (e *unpackError) Error() string { return e.err.Error() }
func (e *unpackError) Unwrap() error { return e.err }
