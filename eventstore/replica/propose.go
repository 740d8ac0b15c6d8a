package replica

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"baton/eventstore/stream"
	"baton/platform/trace"
)

// Proposal is one command on its way. Core sets Outcome or Err and lists it in
// Effects.Finished exactly once.
type Proposal struct {
	Command *stream.Command
	Outcome stream.Outcome
	// Err: nil, ErrNotAppended, ErrStopped, or what the disk said.
	Err error
	// Done belongs to the shell; Core does not touch it.
	Done chan struct{}
	// Started is when a traced command was handed over, in nanoseconds since the
	// Unix epoch; 0 otherwise.
	Started int64
}

// batch is the records of one entry.
type batch struct {
	index, term uint64
	at          int64 // when it was proposed, in ticks of Core.now
	items       []item
	traces      []trace.Context // of traced commands, at most maxTraces
}

// item is one admitted command; the n-th item owns the n-th record.
type item struct {
	proposal *Proposal
	id       uint64 // number given by the sequencer
}

// attachment waits for the outcome of a command in flight that it repeats.
type attachment struct {
	proposal *Proposal
	verdict  stream.Verdict
}

// answer waits for a command in flight to be applied before it is given.
type answer struct {
	proposal *Proposal
	outcome  stream.Outcome
	after    uint64
}

// Check is a question to stored events, to be answered off the loop.
type Check struct {
	proposal *Proposal
	verdict  stream.Verdict
	term     uint64
	outcome  stream.Outcome
	again    bool
	err      error
}

// Run answers the check from stored events. It may block on the disk.
func (k *Check) Run(source stream.IDSource) {
	k.outcome, k.again, k.err = k.verdict.Stored.Resolve(source)
}

// Propose takes a command. It is judged, joined with others and put in the log
// when this node leads and may serve; else it is returned as not appended.
func (c *Core) Propose(p *Proposal) {
	if c.state != raft.StateLeader {
		c.finish(p, stream.Outcome{}, ErrNotAppended)
		return
	}
	c.queue = append(c.queue, p)
	c.queueBytes += len(p.Command.Bytes())
}

// Resolved takes back a check that ran.
func (c *Core) Resolved(k *Check) {
	switch {
	case k.err != nil:
		c.finish(k.proposal, stream.Outcome{}, k.err)
	case !c.serving || k.term != c.term:
		c.finish(k.proposal, stream.Outcome{}, ErrNotAppended)
	case k.again:
		c.Propose(k.proposal) // new after all; the sequencer does not ask twice
	default:
		c.answer(k.proposal, k.outcome, k.verdict.After)
	}
}

func (c *Core) canPropose() bool {
	if len(c.queue) == 0 || !c.serving || c.drain {
		return false
	}
	if n := c.uncommitted(); n >= MaxBatches || n > 0 && c.queueBytes < pipelineBytes || n == 0 && c.gathers() {
		return false
	}
	return (c.change == nil || !c.change.holding) && c.Transferring() == 0
}

// uncommitted counts the entries proposed and not yet handed to apply.
func (c *Core) uncommitted() int {
	count := len(c.unassigned)
	for i := len(c.batches) - 1; i >= 0 && c.batches[i].index > c.handed; i-- {
		count++
	}
	return count
}

// propose joins waiting commands into entries as far as the bounds allow.
func (c *Core) propose() {
	for c.canPropose() {
		data, items := c.nextBatch()
		if len(items) == 0 {
			continue
		}
		b := &batch{items: items, traces: tracesOf(items)}
		if err := c.rn.Propose(data); err != nil {
			// The sequencer counts these commands as in flight. It forgets them
			// when everything else in flight has been applied.
			c.logger.Warn("raft dropped a proposal", "err", err)
			c.failBatch(b)
			c.serving, c.drain = false, true
			return
		}
		c.unassigned = append(c.unassigned, b)
	}
}

