package log

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path"
	"sync"

	"baton/platform/vfs"
)

// A sparse segment holds the same frames at the same positions as the segment
// file it replaced, but stretches of zeros, which is what a scavenge makes of
// removed events, take no room. Whoever reads it gets the zeros back, so nothing
// above this file knows the difference. All integers little-endian:
//
//	 0  8 x  "BTNSEG2\n"
//	 8  u32  CRC32C over bytes 12..64
//	12  u32  size of the frame before the segment, as in other segments
//	16  u64  base
//	24  u64  index of the first frame
//	32  u64  term of the frame before the segment
//	40  u64  bytes of frames: the segment holds the positions [base, base + this)
//	48  u32  bytes of frames in one block
//	52  u32  CRC32C of the table
//	56  u64  bytes of the file
//	64  table: for each block where it begins in the file (u64), then the file's end
//	    blocks
//
// A block is a CRC32C (u32) of its number (u64) and what follows, then runs: the
// number of bytes that are given (varint), those bytes, the number of zeros after
// them (varint), and so on until the block is full. The last block may be short.
//
// A read takes its part of the table and its blocks from the file: nothing of a
// sparse segment is kept in memory. Segments of this form are never written to
// again; see expand for the one that turns out to be the last of the log.
const (
	sparseMagic = "BTNSEG2\n"
	// sparseBlockBytes is how much is decoded to read one byte. Larger blocks
	// take a smaller table and make reads of single events slower.
	sparseBlockBytes = 16 << 10
	// maxSparseBlock bounds the block size that is believed of a file.
	maxSparseBlock = 1 << 20
	// minZeros is the shortest run of zeros worth its two numbers.
	minZeros = 8
	// sparseReadBlocks is how many blocks one read of the file takes.
	sparseReadBlocks = 64
)

// sparse describes the layout of a sparse segment file.
type sparse struct {
	bytes     uint64 // of frames
	block     uint64 // bytes of frames in a block
	tableSum  uint32
	fileBytes int64
}

func (s *sparse) blocks() uint64 { return (s.bytes + s.block - 1) / s.block }

// tableBytes is the size of the table in the file.
func (s *sparse) tableBytes() int64 { return 8 * int64(s.blocks()+1) }

func appendSparseHeader(b []byte, h segmentHeader, s sparse) []byte {
	at := len(b)
	b = appendSegmentHeader(b, h)
	p := b[at:]
	copy(p, sparseMagic)
	binary.LittleEndian.PutUint64(p[40:], s.bytes)
	binary.LittleEndian.PutUint32(p[48:], uint32(s.block))
	binary.LittleEndian.PutUint32(p[52:], s.tableSum)
	binary.LittleEndian.PutUint64(p[56:], uint64(s.fileBytes))
	binary.LittleEndian.PutUint32(p[8:], crc32.Checksum(p[12:], castagnoli))
	return b
}

// parseSparseHeader decodes b, which must hold segmentHeaderBytes.
func parseSparseHeader(b []byte) (h segmentHeader, s sparse, ok bool) {
	b = b[:segmentHeaderBytes]
	if string(b[:8]) != sparseMagic || binary.LittleEndian.Uint32(b[8:]) != crc32.Checksum(b[12:], castagnoli) {
		return h, s, false
	}
	h = segmentHeader{
		prevSize:   binary.LittleEndian.Uint32(b[12:]),
		base:       binary.LittleEndian.Uint64(b[16:]),
		firstIndex: binary.LittleEndian.Uint64(b[24:]),
		prevTerm:   binary.LittleEndian.Uint64(b[32:]),
	}
	s = sparse{
		bytes:     binary.LittleEndian.Uint64(b[40:]),
		block:     uint64(binary.LittleEndian.Uint32(b[48:])),
		tableSum:  binary.LittleEndian.Uint32(b[52:]),
		fileBytes: int64(binary.LittleEndian.Uint64(b[56:])),
	}
	const mostBytes = 1 << 40 // no segment comes near; keeps sums from overflowing
	ok = h.firstIndex > 0 && s.bytes > 0 && s.bytes < mostBytes && s.block > 0 && s.block <= maxSparseBlock &&
		s.fileBytes >= segmentHeaderBytes+s.tableBytes()
	return h, s, ok
}

// appendBlock appends the encoded form of one block of frames.
func appendBlock(b []byte, number uint64, data []byte) []byte {
	at := len(b)
	b = append(b, 0, 0, 0, 0)
	for len(data) > 0 {
		given, none := nextZeros(data)
		b = binary.AppendUvarint(b, uint64(given))
		b = append(b, data[:given]...)
		b = binary.AppendUvarint(b, uint64(none))
		data = data[given+none:]
	}
	binary.LittleEndian.PutUint32(b[at:], blockSum(number, b[at+4:]))
	return b
}

func blockSum(number uint64, runs []byte) uint32 {
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], number)
	return crc32.Update(crc32.Checksum(n[:], castagnoli), castagnoli, runs)
}

