package reader

import (
	"errors"

	"baton/eventstore/stream"
)

// ErrForbidden ends a subscription to a stream that its reader may not read any
// more.
var ErrForbidden = errors.New("the stream may not be read any more")

// Allow says whether a reader may see an event that stands in a stream at a
// revision. It is asked for every event of all streams, for the targets of links,
// and by subscriptions to one stream with revision 0 whenever they wake. An event
// it refuses is passed over like one that a filter does not match; a link to it is
// handed out as one whose target cannot be read. nil allows everything. It is
// called from the goroutine of the read.
type Allow func(stream string, revision int64) bool

// Head is the applied head of a stream on this node: of a metadata stream its own
// part of the head of the stream it describes. It costs a look into memory for
// streams used lately. Errors are those of the disk.
func (r *Reader) Head(name string) (stream.Head, error) { return r.heads.Head(name) }

// Watch returns a channel that holds a value after each change of the stream, or
// of its metadata, since the last receive. stop ends it.
func (r *Reader) Watch(name string) (changed <-chan struct{}, stop func()) {
	return r.heads.Watch(name)
}
