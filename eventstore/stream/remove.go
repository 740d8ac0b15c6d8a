package stream

import "fmt"

// Removing an event keeps the record's size and head, and with them the position
// and the revision of everything in it, so that [Applier.Apply] comes to the
// same verdict on a record whose events are gone: it looks at stamps only. What
// the verdict leaves behind in a head, the metadata in force, is that of the last
// event of a metadata stream, and the last event of a stream is never removed.

// Gone judges one event: may it be removed?
type Gone func(r Record, e EventView) bool

// Removal is what [Remove] did to the data of one entry.
type Removal struct {
	Events int   // removed now
	Bytes  int64 // that became zeros
	// Left counts the events that are still there.
	Left int
}

// Remove takes the events for which gone says so out of data, the data of one
// normal log entry that stands at position base, in place: what is left of such
// an event is its size, its place and a flag; everything else becomes zeros.
// Checksums are renewed. Events removed before are not asked about. The error
// wraps ErrMalformed; data must then not be used.
func Remove(data []byte, base uint64, gone Gone) (Removal, error) {
	var sum Removal
	it := NewRecords(data, base)
	for it.Next() {
		r := it.Record()
		was := sum.Events
		evs := r.Events()
		for evs.Next() {
			e := evs.Event()
			if !gone(r, e) {
				sum.Left++
				continue
			}
			sum.Events++
			sum.Bytes += int64(len(e.b))
			e.remove()
		}
		if err := evs.Err(); err != nil {
			return sum, fmt.Errorf("remove events: %w", err)
		}
		if sum.Events > was {
			sealBody(r.b)
			sealHead(r.b)
		}
	}
	if err := it.Err(); err != nil {
		return sum, fmt.Errorf("remove events: %w", err)
	}
	return sum, nil
}

// Redact overwrites data and custom metadata of the event at position pos with
// zeros, in place, in the data of one normal log entry that stands at position
// base. Id, type, lengths, revision and position stay. found is false if no event
// that is still there begins at pos. The error wraps ErrMalformed.
func Redact(data []byte, base, pos uint64) (found bool, err error) {
	it := NewRecords(data, base)
	for it.Next() {
		r := it.Record()
		evs := r.Events()
		for evs.Next() {
			e := evs.Event()
			if r.Position(e) != pos {
				continue
			}
			clear(e.Data())
			clear(e.Metadata())
			e.b[offEventFlags] |= eventFlagRedacted
			sealBody(r.b)
			sealHead(r.b)
			return true, nil
		}
		if err := evs.Err(); err != nil {
			return false, fmt.Errorf("redact an event: %w", err)
		}
	}
	return false, it.Err()
}

// remove clears the event but for what the walk over events needs.
func (e EventView) remove() {
	size, ordinal, write := u32(e.b, offEventSize), u32(e.b, offEventOrdinal), u16(e.b, offEventWrite)
	clear(e.b)
	putU32(e.b, offEventSize, size)
	putU32(e.b, offEventOrdinal, ordinal)
	putU16(e.b, offEventWrite, write)
	e.b[offEventFlags] = eventFlagRemoved
}

// scavenged reports whether an event of the record was removed.
func (r Record) scavenged() bool {
	it := r.AllEvents()
	for it.Next() {
		if it.Event().Removed() {
			return true
		}
	}
	return false
}

// Removable reports whether the rules of the stream, h being its head, let a
// scavenge remove the event with a revision that was created at a time, as of
// another time, both in ticks. The last event of a stream is never removable: it
// carries the numbering on. It is the only one left of a soft-deleted stream and
// of a stream of metadata; of a tombstoned stream that is the tombstone.
func (h Head) Removable(revision, created, at int64) bool {
	if revision >= h.Last {
		return false
	}
	if h.Tombstoned || revision < h.Meta.FirstReadable(h.Last) {
		return true
	}
	if h.Meta == nil || h.Meta.MaxAgeSeconds <= 0 {
		return false
	}
	const ticks = 10_000_000 // in a second
	age := at - created
	return age > 0 && (age-1)/ticks >= h.Meta.MaxAgeSeconds
}
