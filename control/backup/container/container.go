// Package container is the file a backup is kept in: a readable header, then
// the engine's own dump cut into chunks, each encrypted and numbered. A file
// that was cut off, whose chunks were exchanged, repeated or taken from another
// backup, or of which one byte changed does not open, and the error names the
// place. docs/formats.md draws the bytes.
//
// Encrypter and Decrypter stream: neither holds more than one chunk.
package container

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
)

const (
	// Format is the version of the format that this package writes.
	Format = 1
	// ChunkBytes is how much of the dump one chunk holds; the last may hold less.
	ChunkBytes = 1 << 20
	// KeyBytes is the size of a backup's own key.
	KeyBytes = chacha20poly1305.KeySize

	magic          = "BTNBAK1\n"
	fixedBytes     = len(magic) + 8
	maxHeaderBytes = 256 << 10
	prefixBytes    = chacha20poly1305.NonceSizeX - 9 // the rest: number (8), last (1)
	tagBytes       = chacha20poly1305.Overhead
)

// Errors of reading a container.
var (
	// ErrNotContainer: it does not begin as a backup of ours.
	ErrNotContainer = errors.New("this is not a backup file of Baton")
	// ErrHeader: the header is damaged.
	ErrHeader = errors.New("the header of the backup file is damaged")
	// ErrTruncated: the file ends too early.
	ErrTruncated = errors.New("the backup file ends too early")
	// ErrTrailing: something follows the last chunk.
	ErrTrailing = errors.New("the backup file goes on behind its end")
	// ErrContent: every chunk opened, and yet the dump is not the one that was taken.
	ErrContent = errors.New("the dump in the backup file is not the one that was taken")
)

// DamagedError names the chunk that does not open: it was changed, exchanged,
// or the key is not this backup's.
type DamagedError struct {
	Chunk  int64 // from 1
	Chunks int64 // in the whole file
	From   int64 // first byte of the chunk in the file
	To     int64 // first byte behind it
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("chunk %d of %d (bytes %d to %d of the file) is damaged or does not belong to this backup", e.Chunk, e.Chunks, e.From, e.To-1)
}

// Kinds of data.
const (
	// KindRDB is the dump of a Redis server.
	KindRDB = "rdb"
	// KindStore is the backup directory of an event-store node as a tar file.
	KindStore = "eventstore-log"
)

// Header describes a backup. It is stored in clear and authenticated by every
// chunk.
type Header struct {
	Format        int       `json:"format"`
	ID            string    `json:"id"`
	Cluster       string    `json:"cluster"`
	Node          string    `json:"node"`
	Engine        string    `json:"engine"`
	EngineVersion string    `json:"engineVersion"`
	Kind          string    `json:"kind"` // one of the kinds above
	Created       time.Time `json:"created"`
	// History and Offset are the replication position the dump stands for, as
	// the dump itself tells it; "" where it does not. Of an event store: the
	// cluster's id and the position up to which the log is in it.
	History string `json:"history,omitempty"`
	Offset  string `json:"offset,omitempty"`
	// Keys are the keys in each database, by its number; Counted tells that
	// they were counted in the dump.
	Keys    map[string]int64 `json:"keys,omitempty"`
	Counted bool             `json:"counted"`
	// Voters are how many an event store's cluster wants, 0 for Redis.
	Voters int `json:"voters,omitempty"`
	// Insecure tells that the event store served without TLS and accounts.
	Insecure bool `json:"insecure,omitempty"`
	// UsedMemory is what the server used when it wrote the dump; 0 unknown.
	UsedMemory int64 `json:"usedMemoryBytes,omitempty"`
	// PlainBytes and PlainSHA256 (hexadecimal digits) are of the dump.
	PlainBytes  int64  `json:"plainBytes"`
	PlainSHA256 string `json:"plainSha256"`
	ChunkBytes  int    `json:"chunkBytes"`
	// NoncePrefix is random, 15 bytes.
	NoncePrefix []byte `json:"noncePrefix"`
	// SealedKey is the backup's own key, sealed by the master key for KeyContext.
	SealedKey string `json:"sealedKey"`
}

// KeyContext is what a backup's own key is sealed for.
func KeyContext(cluster, id string) string { return "backup:" + cluster + ":" + id }

// TotalKeys is the number of keys over all databases.
func (h *Header) TotalKeys() int64 {
	var n int64
	for _, k := range h.Keys {
		n += k
	}
	return n
}

// chunks in the file; there is always a last one, if need be an empty one.
func (h *Header) chunks() int64 {
	return max(1, (h.PlainBytes+ChunkBytes-1)/ChunkBytes)
}

