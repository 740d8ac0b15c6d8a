// Package rdb reads through a dump as Redis writes it (RDB, versions 1 to 12
// and compatible servers') without keeping any of it: it counts the keys of each
// database, finds what the dump says of itself, and checks its checksum. It
// does not look into values.
//
// The format has no index, so everything is read once; memory is bounded
// by the read buffer.
package rdb

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"strconv"
)

// Errors of Scan.
var (
	// ErrNotDump: it does not begin as a dump.
	ErrNotDump = errors.New("this is not a dump of Redis")
	// ErrTruncated: the dump ends too early.
	ErrTruncated = errors.New("the dump ends too early")
	// ErrChecksum: the dump's own checksum does not fit.
	ErrChecksum = errors.New("the checksum of the dump does not fit")
	// ErrUnknown: the dump holds something this version cannot pass over, so
	// nothing can be counted. It may be a good dump.
	ErrUnknown = errors.New("the dump holds a kind of value this version does not know")
)

// Summary is what a dump holds.
type Summary struct {
	Version int // of the format
	// Aux is what the dump says of itself: "redis-ver", "ctime" (Unix seconds),
	// "used-mem" (bytes), "repl-id", "repl-offset" and others.
	Aux map[string]string
	// Keys and Expires are the keys, and those of them with an expiry, in each
	// database that has any.
	Keys, Expires map[int]int64
	Functions     int64
	Bytes         int64
	// Checked tells that the dump carries a checksum and that it fits.
	Checked bool
}

const (
	opFunction   = 245
	opModuleAux  = 247
	opIdle       = 248
	opFreq       = 249
	opAux        = 250
	opResize     = 251
	opExpireMs   = 252
	opExpire     = 253
	opSelect     = 254
	opEnd        = 255
	opSlotInfo   = 244
	maxAuxBytes  = 64 << 10 // of an aux value that is kept
	bufferBytes  = 256 << 10
	checksumFrom = 5 // first version that ends with a checksum
)

// table is the CRC-64 of Jones, as Redis uses it: begins with 0, no inversion.
var table = crc64.MakeTable(0x95ac9329ac4bc9b5)

type scanner struct {
	in  *bufio.Reader
	crc uint64
	n   int64
	tmp [16]byte
}

// Scan reads a dump to its end. The summary is complete only without an error.
func Scan(in io.Reader) (Summary, error) {
	s := &scanner{in: bufio.NewReaderSize(in, bufferBytes)}
	sum := Summary{Aux: map[string]string{}, Keys: map[int]int64{}, Expires: map[int]int64{}}
	err := s.scan(&sum)
	sum.Bytes = s.n
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = ErrTruncated
	}
	if err != nil {
		return sum, fmt.Errorf("dump at byte %d: %w", s.n, err)
	}
	return sum, nil
}

func (s *scanner) scan(sum *Summary) error {
	head, err := s.bytes(9)
	if err != nil {
		return err
	}
	if string(head[:5]) != "REDIS" {
		return ErrNotDump
	}
	if sum.Version, err = strconv.Atoi(string(head[5:])); err != nil || sum.Version < 1 {
		return ErrNotDump
	}
	db, expires := 0, false
	for {
		op, err := s.byte()
		if err != nil {
			return err
		}
		switch op {
		case opEnd:
			return s.end(sum)
		case opSelect:
			n, err := s.length()
			if err != nil {
				return err
			}
			db = int(n)
		case opExpireMs:
			expires, err = true, s.skip(8)
		case opExpire:
			expires, err = true, s.skip(4)
		case opIdle:
			_, err = s.length()
		case opFreq:
			err = s.skip(1)
		case opResize:
			err = s.lengths(2)
		case opSlotInfo:
			err = s.lengths(3)
		case opAux:
			err = s.aux(sum)
		case opFunction:
			sum.Functions++
			err = s.str()
		case opModuleAux:
			if err = s.lengths(3); err == nil { // module, opcode, when
				err = s.module()
			}
		default:
			if err = s.str(); err == nil { // the key
				err = s.value(op)
			}
			if err == nil {
				sum.Keys[db]++
				if expires {
					sum.Expires[db]++
				}
				expires = false
			}
		}
		if err != nil {
			return err
		}
	}
}

// end reads the checksum and demands that nothing follows.
func (s *scanner) end(sum *Summary) error {
	want := s.crc
	if sum.Version >= checksumFrom {
		b, err := s.bytes(8)
		if err != nil {
			return err
		}
		got := binary.LittleEndian.Uint64(b)
		if got != 0 && got != want { // 0: the server was told not to compute it
			return ErrChecksum
		}
		sum.Checked = got != 0
	}
	if _, err := s.in.ReadByte(); err != io.EOF {
		if err == nil {
			err = errors.New("something follows its end")
		}
		return err
	}
	return nil
}

