package replica

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"baton/eventstore/stream"
	"baton/platform/trace"
)

// AppendJob is a write to the log, and to term and vote, with the responses that
// may leave once it is durable.
type AppendJob struct {
	entries    []*raftpb.Entry
	term, vote uint64
	saveState  bool
	commit     uint64
	responses  []*raftpb.Message
	traces     []trace.Context // of traced appends among the entries
}

func (c *Core) newAppendJob(m *raftpb.Message) *AppendJob {
	job := &AppendJob{entries: m.GetEntries(), commit: c.commit, responses: m.GetResponses(), traces: c.tracesIn(m.GetEntries(), false)}
	if m.Term != nil {
		job.term, job.vote, job.saveState = m.GetTerm(), m.GetVote(), true
	}
	return job
}

// join appends next to job when both can be done by one write: the caller runs
// job instead of the two and hands in both, job first. It reports whether it did.
func (job *AppendJob) join(next *AppendJob) bool {
	if len(next.entries) > 0 && len(job.entries) > 0 {
		if next.entries[0].GetIndex() != job.entries[len(job.entries)-1].GetIndex()+1 {
			return false // it replaces entries of job
		}
	}
	if len(next.entries) > 0 {
		job.entries = append(job.entries[:len(job.entries):len(job.entries)], next.entries...)
	}
	if next.saveState {
		job.term, job.vote, job.saveState = next.term, next.vote, true
	}
	job.commit = next.commit
	job.responses = append(job.responses[:len(job.responses):len(job.responses)], next.responses...)
	job.traces = append(job.traces, next.traces...)
	return true
}

// Run makes the job durable. After an error the replica must stop.
//
// Term and vote come first: an entry of a term must not be on disk under a
// lower one. A configuration change is appended only after the commit index
// known so far is durable, see the package comment; what stands before it in
// the log is then on disk as well.
func (job *AppendJob) Run(s *Storage) error {
	if job.saveState {
		if err := s.State.Save(job.term, job.vote); err != nil {
			return fmt.Errorf("save term and vote: %w", err)
		}
	}
	rest := job.entries
	for i := 0; i < len(rest); i++ {
		if !isConf(rest[i]) {
			continue
		}
		if i > 0 {
			if err := s.Log.Append(rest[:i]); err != nil {
				return fmt.Errorf("append to the log: %w", err)
			}
		}
		if err := s.Commit.Raise(min(job.commit, rest[i].GetIndex()-1)); err != nil {
			return err
		}
		if err := s.Log.Append(rest[i : i+1]); err != nil {
			return fmt.Errorf("append to the log: %w", err)
		}
		rest = rest[i+1:]
		i = -1
	}
	if len(rest) > 0 {
		if err := s.Log.Append(rest); err != nil {
			return fmt.Errorf("append to the log: %w", err)
		}
	}
	return nil
}

// ApplyJob is a run of committed entries.
type ApplyJob struct {
	entries   []*raftpb.Entry
	confs     []confAt // in order of index
	responses []*raftpb.Message
	results   []recordResult
	traces    []trace.Context       // of traced appends of this leader's among the entries
	writes    []stream.WriteOutcome // of results, one after another
}

// keep returns an outcome that outlives the applier's memory. Those of one job
// share theirs.
func (j *ApplyJob) keep(o stream.Outcome) stream.Outcome {
	if len(o.Violations) > 0 {
		return o.Clone()
	}
	from := len(j.writes)
	j.writes = append(j.writes, o.Writes...)
	o.Writes = j.writes[from:len(j.writes):len(j.writes)]
	return o
}

// confAt is the configuration in force from an entry on.
type confAt struct {
	index uint64
	conf  *raftpb.ConfState
}

// recordResult is the verdict on one record.
type recordResult struct {
	index   uint64 // of its entry
	record  stream.Record
	outcome stream.Outcome
}

func (c *Core) newApplyJob(m *raftpb.Message) *ApplyJob {
	job := &ApplyJob{entries: m.GetEntries(), responses: m.GetResponses(), traces: c.tracesIn(m.GetEntries(), true)}
	for _, entry := range job.entries {
		c.handed = entry.GetIndex()
		if !isConf(entry) {
			continue
		}
		change, err := decodeConf(entry)
		if err != nil {
			panic(err) // committed by a majority: every node would fail alike
		}
		c.conf = c.rn.ApplyConfChange(change)
		job.confs = append(job.confs, confAt{index: entry.GetIndex(), conf: c.conf})
	}
	for i := len(c.batches) - 1; i >= 0; i-- {
		if b := c.batches[i]; b.index == c.handed && b.term == c.term {
			c.committed(b)
		}
	}
	return job
}

// Run applies the entries. After an error the replica must stop.
func (job *ApplyJob) Run(m *Machine) error { return m.apply(job) }
