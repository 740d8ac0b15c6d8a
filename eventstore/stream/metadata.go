package stream

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
)

// Metadata is the part of a stream's metadata document that the store acts on.
// Zero means not set; zero, negative and non-integer values in the document
// count as not set. A nil *Metadata is one without any key.
type Metadata struct {
	MaxCount       int64  // $maxCount: only the last so many events are readable
	MaxAgeSeconds  int64  // $maxAge: older events are hidden at read time
	TruncateBefore int64  // $tb: events below are hidden; math.MaxInt64 = soft-deleted
	CacheControl   int64  // $cacheControl in seconds
	ACL            *ACL   // $acl; nil = not set
	Raw            []byte // the whole JSON document
}

// metaOfMeta is the metadata of every metadata stream: only the last event of
// it counts.
var metaOfMeta = &Metadata{MaxCount: 1}

// SoftDeleted reports whether the document marks its stream as soft-deleted.
func (m *Metadata) SoftDeleted() bool { return m != nil && m.TruncateBefore == math.MaxInt64 }

// FirstReadable is the lowest revision that $tb and $maxCount leave readable in
// a stream whose last revision is last.
func (m *Metadata) FirstReadable(last int64) int64 {
	if m == nil {
		return 0
	}
	first := m.TruncateBefore
	if m.MaxCount > 0 && last-m.MaxCount+1 > first {
		first = last - m.MaxCount + 1
	}
	return first
}

// ParseMetadata reads the metadata that an event of a metadata stream sets. An
// event of another type, without the JSON flag or with a document that is not a
// JSON object sets no metadata: the result is nil.
func ParseMetadata(typ []byte, isJSON bool, data []byte) *Metadata {
	if string(typ) != MetadataType || !isJSON {
		return nil
	}
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(data, &doc); err != nil || doc == nil {
		return nil
	}
	return &Metadata{
		MaxCount:       positive(doc["$maxCount"]),
		MaxAgeSeconds:  positive(doc["$maxAge"]),
		TruncateBefore: positive(doc["$tb"]),
		CacheControl:   positive(doc["$cacheControl"]),
		ACL:            ParseACL(doc["$acl"]),
		Raw:            bytes.Clone(data),
	}
}

func positive(raw json.RawMessage) int64 {
	n, err := strconv.ParseInt(string(bytes.TrimSpace(raw)), 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// softDeleteDocument is the metadata that a soft delete writes: every other key
// is lost.
const softDeleteDocument = `{"$tb":9223372036854775807}`

// revivedDocument is raw with $tb set to first; other keys are kept.
func revivedDocument(raw []byte, first int64) []byte {
	doc := map[string]json.RawMessage{}
	if err := json.Unmarshal(raw, &doc); err != nil || doc == nil {
		doc = map[string]json.RawMessage{}
	}
	doc["$tb"] = strconv.AppendInt(nil, first, 10)
	out, err := json.Marshal(doc)
	if err != nil { // every value was valid JSON when it was read
		panic("revive metadata: " + err.Error())
	}
	return out
}
