package log

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"go.etcd.io/raft/v3/raftpb"
)

// A frame, all integers little-endian:
//
//	 0  u32  header checksum: CRC32C over the frame's position (u64), then bytes 4..40
//	 4  u32  data checksum: CRC32C over the data
//	 8  u64  term
//	16  u64  index
//	24  u32  data length
//	28  u32  size of the previous frame, header and data; 0 for the first frame of the log
//	32  u8   entry type as in raftpb
//	33  6 x  zero
//	39  u8   0xB5
//	40  data
//
// The position in the header checksum makes a frame valid at one place of the
// log only: stale bytes, a write that went to the wrong place and a frame's
// image inside somebody's event do not pass for a frame. The last byte keeps a
// header from ending in zeros.
const (
	// FrameHeaderBytes is the fixed size of a frame's header; the entry's data
	// of a frame at position p starts at p+FrameHeaderBytes.
	FrameHeaderBytes = 40

	// MaxDataBytes is the longest data of one entry.
	MaxDataBytes = 256 << 20

	frameMarker = 0xB5
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frameHeader is a decoded frame header.
type frameHeader struct {
	term     uint64
	index    uint64
	dataCRC  uint32
	dataLen  uint32
	prevSize uint32
	typ      raftpb.EntryType
}

func (h *frameHeader) size() uint64 { return FrameHeaderBytes + uint64(h.dataLen) }

// headerSum is the header checksum of the header bytes b at position pos.
func headerSum(b []byte, pos uint64) uint32 {
	// The checksum of the position's eight bytes by table: a slice of them for
	// crc32.Update would be an allocation for each frame.
	sum := ^uint32(0)
	for range 8 {
		sum = castagnoli[byte(sum)^byte(pos)] ^ sum>>8
		pos >>= 8
	}
	return crc32.Update(^sum, castagnoli, b[4:FrameHeaderBytes])
}

// appendFrame appends the frame of an entry at position pos.
func appendFrame(b []byte, pos, term, index uint64, typ raftpb.EntryType, prevSize uint32, data []byte) []byte {
	start := len(b)
	b = append(b, make([]byte, FrameHeaderBytes)...)
	h := b[start:]
	binary.LittleEndian.PutUint32(h[4:], crc32.Checksum(data, castagnoli))
	binary.LittleEndian.PutUint64(h[8:], term)
	binary.LittleEndian.PutUint64(h[16:], index)
	binary.LittleEndian.PutUint32(h[24:], uint32(len(data)))
	binary.LittleEndian.PutUint32(h[28:], prevSize)
	h[32] = byte(typ)
	h[39] = frameMarker
	binary.LittleEndian.PutUint32(h, headerSum(h, pos))
	return append(b, data...)
}

// parseHeader decodes the header in b, which must hold FrameHeaderBytes, of a
// frame at pos. ok is false if it is not a valid header of a frame there.
func parseHeader(b []byte, pos uint64) (h frameHeader, ok bool) {
	_ = b[FrameHeaderBytes-1]
	if b[39] != frameMarker || binary.LittleEndian.Uint32(b) != headerSum(b, pos) {
		return h, false
	}
	h = frameHeader{
		dataCRC:  binary.LittleEndian.Uint32(b[4:]),
		term:     binary.LittleEndian.Uint64(b[8:]),
		index:    binary.LittleEndian.Uint64(b[16:]),
		dataLen:  binary.LittleEndian.Uint32(b[24:]),
		prevSize: binary.LittleEndian.Uint32(b[28:]),
		typ:      raftpb.EntryType(b[32]),
	}
	return h, h.dataLen <= MaxDataBytes && h.index > 0
}

// DecodeFrame decodes the frame that starts b and stands at position pos of
// its log, verifying both checksums. Frame.Data aliases b. It is for frames
// that came from elsewhere: another node, a lost-writes file.
func DecodeFrame(b []byte, pos uint64) (Frame, error) {
	if len(b) < FrameHeaderBytes {
		return Frame{}, fmt.Errorf("decode frame at %d: %d bytes are less than a header", pos, len(b))
	}
	h, ok := parseHeader(b, pos)
	if !ok {
		return Frame{}, fmt.Errorf("decode frame at %d: header checksum is wrong", pos)
	}
	if uint64(len(b)) < h.size() {
		return Frame{}, fmt.Errorf("decode frame at %d: %d of %d bytes", pos, len(b), h.size())
	}
	data := b[FrameHeaderBytes:h.size():h.size()]
	if crc32.Checksum(data, castagnoli) != h.dataCRC {
		return Frame{}, fmt.Errorf("decode frame at %d: data checksum is wrong", pos)
	}
	return h.frame(pos, data), nil
}

func (h *frameHeader) frame(pos uint64, data []byte) Frame {
	if len(data) == 0 {
		data = nil
	}
	return Frame{Pos: pos, Index: h.index, Term: h.term, Type: h.typ, Data: data, Size: h.size()}
}

// A trailer stands right after the last frame of the segment being written.
// Each write of frames ends in one and overwrites the one before, so it costs
// no write of its own, and a closed segment has none: the bytes of closed
// segments depend on the entries only.
//
//	 0  u32  "BTNe"
//	 4  u32  CRC32C over bytes 8..24
//	 8  u64  end: the position the trailer stands at
//	16  u64  start: the position of the first frame of that write
//
// It tells recovery where the last write began: everything before start was
// durable before that write was issued. start == end means that all frames
// were durable when the trailer was written. See torn.go.
const (
	trailerBytes = 24
	trailerMagic = "BTNe"
)

func appendTrailer(b []byte, start, end uint64) []byte {
	at := len(b)
	b = append(b, trailerMagic...)
	b = append(b, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, end)
	b = binary.LittleEndian.AppendUint64(b, start)
	binary.LittleEndian.PutUint32(b[at+4:], crc32.Checksum(b[at+8:], castagnoli))
	return b
}

// parseTrailer decodes the trailer in b, which must hold trailerBytes, at pos.
func parseTrailer(b []byte, pos uint64) (start uint64, ok bool) {
	_ = b[trailerBytes-1]
	if string(b[:4]) != trailerMagic ||
		binary.LittleEndian.Uint32(b[4:]) != crc32.Checksum(b[8:trailerBytes], castagnoli) ||
		binary.LittleEndian.Uint64(b[8:]) != pos {
		return 0, false
	}
	start = binary.LittleEndian.Uint64(b[16:])
	return start, start <= pos
}

// A segment file begins with a header, written together with its first frame:
//
//	 0  8 x  "BTNSEG1\n"
//	 8  u32  CRC32C over bytes 12..64
//	12  u32  size of the frame before the segment, 0 for the first segment
//	16  u64  base: position of the first frame
//	24  u64  index of the first frame
//	32  u64  term of the frame before the segment, 0 for the first segment
//	40  24 x zero
//	64  frames
const (
	segmentHeaderBytes = 64
	segmentMagic       = "BTNSEG1\n"
)

type segmentHeader struct {
	base       uint64
	firstIndex uint64
	prevTerm   uint64
	prevSize   uint32
}

func appendSegmentHeader(b []byte, h segmentHeader) []byte {
	at := len(b)
	b = append(b, make([]byte, segmentHeaderBytes)...)
	p := b[at:]
	copy(p, segmentMagic)
	binary.LittleEndian.PutUint32(p[12:], h.prevSize)
	binary.LittleEndian.PutUint64(p[16:], h.base)
	binary.LittleEndian.PutUint64(p[24:], h.firstIndex)
	binary.LittleEndian.PutUint64(p[32:], h.prevTerm)
	binary.LittleEndian.PutUint32(p[8:], crc32.Checksum(p[12:], castagnoli))
	return b
}

// parseSegmentHeader decodes b, which must hold segmentHeaderBytes.
func parseSegmentHeader(b []byte) (h segmentHeader, ok bool) {
	b = b[:segmentHeaderBytes]
	if string(b[:8]) != segmentMagic || binary.LittleEndian.Uint32(b[8:]) != crc32.Checksum(b[12:], castagnoli) {
		return h, false
	}
	h = segmentHeader{
		prevSize:   binary.LittleEndian.Uint32(b[12:]),
		base:       binary.LittleEndian.Uint64(b[16:]),
		firstIndex: binary.LittleEndian.Uint64(b[24:]),
		prevTerm:   binary.LittleEndian.Uint64(b[32:]),
	}
	return h, h.firstIndex > 0
}
