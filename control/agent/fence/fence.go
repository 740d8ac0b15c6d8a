// Package fence remembers the highest (generation, term) accepted for each
// cluster, on disk before it counts: an agent that answered an order never
// obeys an older one, also after a power cut.
//
// The file is a sequence of 128-byte records, each with a checksum, written
// with one synchronous write into space that was zeroed beforehand, because a
// raise happens while clients' writes stand still:
//
//	0   crc32c of bytes 4..127, little endian
//	4   length of the cluster's id, 1..63
//	8   generation, 16 term (little endian)
//	24  cluster id, rest zero
//
// The highest record of a cluster counts. A record that does not check ends
// the file: it was being written when the power went, and never answered.
package fence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"sync"

	"baton/platform/identity"

	"golang.org/x/sys/unix"
)

const (
	recordBytes = 128
	maxID       = 63
	// fileRecords is how many raises fit before the file is compacted: about
	// a thousand promotions between two compactions of a few milliseconds.
	fileRecords = 1024
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrStale: a higher pair was accepted for the cluster.
var ErrStale = errors.New("a newer generation or term was seen for this cluster")

// Pair is a generation and, within it, a control plane's term.
type Pair struct {
	Generation uint64 `json:"generation,string"`
	Term       uint64 `json:"term,string"`
}

// Less orders pairs: generation first, then term.
func (p Pair) Less(o Pair) bool {
	if p.Generation != o.Generation {
		return p.Generation < o.Generation
	}
	return p.Term < o.Term
}

// Store is the open file.
type Store struct {
	path string

	mu   sync.Mutex
	f    *os.File
	used int // records in the file
	room int // records that fit
	high map[string]Pair
	err  error // permanent, after a failed write
}

// Open opens or makes the file.
func Open(path string) (*Store, error) {
	s := &Store{path: path, high: map[string]Pair{}}
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read fences: %w", err)
	}
	for len(b) >= recordBytes {
		id, f, ok := decode(b[:recordBytes])
		if !ok {
			break
		}
		if s.high[id].Less(f) {
			s.high[id] = f
		}
		b = b[recordBytes:]
	}
	// A record after one that does not check is damage, not a torn end.
	for len(b) >= 2*recordBytes {
		b = b[recordBytes:]
		if _, _, ok := decode(b[:recordBytes]); ok {
			return nil, fmt.Errorf("fences in %s are damaged in the middle; restore the file, or remove it only when no order of an older control plane can be on its way", path)
		}
	}
	if err := s.rewrite(); err != nil {
		return nil, err
	}
	return s, nil
}

// rewrite replaces the file by one record per cluster and zeroed space.
func (s *Store) rewrite() error {
	size := max(fileRecords, 2*len(s.high)) * recordBytes
	b := make([]byte, size)
	n := 0
	for id, f := range s.high {
		encode(b[n*recordBytes:], id, f)
		n++
	}
	if err := identity.WriteFile(s.path, b, 0o600); err != nil {
		return fmt.Errorf("write fences: %w", err)
	}
	f, err := os.OpenFile(s.path, os.O_RDWR|unix.O_DSYNC, 0)
	if err != nil {
		return fmt.Errorf("open fences: %w", err)
	}
	if s.f != nil {
		s.f.Close()
	}
	s.f, s.used, s.room = f, n, size/recordBytes
	return nil
}

// Accept raises the cluster's pair, on disk before it returns, or returns
// ErrStale with the pair that stands. An equal pair costs nothing.
func (s *Store) Accept(cluster string, want Pair) (Pair, error) {
	if cluster == "" || len(cluster) > maxID {
		return Pair{}, fmt.Errorf("cluster id %q has not 1 to %d bytes", cluster, maxID)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return Pair{}, s.err
	}
	have := s.high[cluster]
	if want.Less(have) {
		return have, ErrStale
	}
	if !have.Less(want) {
		return have, nil
	}
	if s.used == s.room {
		if err := s.rewrite(); err != nil {
			return have, err
		}
	}
	var b [recordBytes]byte
	encode(b[:], cluster, want)
	if _, err := s.f.WriteAt(b[:], int64(s.used)*recordBytes); err != nil {
		// What reached the disk is not known; nothing is accepted any more.
		s.err = fmt.Errorf("write fences: %w; no order is accepted until the agent is restarted", err)
		return have, s.err
	}
	s.used++
	s.high[cluster] = want
	return want, nil
}

// All returns the pairs by cluster.
func (s *Store) All() map[string]Pair {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]Pair, len(s.high))
	for id, f := range s.high {
		out[id] = f
	}
	return out
}

// Close closes the file.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = errors.New("the fence file is closed")
	return s.f.Close()
}

func encode(b []byte, id string, f Pair) {
	b[4] = byte(len(id))
	binary.LittleEndian.PutUint64(b[8:], f.Generation)
	binary.LittleEndian.PutUint64(b[16:], f.Term)
	copy(b[24:24+maxID], id)
	binary.LittleEndian.PutUint32(b, crc32.Checksum(b[4:recordBytes], castagnoli))
}

func decode(b []byte) (id string, f Pair, ok bool) {
	n := int(b[4])
	if n < 1 || n > maxID || binary.LittleEndian.Uint32(b) != crc32.Checksum(b[4:recordBytes], castagnoli) {
		return "", f, false
	}
	return string(b[24 : 24+n]), Pair{Generation: binary.LittleEndian.Uint64(b[8:]), Term: binary.LittleEndian.Uint64(b[16:])}, true
}
