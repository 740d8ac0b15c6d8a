package replica

import (
	"errors"
	"fmt"
	"io"

	"baton/eventstore/log"
	"baton/eventstore/stream"
)

// rememberBytes bounds how much of the log is read at a start to learn recent
// event ids again.
const rememberBytes = 256 << 20

// remember shows the sequencer the newest applied records of the log, oldest
// first, up to about ids events. What is applied after the start it learns as it
// comes; without this a repeat of an append from before a restart would be
// stored a second time.
func remember(seq *stream.Sequencer, s *Storage, m *Machine, ids int) error {
	if ids == 0 {
		ids = stream.DefaultRecentIDs
	}
	from, events := m.position, 0
	for from > 0 && events < ids && m.position-from < rememberBytes {
		frame, err := s.Log.PrevFrame(from)
		if err != nil {
			return fmt.Errorf("read the log before position %d: %w", from, err)
		}
		from = frame.Pos
		if isConfType(frame.Type) {
			continue
		}
		records := stream.NewRecords(frame.Data, frame.Pos+log.FrameHeaderBytes)
		for records.Next() {
			if records.Record().Kind() != stream.KindAdmin {
				events += records.Record().NumEvents()
			}
		}
	}
	scanner := s.Log.Scan(from)
	for {
		frame, err := scanner.Next()
		if errors.Is(err, io.EOF) || err == nil && frame.Pos >= m.position {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		if isConfType(frame.Type) {
			continue
		}
		records := stream.NewRecords(frame.Data, frame.Pos+log.FrameHeaderBytes)
		for records.Next() {
			if r := records.Record(); r.Kind() != stream.KindAdmin && !m.mark.Rejected(r.Pos()) {
				seq.Applied(0, r, stream.Outcome{Kind: stream.Done})
			}
		}
		if err := records.Err(); err != nil {
			return fmt.Errorf("read the record at %d: %w", frame.Pos, err)
		}
	}
}
