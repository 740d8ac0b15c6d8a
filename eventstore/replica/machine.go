package replica

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"

	"go.etcd.io/raft/v3/raftpb"

	"baton/eventstore/index"
	"baton/eventstore/log"
	"baton/eventstore/membership"
	"baton/eventstore/stream"
)

// RosterRecord is the kind of an administrative record that carries an encoded
// membership.Change.
const RosterRecord uint8 = 1

// checkpointBytes is how much log is applied between two checkpoints of the
// index at most; it bounds what a restart replays.
const checkpointBytes = 128 << 20

// Machine is the applied state: index, heads, roster, watermark. One goroutine
// applies; Roster and the watermark may be read from any.
type Machine struct {
	storage *Storage
	index   index.Index
	heads   *index.Heads
	applier stream.Applier
	mark    *Watermark
	logger  *slog.Logger

	applied    uint64
	position   uint64 // end of the last applied frame
	checkpoint uint64 // position at the last checkpoint
	conf       *raftpb.ConfState
	rejected   []uint64 // log positions of refused records, ascending
	roster     atomic.Pointer[membership.Roster]
	changed    atomic.Uint64 // counts roster and configuration changes
	confView   atomic.Pointer[raftpb.ConfState]

	rows  []index.Row
	names stream.Interner
}

// checkpoint is the meta stored with the index, as JSON.
type checkpoint struct {
	Applied  uint64            `json:"applied"`
	Position uint64            `json:"position"`
	Conf     checkpointConf    `json:"conf"`
	Roster   membership.Roster `json:"roster"`
	Rejected []uint64          `json:"rejected,omitempty"`
}

type checkpointConf struct {
	Voters         []uint64 `json:"voters"`
	Learners       []uint64 `json:"learners"`
	VotersOutgoing []uint64 `json:"votersOutgoing,omitempty"`
	LearnersNext   []uint64 `json:"learnersNext,omitempty"`
	AutoLeave      bool     `json:"autoLeave,omitempty"`
}

// NewMachine resumes from the index's last checkpoint.
func NewMachine(storage *Storage, ix index.Index, heads *index.Heads, logger *slog.Logger) (*Machine, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	m := &Machine{storage: storage, index: ix, heads: heads, logger: logger, conf: confStateCopy(nil)}
	meta, err := ix.Meta()
	if err != nil {
		return nil, fmt.Errorf("read the index's checkpoint: %w", err)
	}
	var saved checkpoint
	if len(meta) > 0 {
		if err := json.Unmarshal(meta, &saved); err != nil {
			return nil, fmt.Errorf("read the index's checkpoint: %w", err)
		}
		m.applied, m.position, m.checkpoint, m.rejected = saved.Applied, saved.Position, saved.Position, saved.Rejected
		autoLeave := saved.Conf.AutoLeave
		m.conf = &raftpb.ConfState{
			Voters: saved.Conf.Voters, Learners: saved.Conf.Learners,
			VotersOutgoing: saved.Conf.VotersOutgoing, LearnersNext: saved.Conf.LearnersNext, AutoLeave: &autoLeave,
		}
	}
	m.roster.Store(&saved.Roster)
	m.confView.Store(m.conf)
	m.mark = newWatermark(m.position, m.rejected)
	return m, nil
}

// Applied returns the index of the last applied entry.
func (m *Machine) Applied() uint64 { return m.applied }

// ConfState returns the configuration as of Applied. Not to be changed.
func (m *Machine) ConfState() *raftpb.ConfState { return m.confView.Load() }

// Roster returns the members as of the last applied entry. Not to be changed.
func (m *Machine) Roster() *membership.Roster { return m.roster.Load() }

// Changes counts roster and configuration changes, to notice new ones.
func (m *Machine) Changes() uint64 { return m.changed.Load() }

// Watermark tells readers what is applied.
func (m *Machine) Watermark() *Watermark { return m.mark }

// Heads returns the heads of streams.
func (m *Machine) Heads() *index.Heads { return m.heads }

// Index returns the index.
func (m *Machine) Index() index.Index { return m.index }

