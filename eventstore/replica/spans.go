package replica

import (
	"encoding/binary"
	"slices"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"baton/eventstore/stream"
	"baton/platform/trace"
)

// Names of the spans of an append. Those of the leader's own steps are children
// of the span the command was handed over with; a follower's write is a child of
// the leader's "replicate" to it.
const (
	SpanJudge     = "judge"     // from the handing over to the verdict, with the wait for others
	SpanWrite     = "log write" // one durable write of the log, alone or with others
	SpanReplicate = "replicate" // from the proposal to one member's acknowledgement
	SpanApply     = "apply"     // on the leader, once committed
)

// Bounds of what is traced.
const (
	// maxTraces bounds the appends of one entry that are followed beyond their
	// judgement.
	maxTraces = 32
	// maxFollowed bounds the entries followed at one time; the oldest are let go.
	maxFollowed = 64
	// followTicks is for how long an entry is followed: a member that is away must
	// not keep it for ever.
	followTicks = 100
)

// followed is an entry with traced appends: on the leader from its proposal until
// everybody acknowledged it, elsewhere from the message that told of it until it
// is written.
type followed struct {
	index   uint64
	own     bool // this node leads and proposed it
	at      int64
	since   uint64   // tick
	waiting []uint64 // whose acknowledgement is awaited; only if own
	traces  []trace.Context
}

// tracesOf are the traces of an entry's commands.
func tracesOf(items []item) (traces []trace.Context) {
	for _, it := range items {
		if t := it.proposal.Command.Trace; t != nil && len(traces) < maxTraces {
			traces = append(traces, *t)
		}
	}
	return traces
}

// nanoseconds is the core's time as spans count it.
func (c *Core) nanoseconds() int64 { return c.now * 100 }

// judged records the judgement of a traced command.
func (c *Core) judged(p *Proposal) {
	c.out.Spans = append(c.out.Spans, trace.Span{Parent: *p.Command.Trace, Name: SpanJudge, Start: p.Started, End: c.nanoseconds()})
}

// follow begins to follow a batch that was put in the log.
func (c *Core) follow(b *batch) {
	f := followed{index: b.index, own: true, at: c.nanoseconds(), since: c.ticks, traces: b.traces}
	for _, set := range [][]uint64{c.conf.GetVoters(), c.conf.GetVotersOutgoing(), c.conf.GetLearners(), c.conf.GetLearnersNext()} {
		for _, id := range set {
			if id != c.id && !slices.Contains(f.waiting, id) {
				f.waiting = append(f.waiting, id)
			}
		}
	}
	c.keepFollowed(f)
}

func (c *Core) keepFollowed(f followed) {
	c.followed = slices.DeleteFunc(c.followed, func(old followed) bool { return old.index >= f.index })
	if len(c.followed) >= maxFollowed {
		c.followed = slices.Delete(c.followed, 0, 1)
	}
	c.followed = append(c.followed, f)
}

// forgetFollowed lets go of what was followed for long enough.
func (c *Core) forgetFollowed() {
	if len(c.followed) > 0 {
		c.followed = slices.DeleteFunc(c.followed, func(f followed) bool { return c.ticks-f.since > followTicks })
	}
}

// tracesIn are the traces of a run of entries.
func (c *Core) tracesIn(entries []*raftpb.Entry, ownOnly bool) (traces []trace.Context) {
	if len(c.followed) == 0 || len(entries) == 0 {
		return nil
	}
	first, last := entries[0].GetIndex(), entries[len(entries)-1].GetIndex()
	for i := range c.followed {
		if f := &c.followed[i]; f.index >= first && f.index <= last && (f.own || !ownOnly) {
			traces = append(traces, f.traces...)
		}
	}
	return traces
}

