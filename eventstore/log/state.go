package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path"

	"baton/platform/vfs"
)

// The file "state" holds what raft must not forget beside its log: the term
// and the vote. It has two slots of 4096 bytes; a save writes the slot that is
// not the newest, in one durable write. Each slot holds its record twice, in
// different sectors, so that no single damaged sector takes the newest vote
// away:
//
//	   0  record    2048  record    (slot 0)
//	4096  record    6144  record    (slot 1)
//
//	record:
//	 0  8 x  "BTNSTAT1"
//	 8  u32  CRC32C over bytes 12..44
//	12  u64  sequence: the record with the highest is the newest
//	20  u64  term
//	28  u64  vote: raft id, 0 for none
//	36  u64  commit hint: an index that was committed when this was written
//
// A crash during a save leaves the other slot, which holds the state before;
// that save had not returned. The file is created whole and renamed into
// place, so one without a valid record has been damaged.
const (
	stateName      = "state"
	stateMagic     = "BTNSTAT1"
	stateSlotBytes = 4096
	stateCopyAt    = 2048
	stateBytes     = 44
)

type stateRecord struct{ seq, term, vote, commit uint64 }

// State is the open state file. Save and Load belong to one goroutine.
type State struct {
	file    vfs.File
	path    string
	now     stateRecord
	hint    uint64
	buf     []byte
	failure error
}

// OpenState opens, or on the first start creates, the state file in dir, which
// is the log's directory. It is an error if the file is damaged, or missing
// where the log holds entries: a node that forgot its vote could vote twice. So
// open the state before the first Append.
func OpenState(fsys vfs.FS, dir string) (*State, error) {
	if fsys == nil {
		fsys = vfs.OS()
	}
	s := &State{path: path.Join(dir, stateName), buf: make([]byte, stateSlotBytes)}
	if err := vfs.MkdirAllSync(fsys, dir, 0o750); err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	_, err := fsys.Stat(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = s.create(fsys, dir)
	}
	if err == nil {
		err = s.open(fsys, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	return s, nil
}

func (s *State) create(fsys vfs.FS, dir string) error {
	held, err := holdsEntries(fsys, dir)
	if err != nil {
		return err
	}
	if held {
		return &CorruptionError{File: s.path, Reason: "the file is missing, and with it term and vote, but the log holds entries"}
	}
	first := encodeSlot(make([]byte, stateSlotBytes), stateRecord{seq: 1})
	return vfs.WriteFileAtomic(fsys, s.path, append(first, first...), 0o640)
}

// holdsEntries reports whether the log in dir has a first segment with a
// header, which comes with the first entry.
func holdsEntries(fsys vfs.FS, dir string) (bool, error) {
	names, err := fsys.ReadDir(dir)
	if err != nil {
		return false, err
	}
	for _, name := range names {
		base, ok := parseSegmentName(name)
		if !ok {
			continue
		}
		if base > 0 {
			return true, nil
		}
		f, err := fsys.OpenFile(path.Join(dir, name), os.O_RDONLY, 0)
		if err != nil {
			return false, err
		}
		var b [segmentHeaderBytes]byte
		_, err = f.ReadAt(b[:], 0)
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil && err != io.EOF {
			return false, err
		}
		if !allZero(b[:]) {
			return true, nil
		}
	}
	return false, nil
}

func (s *State) open(fsys vfs.FS, dir string) error {
	f, err := fsys.OpenFile(s.path, os.O_RDWR|vfs.O_DSYNC, 0)
	if err != nil {
		return err
	}
	b := make([]byte, 2*stateSlotBytes)
	if _, err = f.ReadAt(b, 0); err == io.EOF {
		err = nil // too short: what is missing is not valid
	}
	var ok bool
	if err == nil {
		if s.now, ok = decodeState(b); !ok {
			err = &CorruptionError{File: s.path, Reason: "no copy of term and vote is valid"}
		}
	}
	// A process that was killed, or whose save failed, may have left the newest
	// record where a read finds it and the disk does not hold it.
	if err == nil {
		_, err = f.WriteAt(encodeSlot(s.buf, s.now), int64(s.now.seq%2)*stateSlotBytes)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = fsys.SyncDir(dir)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	s.file, s.hint = f, s.now.commit
	return nil
}

// Load returns the durable term and vote (0 for none), and an index known to
// be committed, which may be old.
func (s *State) Load() (term, vote, commitHint uint64, err error) {
	if s.failure != nil {
		return 0, 0, 0, fmt.Errorf("%w: %w", ErrFailed, s.failure)
	}
	return s.now.term, s.now.vote, s.now.commit, nil
}

// SetCommitHint gives the commit index to be kept by the next Save that writes.
func (s *State) SetCommitHint(index uint64) { s.hint = index }

// Save makes term and vote durable; without a change it does nothing. An error
// is permanent: what the file holds then is found out by the next start.
func (s *State) Save(term, vote uint64) error {
	if s.failure != nil {
		return fmt.Errorf("%w: %w", ErrFailed, s.failure)
	}
	if term == s.now.term && vote == s.now.vote {
		return nil
	}
	if term < s.now.term || term == s.now.term && s.now.vote != 0 {
		return fmt.Errorf("save vote %d in term %d after vote %d in term %d", vote, term, s.now.vote, s.now.term)
	}
	next := stateRecord{seq: s.now.seq + 1, term: term, vote: vote, commit: s.hint}
	encodeSlot(s.buf, next)
	if _, err := s.file.WriteAt(s.buf, int64(next.seq%2)*stateSlotBytes); err != nil {
		s.failure = fmt.Errorf("write %s: %w", s.path, err)
		return fmt.Errorf("%w: %w", ErrFailed, s.failure)
	}
	s.now = next
	return nil
}

// Close closes the file.
func (s *State) Close() error { return s.file.Close() }

// encodeSlot fills a slot with two copies of r.
func encodeSlot(slot []byte, r stateRecord) []byte {
	clear(slot)
	b := slot[:stateBytes]
	copy(b, stateMagic)
	for i, v := range []uint64{r.seq, r.term, r.vote, r.commit} {
		binary.LittleEndian.PutUint64(b[12+8*i:], v)
	}
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b[12:], castagnoli))
	copy(slot[stateCopyAt:], b)
	return slot
}

// decodeState returns the newest valid record of a state file's content.
func decodeState(b []byte) (newest stateRecord, ok bool) {
	for at := 0; at+stateBytes <= len(b); at += stateCopyAt {
		c := b[at : at+stateBytes]
		if string(c[:8]) != stateMagic || binary.LittleEndian.Uint32(c[8:]) != crc32.Checksum(c[12:], castagnoli) {
			continue
		}
		if r := (stateRecord{
			seq:    binary.LittleEndian.Uint64(c[12:]),
			term:   binary.LittleEndian.Uint64(c[20:]),
			vote:   binary.LittleEndian.Uint64(c[28:]),
			commit: binary.LittleEndian.Uint64(c[36:]),
		}); !ok || r.seq > newest.seq {
			newest, ok = r, true
		}
	}
	return newest, ok
}