func (s *scanner) aux(sum *Summary) error {
	key, err := s.text()
	if err != nil {
		return err
	}
	value, err := s.text()
	if err != nil {
		return err
	}
	sum.Aux[key] = value
	return nil
}

func (s *scanner) take(b []byte) {
	s.crc = ^crc64.Update(^s.crc, table, b)
	s.n += int64(len(b))
}

func (s *scanner) byte() (byte, error) {
	b, err := s.bytes(1)
	if err != nil {
		return 0, err
	}
	return b[0], nil
}

// bytes returns the next n <= 16 bytes, valid until the next call.
func (s *scanner) bytes(n int) ([]byte, error) {
	b := s.tmp[:n]
	if _, err := io.ReadFull(s.in, b); err != nil {
		return nil, err
	}
	s.take(b)
	return b, nil
}

func (s *scanner) skip(n uint64) error {
	for n > 0 {
		if s.in.Buffered() == 0 {
			if _, err := s.in.Peek(1); err != nil {
				return err
			}
		}
		step := min(n, uint64(s.in.Buffered()))
		b, err := s.in.Peek(int(step))
		if err != nil {
			return err
		}
		s.take(b)
		if _, err := s.in.Discard(int(step)); err != nil {
			return err
		}
		n -= step
	}
	return nil
}

// encoded reads a length; special is set when it is an encoding of a string
// instead.
func (s *scanner) encoded() (n uint64, special bool, err error) {
	b, err := s.byte()
	if err != nil {
		return 0, false, err
	}
	switch b >> 6 {
	case 0:
		return uint64(b & 0x3f), false, nil
	case 1:
		low, err := s.byte()
		return uint64(b&0x3f)<<8 | uint64(low), false, err
	case 3:
		return uint64(b & 0x3f), true, nil
	}
	switch b {
	case 0x80:
		v, err := s.bytes(4)
		if err != nil {
			return 0, false, err
		}
		return uint64(binary.BigEndian.Uint32(v)), false, nil
	case 0x81:
		v, err := s.bytes(8)
		if err != nil {
			return 0, false, err
		}
		return binary.BigEndian.Uint64(v), false, nil
	}
	return 0, false, fmt.Errorf("length of kind %#x: %w", b, ErrUnknown)
}

func (s *scanner) length() (uint64, error) {
	n, special, err := s.encoded()
	if err == nil && special {
		err = fmt.Errorf("a string where a number belongs: %w", ErrUnknown)
	}
	return n, err
}

func (s *scanner) lengths(n int) error {
	for range n {
		if _, err := s.length(); err != nil {
			return err
		}
	}
	return nil
}

// integers are the bytes of the integer encodings of a string.
var integers = [...]uint64{1, 2, 4}

// str passes over a string in any encoding.
func (s *scanner) str() error {
	n, special, err := s.encoded()
	switch {
	case err != nil:
		return err
	case !special:
		return s.skip(n)
	case n < uint64(len(integers)):
		return s.skip(integers[n])
	case n == 3: // compressed: its length, the length of the text, the bytes
		packed, err := s.length()
		if err != nil {
			return err
		}
		if _, err := s.length(); err != nil {
			return err
		}
		return s.skip(packed)
	}
	return fmt.Errorf("string encoding %d: %w", n, ErrUnknown)
}

func (s *scanner) strs(n uint64) error {
	for ; n > 0; n-- {
		if err := s.str(); err != nil {
			return err
		}
	}
	return nil
}

// text is a short string or number; a longer or compressed one is passed over
// and comes as "".
func (s *scanner) text() (string, error) {
	n, special, err := s.encoded()
	switch {
	case err != nil:
		return "", err
	case special && n < uint64(len(integers)):
		b, err := s.bytes(int(integers[n]))
		if err != nil {
			return "", err
		}
		switch len(b) {
		case 1:
			return strconv.Itoa(int(int8(b[0]))), nil
		case 2:
			return strconv.Itoa(int(int16(binary.LittleEndian.Uint16(b)))), nil
		}
		return strconv.Itoa(int(int32(binary.LittleEndian.Uint32(b)))), nil
	case special && n == 3:
		packed, err := s.length()
		if err != nil {
			return "", err
		}
		if _, err := s.length(); err != nil {
			return "", err
		}
		return "", s.skip(packed)
	case special:
		return "", fmt.Errorf("string encoding %d: %w", n, ErrUnknown)
	case n > maxAuxBytes:
		return "", s.skip(n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(s.in, b); err != nil {
		return "", err
	}
	s.take(b)
	return string(b), nil
}
