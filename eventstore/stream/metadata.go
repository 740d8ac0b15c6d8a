package stream

import "math"

// Metadata is the part of a stream's metadata document that this package and
// the reader act on. Zero means not set.
type Metadata struct {
	MaxCount       int64  // $maxCount: only the last so many events are readable; >= 1
	MaxAgeSeconds  int64  // $maxAge: older events are hidden at read time; >= 1
	TruncateBefore int64  // $tb: events below are hidden; math.MaxInt64 = soft-deleted
	CacheControl   int64  // $cacheControl in seconds, >= 1
	Raw            []byte // the whole JSON document
}

// SoftDeleted reports whether the metadata marks its stream as soft-deleted.
func (m *Metadata) SoftDeleted() bool { return m != nil && m.TruncateBefore == math.MaxInt64 }
