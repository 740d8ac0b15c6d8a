package importer

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"baton/gen/eventstore/streams"
)

// Digest sums up what a server holds of the copied streams, whatever the order
// of streams among each other: events by stream, revision, id, type, data and
// metadata, and each stream's last metadata document.
type Digest struct {
	Events uint64 // without those that fill gaps
	sum    [4]uint64
	last   map[string][32]byte // of metadata streams
}

// Sum is the digest as hexadecimal text.
func (d *Digest) Sum() string {
	total := d.sum
	for _, h := range d.last {
		add(&total, h)
	}
	var b []byte
	for _, n := range total {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return hex.EncodeToString(b)
}

func add(sum *[4]uint64, h [32]byte) {
	for i := range sum {
		sum[i] += binary.BigEndian.Uint64(h[8*i:])
	}
}

// take adds an event, as the source had it.
func (d *Digest) take(r record, include []string) {
	if !wanted(r.stream, include) || r.kind == gapType || strings.HasPrefix(r.stream, checkpointPrefix) {
		return
	}
	h := sha256.New()
	field := func(b []byte) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
		h.Write(b)
	}
	field([]byte(r.stream))
	field([]byte(r.kind))
	switch {
	case r.kind == tombstoneType:
	case isMeta(r.stream):
		document, _ := withoutGap(r.data)
		fields := fieldsOf(document)
		if len(fields) == 0 { // as good as none
			delete(d.last, r.stream)
			return
		}
		field(encoded(fields))
	default:
		metadata, _ := withCreated(r.metadata, r.created)
		field(withoutCreated(metadata))
		field(r.data)
		field(r.id[:])
		field(fmt.Appendf(nil, "%d %t", r.revision, r.json))
	}
	var sum [32]byte
	h.Sum(sum[:0])
	if isMeta(r.stream) {
		d.last[r.stream] = sum
		return
	}
	d.Events++
	add(&d.sum, sum)
}

// Verify reads both servers and sums up what they hold of the copied streams:
// the source up to the last checkpoint. The digests are equal if nothing is
// missing, more or different.
func Verify(ctx context.Context, o Options) (source, target *Digest, err error) {
	i, closeAll, err := open(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	defer closeAll()
	until, err := i.checkpoint(ctx)
	if err != nil {
		return nil, nil, err
	}
	if until == 0 {
		return nil, nil, fmt.Errorf("the target has no checkpoint of the import %q: import first, with the same --name", i.o.Name)
	}
	digest := func(c streams.StreamsClient, until uint64) (*Digest, error) {
		d := &Digest{last: map[string][32]byte{}}
		err := read(ctx, c, allFrom(0, false), func(r record) error {
			if r.position > until {
				return errEnd
			}
			d.take(r, o.Include)
			return nil
		})
		if errors.Is(err, errEnd) {
			err = nil
		}
		return d, err
	}
	if source, err = digest(i.source, until); err != nil {
		return nil, nil, fmt.Errorf("read the source: %w", explained(err))
	}
	if target, err = digest(i.target.client, 1<<63-1); err != nil {
		return nil, nil, fmt.Errorf("read the target: %w", explained(err))
	}
	return source, target, nil
}
