package log

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"baton/platform/vfs"
)

// Recovery has to tell a torn tail, which a crash leaves and which must be cut
// off, from damage to acknowledged frames, which must never be.
//
// What a crash can leave. Frames are written by one writer, one write at a
// time, each durable before the next begins; the area ahead of the write is
// zeros, durably, but for the trailer of the write before (24 bytes at the
// place where the new write begins). So after a crash all frames before the
// start S of the last write are intact, and of that write any subset of
// 512-byte sectors is there. The others hold what they held before: zeros, or
// at S the old trailer. In particular valid frames, and the new trailer, may
// stand after a missing sector.
//
// The decision. Let P be the position of the first bad frame. Evidence is a
// valid frame header or trailer after P (inside the data of a frame with a
// valid header does not count: that is user data). Checksums cover the
// position, and stale frames cannot be there (see invariants 1 and 3), so
// evidence was put there by a write at this place.
//
//	no evidence                              torn: nothing after P was finished
//	a trailer says: last write began after P damage: P was durable before that
//	a sector before the evidence, at or
//	after P, holds what it held before       torn: that sector is missing
//	otherwise                                damage: no crash leaves this
//
// Why a crash is never taken for damage: P is in the last write, so a trailer
// with a later start cannot exist; P is bad because one of its sectors is
// missing; evidence lies after the frame (or after the header, if that is what
// is missing) and so after the missing sector.
//
// Why damage is not taken for a torn tail: a damaged frame of an earlier write
// is caught by the trailer, whatever the damage. For one of the very last
// write, or if in addition the power failed during a later write, the missing
// sector is the only criterion: a flipped bit is damage, except in a frame that
// holds a whole aligned sector of zeros itself. Start and stop write a trailer
// that declares everything before it durable, which leaves that exception only
// for the last write before a crash.

// judge decides between a torn tail, which r.end then cuts off, and damage.
func (r *recovery) judge() error {
	start := r.startOffset()
	if r.used == start {
		return nil // zeros only
	}
	rest := make([]byte, r.used-start+trailerBytes) // a trailer may end in zeros
	if n, err := r.s.file.ReadAt(rest, start); err != nil && err != io.EOF {
		return fmt.Errorf("read %s: %w", r.s.path, err)
	} else if n < len(rest) {
		clear(rest[n:])
	}
	// A segment without a header begins with frames behind where that would be.
	skip := 0
	if !r.s.headed {
		skip = segmentHeaderBytes
	}
	if len(rest) < skip+trailerBytes {
		return nil
	}
	if _, ok := parseTrailer(rest[skip:], r.end); ok && r.s.headed {
		if r.used <= start+trailerBytes {
			return nil // the usual clean end
		}
		// The frames of a later write are behind the old trailer: its first
		// sector is missing. The search below sees them and the missing sector.
	}
	first, lastStart := r.evidence(rest, skip)
	if first < 0 {
		return nil
	}
	bad := "the frame after it is there"
	switch {
	case lastStart > r.end:
		bad = fmt.Sprintf("it was durable before the last write, which began at position %d", lastStart)
	case r.end < r.durableTo:
		bad = "it was durable before the next segment was begun"
	case r.missingSector(rest, start, first):
		return nil
	}
	what := "the frame"
	if !r.s.headed {
		what = "the segment's header"
	}
	return r.s.corrupt(r.end, what+" is not valid, and "+bad)
}

// evidence searches rest, whose byte skip is at position r.end, for valid frame
// headers and trailers behind the bad frame. first is the offset in rest of the
// first, -1 if there is none; lastStart is the latest start a trailer tells.
func (r *recovery) evidence(rest []byte, skip int) (first int, lastStart uint64) {
	first = -1
	at := skip + 1
	if !r.s.headed {
		at = skip // the frame itself was written together with the header
	} else if len(rest) >= skip+FrameHeaderBytes {
		if h, ok := parseHeader(rest[skip:], r.end); ok {
			at = skip + int(h.size())
		}
	}
	for at < len(rest) {
		pos := r.end + uint64(at-skip)
		b := rest[at:]
		if len(b) >= FrameHeaderBytes && b[FrameHeaderBytes-1] == frameMarker {
			if h, ok := parseHeader(b, pos); ok {
				if first < 0 {
					first = at
				}
				at += int(h.size())
				continue
			}
		}
		if len(b) >= trailerBytes && b[0] == trailerMagic[0] {
			if start, ok := parseTrailer(b, pos); ok {
				if first < 0 {
					first = at
				}
				lastStart = max(lastStart, start)
			}
		}
		at++
	}
	return first, lastStart
}

// missingSector reports whether one of the sectors wholly before rest[upTo]
// holds, from rest[0] on, what it held before the last write, if that began at
// rest[0] or before. start is the file offset of rest[0].
func (r *recovery) missingSector(rest []byte, start int64, upTo int) bool {
	for lo := 0; ; {
		sectorEnd := (start+int64(lo))/vfs.SectorBytes*vfs.SectorBytes + vfs.SectorBytes
		hi := int(sectorEnd - start)
		if hi > upTo {
			return false
		}
		if allZero(rest[lo:hi]) {
			return true
		}
		if lo < trailerBytes && r.s.headed && r.oldTrailer(rest, lo, hi) {
			return true
		}
		lo = hi
	}
}

// oldTrailer reports whether rest[lo:hi], one sector, may be (a part of) the
// trailer of the write before, which stood at r.end, and zeros.
func (r *recovery) oldTrailer(rest []byte, lo, hi int) bool {
	if !allZero(rest[min(trailerBytes, hi):hi]) {
		return false
	}
	if lo == 0 && hi >= trailerBytes {
		_, ok := parseTrailer(rest, r.end)
		return ok
	}
	if lo > 0 {
		return true // its second part, in a sector of its own
	}
	known := make([]byte, 0, trailerBytes)
	known = append(known, trailerMagic...)
	known = append(known, rest[4:8]...) // depends on where that write began
	known = binary.LittleEndian.AppendUint64(known, r.end)
	n := min(hi, len(known))
	return bytes.Equal(rest[:n], known[:n])
}

func allZero(b []byte) bool { return len(bytes.TrimRight(b, "\x00")) == 0 }
