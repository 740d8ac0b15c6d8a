package replica

import (
	"fmt"
	"log/slog"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"google.golang.org/protobuf/proto"

	"baton/eventstore/stream"
	"baton/platform/trace"
)

// Limits of the append path.
const (
	// MaxBatchBytes bounds the records joined into one entry. One record larger
	// than this travels alone.
	MaxBatchBytes = 1 << 20
	// MaxBatches bounds the entries proposed and not yet committed, so that
	// commands gather into larger batches instead of queueing in the log.
	MaxBatches = 2
	// pipelineBytes of waiting commands are worth a batch of their own while
	// another is not yet committed. With less, waiting for it costs nobody
	// anything but halves the writes, syncs and messages for each command: 64
	// clients that wait for each answer gain a third.
	pipelineBytes = 128 << 10
	// maxMessageBytes bounds the entries of one message to a peer.
	maxMessageBytes = 4 << 20
	// maxInflightMessages bounds unacknowledged messages to one peer.
	maxInflightMessages = 64
	// maxApplyingBytes bounds committed entries handed to the apply thread.
	maxApplyingBytes = 16 << 20
)

// Defaults of raft's timing, in ticks. With a tick of 50 ms: heartbeats every
// 100 ms, an election after 1 to 2 s of silence. A leader whose process has ended
// is noticed by its closed connections (Core.LeaderGone), long before that; the
// silence decides only about hosts and networks that vanish, and must be longer
// than a leader on a busy machine may have to wait for its turn to run.
const (
	DefaultHeartbeatTicks = 2
	DefaultElectionTicks  = 20
)

// CoreConfig says what a Core works on.
type CoreConfig struct {
	ID             uint64 // never zero
	Storage        *Storage
	Machine        *Machine
	HeartbeatTicks int // DefaultHeartbeatTicks when zero
	ElectionTicks  int // DefaultElectionTicks when zero
	RecentIDs      int // see stream.SequencerOptions
	// SkipCatchUpRule lets a clone vote before it holds every committed entry.
	// It exists so that a simulation can show what the rule is for.
	SkipCatchUpRule bool
	Logger          *slog.Logger
}

// Core is the deterministic heart of a replica. One goroutine uses it. After
// any input call Ready until HasReady is false and perform the effects.
type Core struct {
	id     uint64
	rn     *raft.RawNode
	seq    *stream.Sequencer
	logger *slog.Logger

	now   int64 // 100 ns ticks since the Unix epoch, never going back
	ticks uint64

	// Seen in the last Ready.
	term   uint64
	lead   uint64
	state  raft.StateType
	commit uint64

	last    uint64 // last index handed to the append thread, or found at the start
	handed  uint64 // last index handed to apply
	applied uint64 // last index applied
	noop    uint64 // this leader's first entry; 0 until it is in the log
	serving bool   // leader, first entry applied, sequencer reset
	drain   bool   // a proposal was dropped: serve again after everything in flight is applied

	queue      []*Proposal // not yet judged
	queueBytes int         // of their commands
	buffer     []byte      // reused for the records of one entry
	gather     gathering
	unassigned []*batch // proposed in this step, index not yet known
	batches    []*batch // in the log, by index
	attached   map[uint64][]attachment
	answers    []answer
	doneID     uint64 // highest command number applied in this term

	reads      []*Read // waiting for a round
	rounds     []round // rounds under way, oldest first
	roundCount uint64

	conf       *raftpb.ConfState
	confIndex  uint64 // index of the last configuration entry seen since the start
	change     *Change
	hurry      int    // see LeaderGone
	transferTo uint64 // as far as known; see Transferring
	catchUpOff bool

	lastTerm  uint64     // term of the entry at last
	questions []question // of candidates, since the last Ready
	poll      *Election  // this node's candidacy; nil: it does not stand
	followed  []followed // traced entries, by index
	damage    *error     // of the log, that raft met last; points at nil

	out Effects
}

