package stream

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// withRevivals returns the command's record, and if it touches a soft-deleted
// stream a bigger copy that revives the stream in the same breath: one more
// write to the metadata stream, where $tb is the first new revision.
func (s *Sequencer) withRevivals(c *Command) (Record, error) {
	var extra []revival
	for i, name := range c.names {
		base := OriginalOf(name)
		h, err := s.Head(base)
		if err != nil {
			return Record{}, err
		}
		if !h.SoftDeleted() {
			continue
		}
		raw := h.Meta.Raw
		at := -1
		for k := range extra {
			if extra[k].stream == base {
				at = k
			}
		}
		if IsMetaStream(name) && c.rec.Write(i).Count > 0 {
			// The new document is the one to mend.
			if raw = nil; c.docs[i] != nil {
				raw = c.docs[i].Raw
			}
		} else if at >= 0 {
			continue
		}
		r := revival{base, revivedDocument(raw, h.Last+1)}
		if at >= 0 {
			extra[at] = r
		} else {
			extra = append(extra, r)
		}
	}
	if len(extra) == 0 {
		return c.rec, nil
	}
	return c.extended(extra)
}

type revival struct {
	stream string
	doc    []byte
}

// extended encodes the command's record again with system writes added.
func (c *Command) extended(extra []revival) (Record, error) {
	r := c.rec
	nw, nc := r.NumWrites(), r.NumChecks()
	enc := encoder{b: make([]byte, headerSize+(nw+len(extra))*writeSize+nc*checkSize, len(r.b)+len(extra)*256)}
	if nw+len(extra) > maxWrites {
		return Record{}, malformed("%d writes", nw+len(extra))
	}
	enc.tables(nw+len(extra), nc)
	for i := range nw {
		w := r.Write(i)
		enc.write(i, c.names[i], w.Expected, w.Count, 0)
	}
	for i, x := range extra {
		enc.write(nw+i, MetaStream(x.stream), Any, 1, flagSystemWrite)
	}
	for i := range nc {
		enc.check(i, Check{c.checks[i], r.Check(i).Expected})
	}
	enc.endHead()
	moved := uint32(len(enc.b)) - u32(r.b, offHeadSize)
	enc.b = append(enc.b, r.b[u32(r.b, offHeadSize):]...)
	last := u32(r.b, offLastEvent)
	if last != 0 {
		last += moved
	}
	putU32(enc.b, offNumEvents, uint32(r.NumEvents()))
	for i, x := range extra {
		var seed [8]byte
		binary.LittleEndian.PutUint64(seed[:], xxhash.Sum64String(x.stream))
		id := derivedID(append(seed[:], x.doc...))
		enc.event(&Event{ID: id, Type: MetadataType, JSON: true, Data: x.doc}, nw+i, 0)
	}
	putU32(enc.b, offLastEvent, last)
	out, err := seal(enc.b, r.Kind())
	if err != nil {
		return Record{}, err
	}
	return out.rec, nil
}