func (c *Core) nextBatch() (data []byte, items []item) {
	data = c.buffer[:0] // raft copies what is proposed
	taken := 0
	for _, p := range c.queue {
		size := len(p.Command.Bytes())
		if len(data) > 0 && (len(data)+size > MaxBatchBytes || p.Command.BeginsSegment()) {
			break
		}
		taken++
		c.queueBytes -= size
		verdict, err := c.seq.Sequence(p.Command, c.now)
		if err != nil {
			c.finish(p, stream.Outcome{}, err)
			continue
		}
		if p.Command.Trace != nil {
			c.judged(p)
		}
		switch verdict.Kind {
		case stream.Admit:
			data = append(data, verdict.Record...)
			items = append(items, item{proposal: p, id: verdict.ID})
		case stream.Attach:
			c.attached[verdict.InFlight] = append(c.attached[verdict.InFlight], attachment{proposal: p, verdict: verdict})
		case stream.CheckStored:
			c.out.Checks = append(c.out.Checks, &Check{proposal: p, verdict: verdict, term: c.term})
		default:
			c.answer(p, verdict.Outcome.Clone(), verdict.After)
		}
	}
	c.queue = c.queue[taken:]
	if len(c.queue) == 0 {
		c.queue = nil
	}
	c.buffer = data[:0]
	return data, items
}

// answer gives an outcome that needs no entry. It is true only if the commands
// in flight that it counts on are applied, and if this node still led when it
// was found. A quorum is asked for the latter: that those commands commit does
// not show it, for their acknowledgements may be older than the outcome.
func (c *Core) answer(p *Proposal, outcome stream.Outcome, after uint64) {
	if after > c.doneID {
		c.answers = append(c.answers, answer{proposal: p, outcome: outcome, after: after})
		return
	}
	c.reads = append(c.reads, &Read{answer: &answer{proposal: p, outcome: outcome}})
}

// entryApplied gives the verdicts of one applied entry to their waiters.
func (c *Core) entryApplied(entry *raftpb.Entry, results []recordResult) {
	if ch := c.change; ch != nil && ch.inLog() && ch.index == entry.GetIndex() && ch.term != entry.GetTerm() {
		c.finishChange(ErrNotAppended) // another leader's entry stands in its place
	}
	var mine []item
	current := entry.GetTerm() == c.term && c.state == raft.StateLeader
	for len(c.batches) > 0 && c.batches[0].index <= entry.GetIndex() {
		b := c.batches[0]
		c.batches = c.batches[1:]
		if b.index == entry.GetIndex() && b.term == entry.GetTerm() {
			mine = b.items
			continue
		}
		// Another leader's entry stands where this batch was to stand.
		c.failBatch(b)
	}
	for n := range results {
		result := &results[n]
		var id uint64
		if n < len(mine) {
			id = mine[n].id
		}
		if current {
			c.seq.Applied(id, result.record, result.outcome)
		} else {
			c.seq.Applied(0, result.record, result.outcome)
		}
		if id == 0 {
			continue
		}
		c.finish(mine[n].proposal, result.outcome, nil)
		if waiting, ok := c.attached[id]; ok {
			for _, a := range waiting {
				c.finish(a.proposal, a.verdict.Attached(result.outcome), nil)
			}
			delete(c.attached, id)
		}
		if current {
			c.doneID = max(c.doneID, id)
		}
	}
	if len(mine) > 0 && len(c.answers) > 0 {
		c.releaseAnswers()
	}
}

// releaseAnswers lets a quorum confirm the answers whose commands are applied.
func (c *Core) releaseAnswers() {
	kept := c.answers[:0]
	for _, a := range c.answers {
		if a.after > c.doneID {
			kept = append(kept, a)
			continue
		}
		c.reads = append(c.reads, &Read{answer: &answer{proposal: a.proposal, outcome: a.outcome}})
	}
	c.answers = kept
}

func (c *Core) failBatch(b *batch) {
	for _, it := range b.items {
		c.finish(it.proposal, stream.Outcome{}, ErrNotAppended)
		for _, a := range c.attached[it.id] {
			c.finish(a.proposal, stream.Outcome{}, ErrNotAppended)
		}
		delete(c.attached, it.id)
	}
}

func (c *Core) finish(p *Proposal, outcome stream.Outcome, err error) {
	p.Outcome, p.Err = outcome, err
	c.out.Finished = append(c.out.Finished, p)
}
