package replica

import (
	"testing"

	"baton/eventstore/log"
	"baton/eventstore/stream"
)

// Goal: no append that a node accepts is one its log refuses: the leader, and
// then every next one, would stop.
func TestEveryRecordFitsAnEntry(t *testing.T) {
	t.Parallel()
	if stream.MaxRecordBytes > log.MaxDataBytes {
		t.Errorf("records may have %d bytes, entries %d", stream.MaxRecordBytes, log.MaxDataBytes)
	}
}
