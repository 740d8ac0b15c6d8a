package stream

import (
	"encoding/binary"
	"hash/crc32"
)

// The byte layout of a record; docs/formats.md draws it. All numbers are
// little-endian. Offsets of the record header:
const (
	offSize      = 0  // u32 bytes of the whole record
	offHeadCRC   = 4  // u32 CRC32C of bytes 8..headSize
	offBodyCRC   = 8  // u32 CRC32C of bytes headSize..size
	offFormat    = 12 // u8  recordFormat
	offKind      = 13 // u8  Kind
	offNumWrites = 14 // u16
	offNumChecks = 16 // u16
	offAdminKind = 18 // u16 kind of an administrative record
	offNumEvents = 20 // u32
	offHeadSize  = 24 // u32 offset of the first event
	offLastEvent = 28 // u32 offset of the client's last event, 0 without events
	offCreated   = 32 // i64 stamped, 100 ns ticks since the Unix epoch
	headerSize   = 40
)

// Offsets of one entry of the table of writes, which follows the header.
const (
	offWriteNext     = 0  // i64 stamped: last revision + 1
	offWriteMetaLast = 8  // i64 stamped: last revision of the metadata stream
	offWriteExpected = 16 // i64
	offWriteCount    = 24 // u32 events
	offWriteName     = 28 // u32 offset of the name from the record's start
	offWriteNameLen  = 32 // u16
	offWriteFlags    = 34 // u16
	writeSize        = 40 // 4 bytes reserved, zero
)

// Offsets of one entry of the table of checks, which follows the writes.
const (
	offCheckLast     = 0  // i64 stamped: last revision
	offCheckMetaLast = 8  // i64 stamped: last revision of the metadata stream
	offCheckExpected = 16 // i64
	offCheckName     = 24 // u32 offset of the name from the record's start
	offCheckNameLen  = 28 // u16
	checkSize        = 32 // 2 bytes reserved, zero
)

// Offsets of an event's header; its body follows.
const (
	offEventSize    = 0  // u32 bytes of header and body
	offEventOrdinal = 4  // u32 place among the events of its write, from 0
	offEventData    = 8  // u32 bytes of data, the end of the body
	offEventMeta    = 12 // u32 bytes of custom metadata
	offEventType    = 16 // u32 bytes of the type name
	offEventWrite   = 20 // u16 place in the table of writes
	offEventTypeOff = 22 // u8  offset of the type name in the body
	offEventFlags   = 23 // u8
	offEventID      = 24 // 16 bytes
	eventHeaderSize = 40
)

const (
	recordFormat = 1

	// flagSystemWrite marks a write that the leader added to a client's
	// command: the metadata that revives a soft-deleted stream.
	flagSystemWrite = 1

	eventFlagJSON = 1
	// eventFlagRemoved marks an event that a scavenge took out: of its header
	// the size, the ordinal and the write are left, everything else is zeros.
	eventFlagRemoved = 2
	// eventFlagRedacted marks an event whose data and metadata were overwritten
	// with zeros of the same length.
	eventFlagRedacted = 4

	// maxWrites bounds writes and checks of one command: the tables count in
	// 16 bits.
	maxWrites      = 1<<16 - 1
	maxRecordBytes = MaxRecordBytes
)

// MaxRecordBytes is the longest record: with headers, names and metadata that
// the leader adds it must fit one entry of the log, or the append would stop
// every node that tries to store it.
const MaxRecordBytes = 256 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

func u16(b []byte, off int) uint16 { return binary.LittleEndian.Uint16(b[off:]) }
func u32(b []byte, off int) uint32 { return binary.LittleEndian.Uint32(b[off:]) }
func i64(b []byte, off int) int64  { return int64(binary.LittleEndian.Uint64(b[off:])) }

func putU16(b []byte, off int, v uint16) { binary.LittleEndian.PutUint16(b[off:], v) }
func putU32(b []byte, off int, v uint32) { binary.LittleEndian.PutUint32(b[off:], v) }
func putI64(b []byte, off int, v int64)  { binary.LittleEndian.PutUint64(b[off:], uint64(v)) }

// sealHead writes the checksum of the head; call it after each change there.
func sealHead(rec []byte) {
	putU32(rec, offHeadCRC, checksum(rec[offBodyCRC:u32(rec, offHeadSize)]))
}

// sealBody writes the checksum of the events; the head must be sealed after.
func sealBody(rec []byte) {
	putU32(rec, offBodyCRC, checksum(rec[u32(rec, offHeadSize):]))
}
