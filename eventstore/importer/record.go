package importer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"baton/gen/eventstore/client"
	"baton/gen/eventstore/streams"
)

// Names that the event store gives a meaning.
const (
	metaPrefix    = "$$"
	metadataType  = "$metadata"
	tombstoneType = "$streamDeleted"
	// gapType is the type of events that stand for revisions the source no
	// longer has.
	gapType = "$importGap"
	// createdKey is the metadata property with the time an event was created at
	// the source, RFC 3339 in UTC.
	createdKey = "$originalCreated"
)

// record is one event as read.
type record struct {
	id       uuid.UUID
	stream   string
	revision int64
	position uint64
	created  time.Time
	kind     string // the event's type
	json     bool
	data     []byte
	metadata []byte
}

func recordOf(e *streams.ReadResp_ReadEvent_RecordedEvent) (record, error) {
	r := record{
		stream: string(e.GetStreamIdentifier().GetStreamName()), revision: int64(e.GetStreamRevision()), position: e.GetCommitPosition(),
		kind: e.GetMetadata()["type"], json: e.GetMetadata()["content-type"] == "application/json",
		data: e.GetData(), metadata: e.GetCustomMetadata(),
	}
	var ticks int64
	if _, err := fmt.Sscan(e.GetMetadata()["created"], &ticks); err != nil {
		return r, fmt.Errorf("event %d of %s has no time: %q", r.revision, r.stream, e.GetMetadata()["created"])
	}
	r.created = time.Unix(ticks/1e7, ticks%1e7*100).UTC()
	var err error
	r.id, err = idOf(e.GetId())
	if err != nil {
		return r, fmt.Errorf("event %d of %s: %w", r.revision, r.stream, err)
	}
	return r, nil
}

func idOf(u *client.UUID) (id uuid.UUID, err error) {
	if s := u.GetStructured(); s != nil {
		for i := range 8 {
			id[i] = byte(uint64(s.GetMostSignificantBits()) >> (56 - 8*i))
			id[8+i] = byte(uint64(s.GetLeastSignificantBits()) >> (56 - 8*i))
		}
		return id, nil
	}
	if id, err = uuid.Parse(u.GetString_()); err != nil {
		return id, fmt.Errorf("the event id %q is none", u.GetString_())
	}
	return id, nil
}

func wireID(id uuid.UUID) *client.UUID {
	var high, low uint64
	for i := range 8 {
		high = high<<8 | uint64(id[i])
		low = low<<8 | uint64(id[8+i])
	}
	return &client.UUID{Value: &client.UUID_Structured_{Structured: &client.UUID_Structured{MostSignificantBits: int64(high), LeastSignificantBits: int64(low)}}}
}

// wanted reports whether events of the stream are copied: those of clients, the
// metadata of these, and what a prefix includes. Other system streams belong to
// the server that wrote them: its users, statistics, projections.
func wanted(stream string, include []string) bool {
	name := strings.TrimPrefix(stream, metaPrefix)
	if !strings.HasPrefix(name, "$") {
		return true
	}
	return slices.ContainsFunc(include, func(p string) bool { return strings.HasPrefix(name, p) })
}

func isMeta(stream string) bool { return strings.HasPrefix(stream, metaPrefix) }

// withCreated adds the time of creation to metadata that is a JSON object, or
// none. kept is false where it cannot be added. An object that already has one,
// from an earlier import, keeps it.
func withCreated(metadata []byte, created time.Time) (out []byte, kept bool) {
	property := fmt.Sprintf("%q:%q", createdKey, created.Format(time.RFC3339Nano))
	rest, ok := insideObject(metadata)
	switch {
	case len(bytes.TrimSpace(metadata)) == 0:
		return []byte("{" + property + "}"), true
	case !ok:
		return metadata, false
	case bytes.Contains(metadata, []byte(`"`+createdKey+`"`)):
		return metadata, true
	case rest[0] == '}':
		return append([]byte("{"+property), rest...), true
	}
	return append([]byte("{"+property+","), rest...), true
}

// withoutCreated takes away what withCreated added.
func withoutCreated(metadata []byte) []byte {
	rest, ok := bytes.CutPrefix(metadata, []byte(`{"`+createdKey+`":"`))
	if !ok {
		return metadata
	}
	_, rest, ok = bytes.Cut(rest, []byte(`"`))
	if !ok {
		return metadata
	}
	rest = bytes.TrimPrefix(rest, []byte(","))
	return append([]byte("{"), rest...)
}

// insideObject returns what follows the opening brace of a JSON object, without
// the white space before it.
func insideObject(b []byte) ([]byte, bool) {
	if !json.Valid(b) {
		return nil, false
	}
	rest, ok := bytes.CutPrefix(bytes.TrimSpace(b), []byte("{"))
	return bytes.TrimSpace(rest), ok
}

// withGap sets in a stream's metadata document that the revisions before first
// are truncated, unless the document truncates more, and notes both.
func withGap(document []byte, first int64) []byte {
	fields := fieldsOf(document)
	before := number(fields["$tb"])
	fields["$tb"] = fmt.Append(nil, max(before, first))
	fields[gapType] = fmt.Appendf(nil, "[%d,%d]", first, before)
	return encoded(fields)
}

// withoutGap takes away what withGap added; first is 0 if it added nothing.
func withoutGap(document []byte) (original []byte, first int64) {
	fields := fieldsOf(document)
	var gap [2]int64
	if json.Unmarshal(fields[gapType], &gap) != nil {
		return document, 0
	}
	delete(fields, gapType)
	delete(fields, "$tb")
	if gap[1] > 0 {
		fields["$tb"] = fmt.Append(nil, gap[1])
	}
	return encoded(fields), gap[0]
}

// fieldsOf reads a metadata document; one that is no object counts as empty.
func fieldsOf(document []byte) map[string]json.RawMessage {
	fields := map[string]json.RawMessage{}
	if json.Unmarshal(document, &fields) != nil {
		return map[string]json.RawMessage{}
	}
	return fields
}

func encoded(fields map[string]json.RawMessage) []byte {
	b, err := json.Marshal(fields)
	if err != nil {
		return []byte("{}") // cannot be: every part was valid
	}
	return b
}

func number(b json.RawMessage) (n int64) {
	if json.Unmarshal(b, &n) != nil {
		return 0
	}
	return n
}