// nextZeros finds the first run of at least minZeros zeros: given bytes stand
// before it, none is its length, 0 if there is no run.
func nextZeros(b []byte) (given, none int) {
	for i := 0; i < len(b); {
		if b[i] != 0 {
			i++
			continue
		}
		end := i + 1
		for end < len(b) && b[end] == 0 {
			end++
		}
		if end-i >= minZeros {
			return i, end - i
		}
		i = end
	}
	return len(b), 0
}

// decodeBlock fills p, which is exactly one block, from its encoded form.
func decodeBlock(p []byte, number uint64, b []byte) error {
	if len(b) < 4 || binary.LittleEndian.Uint32(b) != blockSum(number, b[4:]) {
		return fmt.Errorf("the checksum of block %d is wrong", number)
	}
	for b = b[4:]; len(p) > 0; {
		given, n := binary.Uvarint(b)
		if n <= 0 || given > uint64(len(p)) || given > uint64(len(b)-n) {
			return fmt.Errorf("block %d has more bytes than fit", number)
		}
		copy(p, b[n:n+int(given)])
		p, b = p[given:], b[n+int(given):]
		none, n := binary.Uvarint(b)
		if n <= 0 || none > uint64(len(p)) || given+none == 0 {
			return fmt.Errorf("block %d has more zeros than fit", number)
		}
		clear(p[:none])
		p, b = p[none:], b[n:]
	}
	if len(b) > 0 {
		return fmt.Errorf("block %d is too long", number)
	}
	return nil
}

// readAt fills p with the bytes from position pos on. They must lie in the
// segment. The error is a *CorruptionError or one of the file system.
func (s *segment) readAt(p []byte, pos uint64) error {
	if s.sparse != nil {
		return s.readSparse(p, pos)
	}
	n, err := s.file.ReadAt(p, s.offset(pos))
	if err == io.EOF && n < len(p) {
		return s.corrupt(pos+uint64(n), "the file is too short")
	}
	if err != nil && n < len(p) {
		return fmt.Errorf("read %s: %w", s.path, err)
	}
	return nil
}

// sparseScratch is the memory of one read of a sparse segment.
type sparseScratch struct{ table, blocks, part []byte }

var sparseScratches = sync.Pool{New: func() any { return new(sparseScratch) }}

func sized(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}

func (s *segment) readSparse(p []byte, pos uint64) error {
	sp := s.sparse
	if pos < s.base || pos-s.base+uint64(len(p)) > sp.bytes {
		return s.corrupt(pos, fmt.Sprintf("%d bytes are due, the segment ends after %d", len(p), sp.bytes-min(pos-s.base, sp.bytes)))
	}
	mem := sparseScratches.Get().(*sparseScratch)
	defer sparseScratches.Put(mem)
	for len(p) > 0 {
		first := (pos - s.base) / sp.block
		last := min((pos-s.base+uint64(len(p))-1)/sp.block, first+sparseReadBlocks-1)
		n, err := s.readBlocks(mem, p, pos, first, last)
		if err != nil {
			return err
		}
		p, pos = p[n:], pos+uint64(n)
	}
	return nil
}

// readBlocks fills p, from position pos in block first on, as far as block last
// reaches.
func (s *segment) readBlocks(mem *sparseScratch, p []byte, pos, first, last uint64) (n int, err error) {
	sp := s.sparse
	mem.table = sized(mem.table, int(8*(last-first+2)))
	if err := s.readFile(mem.table, segmentHeaderBytes+8*int64(first), pos); err != nil {
		return 0, err
	}
	at := func(i uint64) int64 { return int64(binary.LittleEndian.Uint64(mem.table[8*(i-first):])) }
	// A block is at most a third longer than what it holds; mostly it is shorter.
	if lo, hi := at(first), at(last+1); lo < segmentHeaderBytes+sp.tableBytes() || hi < lo || hi > sp.fileBytes || hi-lo > int64(2*sp.block*(last-first+1)+64) {
		return 0, s.corrupt(pos, "the table of blocks is not valid")
	}
	mem.blocks = sized(mem.blocks, int(at(last+1)-at(first)))
	if err := s.readFile(mem.blocks, at(first), pos); err != nil {
		return 0, err
	}
	for i := first; i <= last && n < len(p); i++ {
		lo, hi := at(i)-at(first), at(i+1)-at(first)
		if lo < 0 || hi < lo || hi > int64(len(mem.blocks)) {
			return 0, s.corrupt(pos, "the table of blocks is not valid")
		}
		size := int(min(sp.block, sp.bytes-i*sp.block))
		skip := int(pos + uint64(n) - s.base - i*sp.block) // bytes of the block before what is wanted
		if skip == 0 && size <= len(p)-n {
			if err := decodeBlock(p[n:n+size], i, mem.blocks[lo:hi]); err != nil {
				return 0, s.corrupt(pos, err.Error())
			}
			n += size
			continue
		}
		mem.part = sized(mem.part, size)
		if err := decodeBlock(mem.part, i, mem.blocks[lo:hi]); err != nil {
			return 0, s.corrupt(pos, err.Error())
		}
		n += copy(p[n:], mem.part[skip:])
	}
	return n, nil
}

