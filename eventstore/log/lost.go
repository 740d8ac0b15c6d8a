package log

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"baton/platform/vfs"
)

// A lost-writes file holds entries that this node had and that the cluster
// decided otherwise about: no quorum had them, so none was acknowledged. It is
// kept for people: what was on its way when the leader died.
//
// It begins with lines of text, "name: value", up to an empty line, then the
// frames as they stood in the segment, each with its own checksums, then one
// line "end: <number of frames> frames". It is complete or not there at all.

const (
	lostTitle  = "baton lost writes 1"
	lostSuffix = ".lost"
)

// saveLost saves the frames from first to the end of the log and returns the
// file's name, empty if none of them carries data: a new leader's empty entry
// is nobody's write.
func (l *Log) saveLost(first Frame, newTerm uint64) (string, error) {
	hasData := false
	for s := l.Scan(first.Pos); !hasData; {
		f, err := s.Next()
		if err == io.EOF {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		hasData = len(f.Data) > 0
	}
	if err := vfs.MkdirAllSync(l.fs, l.opts.LostWritesDir, 0o750); err != nil {
		return "", err
	}
	name, err := l.lostName(first)
	if err != nil {
		return "", err
	}
	tmp := name + ".tmp"
	f, err := l.fs.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return "", err
	}
	if err = l.writeLost(f, first, newTerm); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return "", fmt.Errorf("write %s: %w", tmp, err)
	}
	if err := l.fs.Rename(tmp, name); err != nil {
		return "", err
	}
	return name, l.fs.SyncDir(l.opts.LostWritesDir)
}

// lostName returns an unused name telling term and indexes.
func (l *Log) lostName(first Frame) (string, error) {
	for n := 1; ; n++ {
		name := fmt.Sprintf("terms-%d-%d-entries-%d-%d", first.Term, l.lastTerm, first.Index, l.lastIndex)
		if n > 1 {
			name += fmt.Sprintf("-%d", n)
		}
		name = path.Join(l.opts.LostWritesDir, name+lostSuffix)
		if _, err := l.fs.Stat(name); errors.Is(err, fs.ErrNotExist) {
			return name, nil
		} else if err != nil {
			return "", err
		}
	}
}

func (l *Log) writeLost(file vfs.File, first Frame, newTerm uint64) error {
	w := bufio.NewWriterSize(io.NewOffsetWriter(file, 0), 1<<18)
	fmt.Fprintf(w, "%s\n", lostTitle)
	fmt.Fprintf(w, "about: entries this node had written and the cluster's leader replaced; none of them was acknowledged\n")
	fmt.Fprintf(w, "first-index: %d\nlast-index: %d\n", first.Index, l.lastIndex)
	fmt.Fprintf(w, "first-term: %d\nlast-term: %d\n", first.Term, l.lastTerm)
	fmt.Fprintf(w, "replaced-by-term: %d\n", newTerm)
	fmt.Fprintf(w, "first-position: %d\nlast-position: %d\n\n", first.Pos, l.End())
	prevSize, err := l.prevSizeAt(first.Pos)
	if err != nil {
		return err
	}
	n := 0
	var buf []byte
	for s := l.Scan(first.Pos); ; n++ {
		f, err := s.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		buf = appendFrame(buf[:0], f.Pos, f.Term, f.Index, f.Type, prevSize, f.Data)
		prevSize = uint32(f.Size)
		if _, err := w.Write(buf); err != nil {
			return err
		}
	}
	fmt.Fprintf(w, "end: %d frames\n", n)
	return w.Flush()
}

func (l *Log) prevSizeAt(pos uint64) (uint32, error) {
	if pos == 0 {
		return 0, nil
	}
	size, err := l.sizeBefore(pos)
	return uint32(size), err
}

// LostWrites is the content of a lost-writes file.
type LostWrites struct {
	FirstIndex, LastIndex uint64
	FirstTerm, LastTerm   uint64
	ReplacedByTerm        uint64
	FirstPosition         uint64
	LastPosition          uint64 // after the last frame
	Frames                []Frame
}

// DecodeLostWrites decodes a lost-writes file, verifying every frame. Frames
// alias data.
func DecodeLostWrites(data []byte) (*LostWrites, error) {
	head, rest, ok := bytes.Cut(data, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	if !ok || lines[0] != lostTitle {
		return nil, fmt.Errorf("decode lost writes: the file does not begin with %q", lostTitle)
	}
	v := &LostWrites{}
	fields := map[string]*uint64{
		"first-index": &v.FirstIndex, "last-index": &v.LastIndex, "first-term": &v.FirstTerm, "last-term": &v.LastTerm,
		"replaced-by-term": &v.ReplacedByTerm, "first-position": &v.FirstPosition, "last-position": &v.LastPosition,
	}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		if to := fields[name]; to != nil {
			n, err := strconv.ParseUint(value, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("decode lost writes: line %q: %w", line, err)
			}
			*to = n
		}
	}
	if v.LastPosition < v.FirstPosition || v.LastPosition-v.FirstPosition > uint64(len(rest)) {
		return nil, errors.New("decode lost writes: the file is too short")
	}
	for pos, index := v.FirstPosition, v.FirstIndex; pos < v.LastPosition; index++ {
		f, err := DecodeFrame(rest[:min(uint64(len(rest)), v.LastPosition-pos)], pos)
		if err != nil {
			return nil, fmt.Errorf("decode lost writes: %w", err)
		}
		if f.Index != index {
			return nil, fmt.Errorf("decode lost writes: entry %d stands where %d is due", f.Index, index)
		}
		v.Frames = append(v.Frames, f)
		rest = rest[f.Size:]
		pos += f.Size
	}
	if want := fmt.Sprintf("end: %d frames\n", len(v.Frames)); string(rest) != want {
		return nil, fmt.Errorf("decode lost writes: the file does not end with %q", want)
	}
	return v, nil
}