func (m *Machine) apply(job *ApplyJob) error {
	confs := job.confs
	for _, entry := range job.entries {
		if entry.GetIndex() != m.applied+1 {
			panic(fmt.Sprintf("replica: entry %d is to be applied after %d", entry.GetIndex(), m.applied))
		}
		frame, err := m.storage.Log.PositionOf(entry.GetIndex())
		if err != nil {
			return fmt.Errorf("find entry %d in the log: %w", entry.GetIndex(), err)
		}
		if isConf(entry) {
			if err := m.applyConf(entry, confs[0]); err != nil {
				return err
			}
			confs = confs[1:]
		} else if err := m.applyRecords(job, entry, frame+log.FrameHeaderBytes); err != nil {
			return fmt.Errorf("apply entry %d: %w", entry.GetIndex(), err)
		}
		m.applied = entry.GetIndex()
		m.position = frame + log.FrameHeaderBytes + uint64(len(entry.GetData()))
	}
	m.mark.advance(m.position)
	return m.maybeCheckpoint()
}

func (m *Machine) applyRecords(job *ApplyJob, entry *raftpb.Entry, base uint64) error {
	records := stream.NewRecords(entry.GetData(), base)
	for records.Next() {
		record := records.Record()
		if record.Kind() == stream.KindAdmin {
			outcome, err := m.applyAdmin(record)
			if err != nil {
				return err
			}
			job.results = append(job.results, recordResult{index: entry.GetIndex(), record: record, outcome: outcome})
			continue
		}
		outcome, changes, err := m.applier.Apply(record, m.heads)
		if err != nil {
			return err
		}
		if outcome.Kind == stream.Done {
			m.rows = index.AppendRows(m.rows[:0], record, &m.names)
			if len(m.rows) > 0 {
				m.index.Add(m.rows)
			}
			m.heads.Update(changes)
		} else {
			m.rejected = append(m.rejected, record.Pos())
			m.mark.reject(record.Pos())
		}
		job.results = append(job.results, recordResult{index: entry.GetIndex(), record: record, outcome: job.keep(outcome)})
	}
	return records.Err()
}

func (m *Machine) applyAdmin(record stream.Record) (stream.Outcome, error) {
	kind, payload := record.Admin()
	if kind == RosterRecord {
		if err := m.changeRoster(payload); err != nil {
			return stream.Outcome{}, err
		}
	}
	return stream.Outcome{Kind: stream.Done, Record: record.Pos()}, nil
}

func (m *Machine) applyConf(entry *raftpb.Entry, at confAt) error {
	if at.index != entry.GetIndex() {
		panic(fmt.Sprintf("replica: configuration of entry %d came with entry %d", at.index, entry.GetIndex()))
	}
	change, err := decodeConf(entry)
	if err != nil {
		return err
	}
	if err := m.changeRoster(change.GetContext()); err != nil {
		return fmt.Errorf("apply configuration change %d: %w", entry.GetIndex(), err)
	}
	m.conf = confStateCopy(at.conf)
	m.confView.Store(m.conf)
	m.changed.Add(1)
	return m.storage.Commit.Raise(entry.GetIndex())
}

func (m *Machine) changeRoster(encoded []byte) error {
	change, err := membership.DecodeChange(encoded)
	if err != nil {
		return err
	}
	roster := m.roster.Load().Clone()
	roster.Apply(change)
	m.roster.Store(&roster)
	m.changed.Add(1)
	return nil
}

func (m *Machine) maybeCheckpoint() error {
	if !m.index.ShouldFlush() && m.position-m.checkpoint < checkpointBytes {
		return nil
	}
	if err := m.index.FlushBehind(m.meta()); err != nil {
		return fmt.Errorf("checkpoint the index: %w", err)
	}
	m.checkpoint = m.position
	return nil
}

// Checkpoint stores everything applied, for a clean stop.
func (m *Machine) Checkpoint() error {
	if err := m.index.Flush(m.meta()); err != nil {
		return fmt.Errorf("checkpoint the index: %w", err)
	}
	m.checkpoint = m.position
	return nil
}

func (m *Machine) meta() []byte {
	data, err := json.Marshal(checkpoint{
		Applied: m.applied, Position: m.position, Roster: *m.roster.Load(), Rejected: slices.Clone(m.rejected),
		Conf: checkpointConf{
			Voters: m.conf.GetVoters(), Learners: m.conf.GetLearners(), VotersOutgoing: m.conf.GetVotersOutgoing(),
			LearnersNext: m.conf.GetLearnersNext(), AutoLeave: m.conf.GetAutoLeave(),
		},
	})
	if err != nil {
		panic(errors.Join(errors.New("replica: encode checkpoint"), err))
	}
	return data
}