// NewKey returns a new key for one backup.
func NewKey() []byte {
	k := make([]byte, KeyBytes)
	_, _ = rand.Read(k) // never fails
	return k
}

// sealer encrypts or decrypts the numbered chunks of one file.
type sealer struct {
	aead cipher.AEAD
	aad  [sha256.Size]byte // hash of the header's bytes
	n    [chacha20poly1305.NonceSizeX]byte
}

func newSealer(h *Header, raw, key []byte) (*sealer, error) {
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, fmt.Errorf("key of the backup: %w", err)
	}
	s := &sealer{aead: aead, aad: sha256.Sum256(raw)}
	copy(s.n[:prefixBytes], h.NoncePrefix)
	return s, nil
}

func (s *sealer) nonce(number int64, last bool) []byte {
	binary.LittleEndian.PutUint64(s.n[prefixBytes:], uint64(number))
	s.n[len(s.n)-1] = 0
	if last {
		s.n[len(s.n)-1] = 1
	}
	return s.n[:]
}

// Encrypter reads a dump and gives the bytes of the file.
type Encrypter struct {
	h      Header
	s      *sealer
	plain  io.Reader
	sum    hash.Hash
	tee    io.Reader
	next   int64 // chunk
	left   int64 // of the dump
	buf    []byte
	out    []byte // not yet read
	size   int64
	failed error
}

// NewEncrypter encrypts plain, which must hold exactly h.PlainBytes bytes of
// hash h.PlainSHA256: an error of Read says when it does not, and nothing that
// was read then is a backup. Format, chunk size and nonce prefix are set here.
func NewEncrypter(h Header, key []byte, plain io.Reader) (*Encrypter, error) {
	h.Format, h.ChunkBytes, h.NoncePrefix = Format, ChunkBytes, make([]byte, prefixBytes)
	_, _ = rand.Read(h.NoncePrefix)
	if h.PlainBytes < 0 {
		return nil, fmt.Errorf("a dump of %d bytes", h.PlainBytes)
	}
	raw, err := h.encode()
	if err != nil {
		return nil, err
	}
	s, err := newSealer(&h, raw, key)
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	return &Encrypter{h: h, s: s, plain: plain, sum: sum, tee: io.TeeReader(plain, sum), left: h.PlainBytes,
		buf: make([]byte, ChunkBytes, ChunkBytes+tagBytes), out: raw, size: int64(len(raw)) + h.PlainBytes + h.chunks()*tagBytes}, nil
}

// Size is the number of bytes of the whole file.
func (e *Encrypter) Size() int64 { return e.size }

// Header is the header as it is written.
func (e *Encrypter) Header() Header { return e.h }

// Read gives the next bytes of the file.
func (e *Encrypter) Read(p []byte) (int, error) {
	for len(e.out) == 0 {
		if e.failed == nil {
			e.failed = e.fill()
		}
		if e.failed != nil {
			return 0, e.failed
		}
	}
	n := copy(p, e.out)
	e.out = e.out[n:]
	return n, nil
}

func (e *Encrypter) fill() error {
	if e.next == e.h.chunks() {
		return io.EOF
	}
	b := e.buf[:min(e.left, ChunkBytes)]
	if _, err := io.ReadFull(e.tee, b); err != nil {
		return fmt.Errorf("read the dump: %w", noEOF(err))
	}
	e.left -= int64(len(b))
	last := e.next == e.h.chunks()-1
	if last {
		if n, err := e.plain.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			return fmt.Errorf("the dump is longer than %d bytes", e.h.PlainBytes)
		}
		if got := hex.EncodeToString(e.sum.Sum(nil)); got != e.h.PlainSHA256 {
			return fmt.Errorf("the dump changed while it was read: hash %s, not %s", got, e.h.PlainSHA256)
		}
	}
	e.out = e.s.aead.Seal(b[:0], e.s.nonce(e.next, last), b, e.s.aad[:])
	e.next++
	return nil
}

func (h *Header) encode() ([]byte, error) {
	text, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode the header: %w", err)
	}
	if len(text) > maxHeaderBytes {
		return nil, fmt.Errorf("the header has %d bytes, more than %d", len(text), maxHeaderBytes)
	}
	out := make([]byte, 0, fixedBytes+len(text))
	out = append(out, magic...)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(text)))
	out = binary.LittleEndian.AppendUint32(out, crc32.Checksum(text, crc32.MakeTable(crc32.Castagnoli)))
	return append(out, text...), nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Decrypter reads a file and gives the dump.