// Effects is what the shell has to do. Appends and Applies are each to be run in
// the order given, after those of earlier Readies; Sends may leave at once.
type Effects struct {
	Sends    []*raftpb.Message
	Appends  []*AppendJob
	Applies  []*ApplyJob
	Finished []*Proposal // Outcome or Err is set
	Reads    []*Read     // done; Err is set or nil
	Changes  []*Change   // done; Err is set or nil
	Checks   []*Check    // to be resolved off the loop and given to Resolved

	Elections []Election   // candidacies of this node that ended
	Spans     []trace.Span // steps of traced appends that ended
}

// NewCore starts raft on what Storage and Machine hold.
func NewCore(cfg CoreConfig) (*Core, error) {
	if cfg.HeartbeatTicks == 0 {
		cfg.HeartbeatTicks = DefaultHeartbeatTicks
	}
	if cfg.ElectionTicks == 0 {
		cfg.ElectionTicks = DefaultElectionTicks
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	hardState, err := cfg.Storage.hardState(cfg.Machine.Applied())
	if err != nil {
		return nil, err
	}
	conf := cfg.Machine.ConfState()
	damage := new(error)
	rn, err := raft.NewRawNode(&raft.Config{
		ID:                        cfg.ID,
		ElectionTick:              cfg.ElectionTicks,
		HeartbeatTick:             cfg.HeartbeatTicks,
		Storage:                   raftStorage{log: cfg.Storage.Log, hardState: hardState, confState: conf, damage: damage},
		Applied:                   cfg.Machine.Applied(),
		AsyncStorageWrites:        true,
		MaxSizePerMsg:             maxMessageBytes,
		MaxCommittedSizePerReady:  maxApplyingBytes,
		MaxInflightMsgs:           maxInflightMessages,
		CheckQuorum:               true,
		PreVote:                   true,
		DisableProposalForwarding: true,
		StepDownOnRemoval:         true,
		Logger:                    raftLogger{cfg.Logger},
	})
	if err != nil {
		return nil, fmt.Errorf("start raft: %w", err)
	}
	last, err := cfg.Storage.Log.LastIndex()
	if err != nil {
		return nil, fmt.Errorf("read the log's end: %w", err)
	}
	lastTerm, err := cfg.Storage.Log.Term(last)
	if err != nil {
		return nil, fmt.Errorf("read the term of entry %d: %w", last, err)
	}
	seq := stream.NewSequencer(cfg.Machine.heads, stream.SequencerOptions{RecentIDs: cfg.RecentIDs})
	if err := remember(seq, cfg.Storage, cfg.Machine, cfg.RecentIDs); err != nil {
		return nil, err
	}
	return &Core{
		id: cfg.ID, rn: rn, logger: cfg.Logger, seq: seq,
		term: hardState.GetTerm(), commit: hardState.GetCommit(),
		last: last, handed: cfg.Machine.Applied(), applied: cfg.Machine.Applied(),
		attached: make(map[uint64][]attachment), conf: conf,
		catchUpOff: cfg.SkipCatchUpRule, lastTerm: lastTerm, damage: damage,
	}, nil
}

// SetNow gives the time for new records, in 100 ns ticks since the Unix epoch.
// Time that goes back is ignored.
func (c *Core) SetNow(now int64) { c.now = max(c.now, now) }

// Tick lets one tick pass.
func (c *Core) Tick() {
	c.ticks++
	c.Gathered()
	c.maybeServe()
	c.forgetFollowed()
	c.rn.Tick()
	if c.hurry == 0 && !c.onlyVoter() {
		return
	}
	c.hurry = max(c.hurry-1, 0)
	if status := c.rn.BasicStatus(); status.Lead == 0 && status.RaftState == raft.StateFollower {
		_ = c.rn.Campaign()
	} else if status.Lead != 0 {
		c.hurry = 0
	}
}

// onlyVoter tells that nobody else can lead, so that there is no silence to wait for.
func (c *Core) onlyVoter() bool {
	voters := c.conf.GetVoters()
	return len(voters) == 1 && voters[0] == c.id && len(c.conf.GetVotersOutgoing()) == 0
}

// Receive takes a message from a peer. Messages that make no sense are dropped:
// a peer can be wrong, and raft repeats what matters.
func (c *Core) Receive(m *raftpb.Message) {
	if raft.IsLocalMsg(m.GetType()) || raft.IsLocalMsgTarget(m.GetFrom()) || m.GetFrom() == 0 || m.GetTo() != c.id {
		return
	}
	if !wellFormed(m) {
		c.logger.Warn("a malformed message of a peer is ignored", "type", m.GetType(), "from", m.GetFrom())
		return
	}
	switch m.GetType() {
	case raftpb.MsgProp, raftpb.MsgReadIndex, raftpb.MsgTransferLeader, raftpb.MsgSnap:
		return // never sent by us: these go through the node's own requests
	case raftpb.MsgHeartbeat:
		if m.GetCommit() > c.last {
			// This node lacks entries the leader counted as durable here: its log
			// was lost under the same id. Raft would panic; the leader must not
			// count on this node before it has been wiped and re-added.
			c.logger.Error("the leader believes this node holds entries it does not hold; ignoring it",
				"leader", m.GetFrom(), "leaderCommit", m.GetCommit(), "last", c.last)
			return
		}
	case raftpb.MsgPreVote, raftpb.MsgVote:
		c.asked(m)
	case raftpb.MsgPreVoteResp, raftpb.MsgVoteResp:
		if c.heardVote(m) {
			return
		}
	case raftpb.MsgApp:
		c.heardTraces(m)
	case raftpb.MsgAppResp:
		c.acknowledged(m)
	}
	if err := c.rn.Step(m); err != nil {
		c.logger.Debug("raft refused a message", "type", m.GetType(), "from", m.GetFrom(), "err", err)
	}
}

// wellFormed reports whether a peer may send the message. Raft trusts its peers:
// it takes a message without a term for its own, and entries with a gap end it.
func wellFormed(m *raftpb.Message) bool {
	if m.GetTerm() == 0 {
		return false
	}
	if n := len(m.GetContext()); n != 0 && n != 8 && m.GetType() == raftpb.MsgHeartbeatResp {
		return false // raft counts reads in it
	}
	index, term := m.GetIndex(), m.GetLogTerm()
	for _, entry := range m.GetEntries() {
		if index++; entry.GetIndex() != index || entry.GetTerm() < term || entry.GetTerm() == 0 || entry.GetTerm() > m.GetTerm() {
			return false
		}
		term = entry.GetTerm()
	}
	return true
}

// Unreachable says that messages to the peer are being lost.
func (c *Core) Unreachable(id uint64) { c.rn.ReportUnreachable(id) }

// hurryTicks is for how many ticks a node that knows its leader gone stands for
// election. It does not stand at once: the others need a moment to learn the
// same, and would ignore it before.
const hurryTicks = 3

// LeaderGone says that the process of the leader is known to have ended. The
// followers that know it grant each other's pre-votes without waiting out the
// leader's silence; campaign says that this node should stand. A node that is
// wrong disturbs nobody: it needs a majority that knows the same.
func (c *Core) LeaderGone(id uint64, campaign bool) {
	if c.lead != id || c.state != raft.StateFollower || id == 0 || id == c.id {
		return
	}
	_ = c.rn.ForgetLeader()
	if campaign {
		c.hurry = hurryTicks
	}
}

// Campaign asks to be elected now, for tests.
func (c *Core) Campaign() { _ = c.rn.Campaign() }

// Transfer asks the leader to hand over. Commands wait meanwhile; they are
// proposed here if it comes to nothing within an election timeout, and returned
// as not appended if it succeeds.
func (c *Core) Transfer(to uint64) {
	if c.serving {
		c.rn.TransferLeader(to)
		c.transferTo = to
	}
}

// Transferring returns the target of a running transfer, or 0.
func (c *Core) Transferring() uint64 {
	if c.transferTo != 0 { // else the costlier question is needless
		c.transferTo = c.rn.BasicStatus().LeadTransferee
	}
	return c.transferTo
}

// HasReady reports whether there is something to do.
func (c *Core) HasReady() bool {
	return c.rn.HasReady() || c.outstanding() || c.canPropose() || c.canRead() || c.canChange()
}

func (c *Core) outstanding() bool {
	return len(c.out.Finished) > 0 || len(c.out.Reads) > 0 || len(c.out.Changes) > 0 || len(c.out.Checks) > 0 ||
		len(c.out.Elections) > 0 || len(c.out.Spans) > 0 || len(c.questions) > 0
}

// Ready turns everything waiting into effects.
func (c *Core) Ready() Effects {
	c.propose()
	c.startRead()
	c.tryChange()
	if c.rn.HasReady() {
		c.takeReady()
	}
	if len(c.questions) > 0 { // raft answers none of them
		c.out.Sends = append(c.out.Sends, c.explain(nil)...)
	}
	out := c.out
	c.out = Effects{}
	return out
}

func (c *Core) takeReady() {
	*c.damage = nil
	ready := c.rn.Ready()
	if ready.HardState != nil {
		c.commit = ready.HardState.GetCommit()
		if ready.HardState.GetTerm() != c.term {
			c.term = ready.HardState.GetTerm()
			c.leadershipLost()
		}
	}
	if ready.SoftState != nil {
		if ready.SoftState.RaftState != raft.StateLeader {
			c.leadershipLost()
		}
		c.lead, c.state = ready.SoftState.Lead, ready.SoftState.RaftState
	}
	for _, state := range ready.ReadStates {
		c.readConfirmed(state)
	}
	for _, m := range ready.Messages {
		switch m.GetTo() {
		case raft.LocalAppendThread:
			c.noteEntries(m.GetEntries())
			if len(c.questions) > 0 {
				c.out.Sends = append(c.out.Sends, c.explain(m.GetResponses())...)
			}
			c.out.Appends = append(c.out.Appends, c.newAppendJob(m))
		case raft.LocalApplyThread:
			c.out.Applies = append(c.out.Applies, c.newApplyJob(m))
		default:
			c.out.Sends = append(c.out.Sends, m)
		}
	}
	c.followPoll(ready.Messages)
	if len(c.followed) > 0 {
		c.tellTraces(c.out.Sends)
	}
}

// noteEntries learns the indexes of entries raft has just put in the log: the
// leader's first, its batches in the order of their proposal, and configuration
// entries wherever they come from.
func (c *Core) noteEntries(entries []*raftpb.Entry) {
	leading := c.state == raft.StateLeader
	if len(entries) > 0 {
		last := entries[len(entries)-1]
		c.last, c.lastTerm = last.GetIndex(), last.GetTerm()
	}
	for _, entry := range entries {
		if isConf(entry) {
			c.confIndex = entry.GetIndex()
			if leading && entry.GetTerm() == c.term && c.change != nil {
				c.change.noteEntry(entry)
			}
			continue
		}
		if !leading || entry.GetTerm() != c.term {
			continue
		}
		if c.noop == 0 {
			c.noop = entry.GetIndex()
			continue
		}
		if len(entry.GetData()) == 0 || len(c.unassigned) == 0 {
			continue
		}
		b := c.unassigned[0]
		c.unassigned = c.unassigned[1:]
		b.index, b.term, b.at = entry.GetIndex(), entry.GetTerm(), c.now
		c.batches = append(c.batches, b)
		if len(b.traces) > 0 {
			c.follow(b)
		}
	}
}

// leadershipLost returns everything that was not put in the log. What was stays
// until an entry is applied at its index.
func (c *Core) leadershipLost() {
	if c.serving || c.drain {
		c.seq.Reset()
	}
	c.serving, c.noop, c.drain, c.doneID = false, 0, false, 0
	for _, b := range c.unassigned {
		c.failBatch(b)
	}
	c.unassigned = nil
	for _, p := range c.queue {
		c.finish(p, stream.Outcome{}, ErrNotAppended)
	}
	c.queue, c.queueBytes = nil, 0
	c.gather = gathering{}
	for _, a := range c.answers {
		c.finish(a.proposal, stream.Outcome{}, ErrNotAppended)
	}
	c.answers = nil
	c.failReads()
	c.followed = nil
	if c.change != nil && !c.change.inLog() {
		c.finishChange(ErrNotAppended)
	}
}

// AppendDone takes the responses of an append job that ran; those for other
// nodes are returned, to be sent.
func (c *Core) AppendDone(job *AppendJob) (sends []*raftpb.Message) {
	for _, m := range job.responses {
		if m.GetTo() == c.id {
			_ = c.rn.Step(m)
		} else {
			sends = append(sends, m)
		}
	}
	return sends
}

// ApplyDone takes an apply job that ran: waiters get their verdicts.
func (c *Core) ApplyDone(job *ApplyJob) {
	next := 0
	for _, entry := range job.entries {
		index := entry.GetIndex()
		from := next
		for next < len(job.results) && job.results[next].index == index {
			next++
		}
		c.entryApplied(entry, job.results[from:next])
		c.applied = index
	}
	for _, m := range job.responses {
		_ = c.rn.Step(m)
	}
	c.changeApplied()
	c.readsApplied()
	c.maybeServe()
}

// maybeServe opens a leader for commands: once its first entry is applied, and
// after a dropped proposal once nothing is in flight any more.
func (c *Core) maybeServe() {
	if c.serving || c.state != raft.StateLeader || c.noop == 0 || c.applied < c.noop {
		return
	}
	if c.drain && len(c.batches)+len(c.unassigned) > 0 {
		return
	}
	c.seq.Reset()
	c.serving, c.drain = true, false
}

// Damage returns what of the log the last Ready could not read. If Ready panicked,
// that is why: raft needs the entries it has to apply.
func (c *Core) Damage() error { return *c.damage }

// Stop fails everything that waits, with ErrStopped, and returns it as effects.
func (c *Core) Stop() Effects {
	c.leadershipLost()
	for _, b := range c.batches {
		for _, it := range b.items {
			c.finish(it.proposal, stream.Outcome{}, ErrStopped)
			for _, a := range c.attached[it.id] {
				c.finish(a.proposal, stream.Outcome{}, ErrStopped)
			}
		}
	}
	c.batches = nil
	if c.change != nil {
		c.finishChange(ErrStopped)
	}
	out := c.out
	c.out = Effects{}
	return out
}

// CoreStatus is a snapshot of a Core.
type CoreStatus struct {
	ID, Term, Lead  uint64
	State           raft.StateType
	Serving         bool // leader that may serve
	Commit, Applied uint64
	Noop            uint64 // the leader's first entry
	LastConf        uint64 // index of the last configuration entry in the log
	Transferring    uint64
	ChangeRunning   bool
	Conf            *raftpb.ConfState // not to be changed
	Progress        []PeerProgress    // sorted by ID; only on the leader
	Queued          int
}

// PeerProgress is what the leader knows of one member's log.
type PeerProgress struct {
	ID           uint64
	Match        uint64
	Learner      bool
	RecentActive bool
}

// Status returns a snapshot.
func (c *Core) Status() CoreStatus {
	s := CoreStatus{
		ID: c.id, Term: c.term, Lead: c.lead, State: c.state, Serving: c.serving,
		Commit: c.commit, Applied: c.applied, Noop: c.noop, LastConf: c.confIndex,
		Transferring: c.Transferring(), ChangeRunning: c.changeRunning(), Conf: c.conf, Queued: len(c.queue),
	}
	if c.state == raft.StateLeader {
		c.rn.WithProgress(func(id uint64, typ raft.ProgressType, pr tracker.Progress) {
			s.Progress = append(s.Progress, PeerProgress{ID: id, Match: pr.Match, Learner: typ == raft.ProgressTypeLearner, RecentActive: pr.RecentActive})
		})
		slices.SortFunc(s.Progress, func(a, b PeerProgress) int {
			if a.ID < b.ID {
				return -1
			}
			return 1
		})
	}
	return s
}

func isConf(entry *raftpb.Entry) bool { return isConfType(entry.GetType()) }

func isConfType(t raftpb.EntryType) bool {
	return t == raftpb.EntryConfChange || t == raftpb.EntryConfChangeV2
}

// decodeConf reads a configuration entry of either form.
func decodeConf(entry *raftpb.Entry) (*raftpb.ConfChangeV2, error) {
	if entry.GetType() == raftpb.EntryConfChange {
		var change raftpb.ConfChange
		if err := proto.Unmarshal(entry.GetData(), &change); err != nil {
			return nil, fmt.Errorf("decode configuration change %d: %w", entry.GetIndex(), err)
		}
		return change.AsV2(), nil
	}
	var change raftpb.ConfChangeV2
	if err := proto.Unmarshal(entry.GetData(), &change); err != nil {
		return nil, fmt.Errorf("decode configuration change %d: %w", entry.GetIndex(), err)
	}
	return &change, nil
}