// readFile reads bytes of the file itself, for the sake of position pos.
func (s *segment) readFile(p []byte, at int64, pos uint64) error {
	n, err := s.file.ReadAt(p, at)
	if n == len(p) {
		return nil
	}
	if err == io.EOF {
		return s.corrupt(pos, "the file is too short")
	}
	return fmt.Errorf("read %s: %w", s.path, err)
}

// checkSparse verifies length and table of a sparse segment file that is to end
// at position end.
func (s *segment) checkSparse(end uint64) error {
	sp := s.sparse
	if s.base+sp.bytes != end {
		return s.corrupt(s.base+min(sp.bytes, end-s.base), fmt.Sprintf("the segment ends at position %d, the next begins at %d", s.base+sp.bytes, end))
	}
	size, err := s.file.Size()
	if err != nil {
		return err
	}
	if size != sp.fileBytes {
		return s.corrupt(s.base, fmt.Sprintf("the file has %d bytes, %d are due", size, sp.fileBytes))
	}
	table := make([]byte, sp.tableBytes())
	if err := s.readFile(table, segmentHeaderBytes, s.base); err != nil {
		return err
	}
	if crc32.Checksum(table, castagnoli) != sp.tableSum {
		return s.corrupt(s.base, "the checksum of the table of blocks is wrong")
	}
	return nil
}

// sparseWriter writes a sparse segment file block by block.
type sparseWriter struct {
	file   vfs.File
	layout sparse
	head   segmentHeader
	table  []byte
	data   []byte // frames that do not fill a block yet
	out    []byte // encoded blocks on their way to the file
	at     int64  // where out goes
	number uint64
}

// writeBytes is how much is written and synced at a time, so that an append
// beside it never waits for long.
const writeBytes = 2 << 20

func newSparseWriter(f vfs.File, h segmentHeader, bytes uint64) *sparseWriter {
	w := &sparseWriter{file: f, head: h, layout: sparse{bytes: bytes, block: sparseBlockBytes}}
	w.at = segmentHeaderBytes + w.layout.tableBytes()
	return w
}

// add takes the next bytes of the sequence of frames.
func (w *sparseWriter) add(b []byte) error {
	for len(b) > 0 {
		n := min(len(b), sparseBlockBytes-len(w.data))
		w.data = append(w.data, b[:n]...)
		b = b[n:]
		if len(w.data) == sparseBlockBytes {
			if err := w.block(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *sparseWriter) block() error {
	w.table = binary.LittleEndian.AppendUint64(w.table, uint64(w.at)+uint64(len(w.out)))
	w.out = appendBlock(w.out, w.number, w.data)
	w.number++
	w.data = w.data[:0]
	if len(w.out) < writeBytes {
		return nil
	}
	return w.flush()
}

func (w *sparseWriter) flush() error {
	if _, err := w.file.WriteAt(w.out, w.at); err != nil {
		return err
	}
	w.at += int64(len(w.out))
	w.out = w.out[:0]
	return w.file.Sync()
}

// finish writes what is left, then table and header, durably.
func (w *sparseWriter) finish() error {
	if len(w.data) > 0 {
		if err := w.block(); err != nil {
			return err
		}
	}
	if err := w.flush(); err != nil {
		return err
	}
	if w.number != w.layout.blocks() {
		return fmt.Errorf("%d blocks were written, %d are due", w.number, w.layout.blocks())
	}
	w.table = binary.LittleEndian.AppendUint64(w.table, uint64(w.at))
	w.layout.tableSum, w.layout.fileBytes = crc32.Checksum(w.table, castagnoli), w.at
	if _, err := w.file.WriteAt(append(appendSparseHeader(nil, w.head, w.layout), w.table...), 0); err != nil {
		return err
	}
	return w.file.Sync()
}

// expand makes an ordinary segment of a sparse one that is the last of the log,
// so that it can be written to. That is so only where the log was copied up to
// its end: no node makes a segment sparse before the next has a committed entry.
func (l *Log) expand(s *segment) error {
	end := s.base + s.sparse.bytes
	if err := s.checkSparse(end); err != nil {
		return err
	}
	tmp := path.Join(l.dir, rewriteName)
	f, err := l.fs.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(appendSegmentHeader(nil, s.header), 0); err == nil {
		buf := make([]byte, scanBytes)
		for pos := s.base; pos < end && err == nil; {
			b := buf[:min(uint64(len(buf)), end-pos)]
			if err = s.readAt(b, pos); err == nil {
				_, err = f.WriteAt(b, s.offset(pos))
			}
			pos += uint64(len(b))
		}
	}
	if err == nil {
		_, err = f.WriteAt(appendTrailer(nil, end, end), s.offset(end))
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write %s out in full: %w", s.path, err)
	}
	if err := l.fs.Rename(tmp, s.path); err != nil {
		return err
	}
	return l.fs.SyncDir(l.dir)
}