type Decrypter struct {
	h      Header
	raw    []byte
	in     io.Reader
	s      *sealer
	sum    hash.Hash
	next   int64
	at     int64
	buf    []byte
	out    []byte
	failed error
}

// Open reads the header. The rest opens once SetKey was called. Errors:
// ErrNotContainer, ErrHeader, ErrTruncated, in's own.
func Open(in io.Reader) (*Decrypter, error) {
	fixed := make([]byte, fixedBytes)
	if n, err := io.ReadFull(in, fixed); err != nil {
		if n < len(magic) || !bytes.HasPrefix(fixed, []byte(magic)) {
			return nil, readError(err, ErrNotContainer)
		}
		return nil, readError(err, ErrTruncated)
	}
	if !bytes.HasPrefix(fixed, []byte(magic)) {
		return nil, ErrNotContainer
	}
	size := binary.LittleEndian.Uint32(fixed[len(magic):])
	if size > maxHeaderBytes {
		return nil, fmt.Errorf("%w: it claims %d bytes", ErrHeader, size)
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(in, text); err != nil {
		return nil, readError(err, ErrTruncated)
	}
	if crc32.Checksum(text, crc32.MakeTable(crc32.Castagnoli)) != binary.LittleEndian.Uint32(fixed[len(magic)+4:]) {
		return nil, fmt.Errorf("%w: its checksum does not fit", ErrHeader)
	}
	d := &Decrypter{in: in, raw: append(fixed, text...)}
	if err := json.Unmarshal(text, &d.h); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHeader, err)
	}
	switch {
	case d.h.Format != Format:
		return nil, fmt.Errorf("%w: format %d is not known to this version", ErrHeader, d.h.Format)
	case d.h.ChunkBytes != ChunkBytes, len(d.h.NoncePrefix) != prefixBytes, d.h.PlainBytes < 0, len(d.h.PlainSHA256) != 2*sha256.Size:
		return nil, fmt.Errorf("%w: its values make no sense", ErrHeader)
	}
	d.at = int64(len(d.raw))
	return d, nil
}

func readError(err, short error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return short
	}
	return fmt.Errorf("read the backup file: %w", err)
}

// Header is what the file says of itself. It can be trusted once the first
// chunk opened.
func (d *Decrypter) Header() Header { return d.h }

// SetKey gives the backup's own key.
func (d *Decrypter) SetKey(key []byte) error {
	s, err := newSealer(&d.h, d.raw, key)
	if err != nil {
		return err
	}
	d.s, d.sum = s, sha256.New()
	d.buf = make([]byte, ChunkBytes+tagBytes)
	return nil
}

// Read gives the next bytes of the dump. io.EOF means that all of it was there
// and is what was taken. Errors: *DamagedError, ErrTruncated, ErrTrailing,
// ErrContent, in's own.
func (d *Decrypter) Read(p []byte) (int, error) {
	if d.s == nil {
		return 0, errors.New("the key of the backup was not given")
	}
	for len(d.out) == 0 {
		if d.failed == nil {
			d.failed = d.fill()
		}
		if d.failed != nil {
			return 0, d.failed
		}
	}
	n := copy(p, d.out)
	d.out = d.out[n:]
	return n, nil
}

func (d *Decrypter) fill() error {
	chunks := d.h.chunks()
	if d.next == chunks {
		return io.EOF
	}
	size := min(d.h.PlainBytes-d.next*ChunkBytes, ChunkBytes) + tagBytes
	b := d.buf[:size]
	if n, err := io.ReadFull(d.in, b); err != nil {
		err = readError(err, ErrTruncated)
		if errors.Is(err, ErrTruncated) {
			return fmt.Errorf("%w: chunk %d of %d has %d of %d bytes", err, d.next+1, chunks, n, size)
		}
		return err
	}
	last := d.next == chunks-1
	plain, err := d.s.aead.Open(b[:0], d.s.nonce(d.next, last), b, d.s.aad[:])
	if err != nil {
		return &DamagedError{Chunk: d.next + 1, Chunks: chunks, From: d.at, To: d.at + size}
	}
	d.sum.Write(plain)
	if last {
		if n, err := io.ReadFull(d.in, make([]byte, 1)); n != 0 {
			return ErrTrailing
		} else if err != io.EOF {
			return fmt.Errorf("read the backup file: %w", err)
		}
		if hex.EncodeToString(d.sum.Sum(nil)) != d.h.PlainSHA256 {
			return ErrContent
		}
	}
	d.out, d.at, d.next = plain, d.at+size, d.next+1
	return nil
}
