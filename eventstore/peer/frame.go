package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

const (
	frameHello   = 1
	frameWelcome = 2
	frameRaft    = 3
	frameStatus  = 4
	frameRequest = 5
	frameAnswer  = 6

	frameHeaderBytes = 12
	// maxHelloBytes bounds a frame from somebody not known yet.
	maxHelloBytes = 64 << 10
	// maxFrameBytes bounds every other frame: the largest append there is
	// (256 MiB by default) and room for what surrounds it.
	maxFrameBytes = 320 << 20
)

// ErrMalformed: bytes that are no frame.
var ErrMalformed = errors.New("malformed frame")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// beginFrame appends a header to be completed by endFrame.
func beginFrame(dst []byte, frameType byte) (out []byte, start int) {
	return append(dst, 0, 0, 0, 0, frameType, 0, 0, 0, 0, 0, 0, 0), len(dst)
}

// endFrame completes the frame that begins at start and ends with dst.
func endFrame(dst []byte, start int) []byte {
	frame := dst[start:]
	binary.LittleEndian.PutUint32(frame, uint32(len(frame)-frameHeaderBytes))
	sum := crc32.Update(crc32.Checksum(frame[:8], castagnoli), castagnoli, frame[frameHeaderBytes:])
	binary.LittleEndian.PutUint32(frame[8:], sum)
	return dst
}

func appendFrame(dst []byte, frameType byte, payload []byte) []byte {
	dst, start := beginFrame(dst, frameType)
	return endFrame(append(dst, payload...), start)
}

// frameReader reads frames; a payload is valid until the next read.
type frameReader struct {
	r      io.Reader
	header [frameHeaderBytes]byte
	buffer []byte
	limit  uint32
}

// keepBytes is the largest buffer kept from frame to frame.
const keepBytes = 4 << 20

// growBytes is how much memory is taken ahead of bytes that have not arrived.
const growBytes = 1 << 20

func (f *frameReader) next() (frameType byte, payload []byte, err error) {
	if _, err := io.ReadFull(f.r, f.header[:]); err != nil {
		return 0, nil, err
	}
	length := binary.LittleEndian.Uint32(f.header[:4])
	frameType = f.header[4]
	if f.header[5] != 0 || f.header[6] != 0 || f.header[7] != 0 || frameType < frameHello || frameType > frameAnswer {
		return 0, nil, fmt.Errorf("%w: header % x", ErrMalformed, f.header[:8])
	}
	if length > f.limit {
		return 0, nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrMalformed, length, f.limit)
	}
	if err := f.fill(int(length)); err != nil {
		return 0, nil, err
	}
	sum := crc32.Update(crc32.Checksum(f.header[:8], castagnoli), castagnoli, f.buffer)
	if sum != binary.LittleEndian.Uint32(f.header[8:]) {
		return 0, nil, fmt.Errorf("%w: checksum does not match", ErrMalformed)
	}
	return frameType, f.buffer, nil
}

// fill reads length bytes, taking memory as they come: a header alone, true or
// false, must not make the node allocate hundreds of megabytes.
func (f *frameReader) fill(length int) error {
	if cap(f.buffer) > keepBytes && length <= keepBytes {
		f.buffer = nil
	}
	f.buffer = f.buffer[:0]
	for len(f.buffer) < length {
		from := len(f.buffer)
		to := min(length, max(cap(f.buffer), from+growBytes))
		if to > cap(f.buffer) {
			grown := make([]byte, from, max(to, min(length, 2*cap(f.buffer))))
			copy(grown, f.buffer)
			f.buffer = grown
		}
		f.buffer = f.buffer[:to]
		if _, err := io.ReadFull(f.r, f.buffer[from:to]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}