// acknowledged records that a member has entries on its disk.
func (c *Core) acknowledged(m *raftpb.Message) {
	if len(c.followed) == 0 || m.GetReject() {
		return
	}
	from, done := m.GetFrom(), false
	for i := range c.followed {
		f := &c.followed[i]
		at := slices.Index(f.waiting, from)
		if !f.own || f.index > m.GetIndex() || at < 0 {
			continue
		}
		f.waiting = slices.Delete(f.waiting, at, at+1)
		done = done || len(f.waiting) == 0
		for _, t := range f.traces {
			c.out.Spans = append(c.out.Spans, trace.Span{
				Parent: t, ID: t.Child(from).Span, Name: SpanReplicate, Kind: trace.Client, Start: f.at, End: c.nanoseconds(),
				Attributes: []trace.Attribute{{Key: "baton.member", Text: hexID(from)}, {Key: "baton.entry", Int: int64(f.index)}},
			})
		}
	}
	if done {
		c.followed = slices.DeleteFunc(c.followed, func(f followed) bool { return f.own && len(f.waiting) == 0 })
	}
}

func hexID(id uint64) string {
	const digits = "0123456789abcdef"
	b := make([]byte, 16)
	for i := range b {
		b[i] = digits[id>>(60-4*i)&15]
	}
	return string(b)
}

// Traces travel in the context of the message with their entries, which raft has
// no use for:
//
//	1 | for each traced entry: index u64 | count u8 | count times a trace.Context
const tracesVersion = 1

// tellTraces adds to messages with entries what is followed of them.
func (c *Core) tellTraces(messages []*raftpb.Message) {
	for _, m := range messages {
		entries := m.GetEntries()
		if m.GetType() != raftpb.MsgApp || len(entries) == 0 {
			continue
		}
		first, last := entries[0].GetIndex(), entries[len(entries)-1].GetIndex()
		var b []byte
		for i := range c.followed {
			f := &c.followed[i]
			if !f.own || f.index < first || f.index > last {
				continue
			}
			if b == nil {
				b = []byte{tracesVersion}
			}
			b = append(binary.LittleEndian.AppendUint64(b, f.index), byte(len(f.traces)))
			for _, t := range f.traces {
				b = t.Append(b)
			}
		}
		if b != nil {
			m.Context = b
		}
	}
}

// heardTraces takes down which entries of a message are followed. What cannot be
// read is passed over: a trace is worth no entry.
func (c *Core) heardTraces(m *raftpb.Message) {
	b := m.GetContext()
	if len(b) == 0 || b[0] != tracesVersion || len(m.GetEntries()) == 0 {
		return
	}
	entries := m.GetEntries()
	first, last := entries[0].GetIndex(), entries[len(entries)-1].GetIndex()
	for b = b[1:]; len(b) >= 9; {
		f := followed{index: binary.LittleEndian.Uint64(b), since: c.ticks}
		count := int(b[8])
		b = b[9:]
		if f.index < first || f.index > last || count > maxTraces {
			return
		}
		for range count {
			t, rest, ok := trace.Decode(b)
			if !ok {
				return
			}
			b = rest
			f.traces = append(f.traces, t.Child(c.id))
		}
		c.keepFollowed(f)
	}
}

// recordJob records one step of all the traced appends in a job.
func (r *Replica) recordJob(name string, traces []trace.Context, began, ended time.Time, entries []*raftpb.Entry) {
	if r.opts.Trace == nil {
		return
	}
	size := 0
	for _, entry := range entries {
		size += len(entry.GetData())
	}
	for _, t := range traces {
		r.opts.Trace(trace.Span{Parent: t, Name: name, Start: began.UnixNano(), End: ended.UnixNano(),
			Attributes: []trace.Attribute{{Key: "baton.entries", Int: int64(len(entries))}, {Key: "baton.bytes", Int: int64(size)}}})
	}
}

// startedAt is when a traced command is handed over.
func (r *Replica) startedAt(cmd *stream.Command) int64 {
	if cmd.Trace == nil {
		return 0
	}
	return r.clock.Now().UnixNano()
}
