package replica

import (
	"fmt"
	"math/rand"
	"testing"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"baton/eventstore/index"
	"baton/eventstore/log"
	"baton/eventstore/membership"
	"baton/eventstore/stream"
	"baton/platform/trace"
	"baton/platform/vfs"
)

// site is one simulated node: everything synchronous, on a disk in memory.
type site struct {
	id      uint64
	fs      vfs.FS
	storage *Storage
	machine *Machine
	core    *Core
	down    bool
	done    []*Proposal
	changes []*Change
	reads   []*Read

	elections []Election
	spans     []trace.Span
	traced    []trace.Context // of entries written here
}

// net is a number of sites and the messages between them.
type net struct {
	t     *testing.T
	rng   *rand.Rand
	sites map[uint64]*site
	order []uint64
	queue []*raftpb.Message
	cut   func(m *raftpb.Message) bool
}

func newNet(t *testing.T, seed int64, founders, all int) *net {
	t.Helper()
	n := &net{t: t, rng: rand.New(rand.NewSource(seed)), sites: make(map[uint64]*site)}
	founding := &membership.Founding{ClusterID: "test", ClusterSize: founders}
	for id := uint64(1); id <= uint64(founders); id++ {
		founding.Founders = append(founding.Founders, membership.Member{ID: membership.MemberID(id), Name: fmt.Sprint(id)})
	}
	for id := uint64(1); id <= uint64(all); id++ {
		s := &site{id: id, fs: vfs.NewMem()}
		n.sites[id], n.order = s, append(n.order, id)
		n.open(s)
		if id <= uint64(founders) {
			if err := Found(s.storage, founding); err != nil {
				t.Fatal(err)
			}
		}
		n.boot(s)
	}
	return n
}

func (n *net) open(s *site) {
	n.t.Helper()
	opened, err := log.Open(log.Options{FS: s.fs, Dir: "log", SegmentBytes: 1 << 20})
	if err != nil {
		n.t.Fatal(err)
	}
	state, err := log.OpenState(s.fs, "log")
	if err != nil {
		n.t.Fatal(err)
	}
	commit, err := OpenCommitFile(s.fs, "log")
	if err != nil {
		n.t.Fatal(err)
	}
	s.storage = &Storage{Log: opened, State: state, Commit: commit}
}

func (n *net) boot(s *site) {
	n.t.Helper()
	memory := index.NewMemory()
	machine, err := NewMachine(s.storage, memory, index.NewHeads(memory, s.storage.Log, 0), nil)
	if err != nil {
		n.t.Fatal(err)
	}
	s.machine = machine
	if s.core, err = NewCore(CoreConfig{ID: s.id, Storage: s.storage, Machine: machine}); err != nil {
		n.t.Fatal(err)
	}
}

// settle performs all effects and delivers all messages until nothing is left.
func (n *net) settle() {
	n.t.Helper()
	for range 10000 {
		busy := false
		for _, id := range n.order {
			s := n.sites[id]
			for !s.down && s.core.HasReady() {
				busy = true
				n.perform(s, s.core.Ready())
			}
		}
		queue := n.queue
		n.queue = nil
		for _, m := range queue {
			busy = true
			if to := n.sites[m.GetTo()]; to != nil && !to.down && !n.sites[m.GetFrom()].down && (n.cut == nil || !n.cut(m)) {
				to.core.Receive(m)
			}
		}
		if !busy {
			return
		}
	}
	n.t.Fatal("the cluster does not come to rest")
}

func (n *net) perform(s *site, e Effects) {
	n.t.Helper()
	n.queue = append(n.queue, e.Sends...)
	for _, job := range e.Appends {
		s.traced = append(s.traced, job.traces...)
		if err := job.Run(s.storage); err != nil {
			n.t.Fatal(err)
		}
		n.queue = append(n.queue, s.core.AppendDone(job)...)
	}
	for _, job := range e.Applies {
		if err := job.Run(s.machine); err != nil {
			n.t.Fatal(err)
		}
		s.core.ApplyDone(job)
	}
	s.done = append(s.done, e.Finished...)
	s.changes = append(s.changes, e.Changes...)
	s.reads = append(s.reads, e.Reads...)
	s.elections = append(s.elections, e.Elections...)
	s.spans = append(s.spans, e.Spans...)
}

func (n *net) tick(times int) {
	for range times {
		for _, id := range n.order {
			if s := n.sites[id]; !s.down {
				s.core.Tick()
			}
		}
		n.settle()
	}
}

// patience bounds waits that hang on elections, in ticks. Timeouts are drawn at random and votes may be split, so that
// a few election times are not always enough; this many are.
const patience = 200 * DefaultElectionTicks

// until ticks until ok holds.
func (n *net) until(what string, ok func() bool) {
	n.t.Helper()
	for range patience {
		if ok() {
			return
		}
		n.tick(1)
	}
	n.t.Fatalf("never, in %d ticks: %s", patience, what)
}

func (n *net) lead(id uint64) *site {
	n.t.Helper()
	n.settle()
	n.sites[id].core.Campaign()
	n.settle()
	if s := n.sites[id].core.Status(); !s.Serving {
		n.t.Fatalf("site %d does not lead: %+v", id, s)
	}
	return n.sites[id]
}

func command(t *testing.T, name string, number int) *stream.Command {
	t.Helper()
	cmd, err := stream.NewAppend(stream.Limits{}, stream.Write{Stream: name, Expected: stream.Any, Events: []stream.Event{
		{ID: [16]byte{1, byte(number), byte(number >> 8)}, Type: "t", Data: []byte("data")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return cmd
}

func TestWaitingCommandsShareOneEntry(t *testing.T) {
	t.Parallel()
	n := newNet(t, 1, 3, 3)
	leader := n.lead(1)
	before, _ := leader.storage.Log.LastIndex()
	for i := range 100 {
		leader.core.Propose(&Proposal{Command: command(t, fmt.Sprint("s", i%7), i)})
	}
	n.settle()
	after, _ := leader.storage.Log.LastIndex()
	if after != before+1 {
		t.Errorf("100 commands took %d entries", after-before)
	}
	if len(leader.done) != 100 {
		t.Fatalf("%d of 100 are done", len(leader.done))
	}
	for _, p := range leader.done {
		if p.Err != nil || p.Outcome.Kind != stream.Done {
			t.Errorf("%+v, %v", p.Outcome, p.Err)
		}
	}
	n.tick(4)
	for _, id := range n.order {
		if got, want := n.sites[id].machine.Watermark().Applied(), leader.storage.Log.End(); got != want {
			t.Errorf("site %d has applied to %d, the log ends at %d", id, got, want)
		}
	}
}

// Goal: a command that ends a segment does so between those before and those after
// it, on every site alike. Method: it is given among others that share entries.
func TestSegmentMarkStandsFirstInItsEntry(t *testing.T) {
	t.Parallel()
	n := newNet(t, 1, 3, 3)
	leader := n.lead(1)
	mark := &Proposal{Command: stream.NewSegmentMark()}
	for i := range 40 {
		leader.core.Propose(&Proposal{Command: command(t, fmt.Sprint("s", i%7), i)})
		if i == 19 {
			leader.core.Propose(mark)
		}
	}
	n.settle()
	n.tick(4)
	if len(leader.done) != 41 || mark.Err != nil || mark.Outcome.Kind != stream.Done {
		t.Fatalf("%d of 41 are done; the mark: %+v, %v", len(leader.done), mark.Outcome, mark.Err)
	}
	for _, id := range n.order {
		all := n.sites[id].storage.Log.Segments()
		if len(all) != 2 || !all[0].Closed || all[1].Base+log.FrameHeaderBytes != mark.Outcome.Record {
			t.Fatalf("site %d: %+v; the mark is at %d", id, all, mark.Outcome.Record)
		}
	}
	before := 0
	for _, p := range leader.done {
		if p != mark && p.Outcome.Position < mark.Outcome.Record {
			before++
		}
	}
	if before != 20 {
		t.Errorf("%d commands stand before the mark, 20 were given before it", before)
	}
}

// Goal: a deposed leader neither acknowledges nor fails what it cannot know.
func TestDeposedLeaderKeepsUnknownCommandsUntilTheyAreDecided(t *testing.T) {
	t.Parallel()
	n := newNet(t, 1, 3, 3)
	old := n.lead(1)
	n.cut = func(m *raftpb.Message) bool { return m.GetFrom() == 1 || m.GetTo() == 1 }
	proposal := &Proposal{Command: command(t, "s", 1)}
	old.core.Propose(proposal)
	n.settle()
	if len(old.done) != 0 {
		t.Fatal("an isolated leader gave a verdict")
	}
	n.tick(3 * DefaultElectionTicks) // check-quorum deposes it
	late := &Proposal{Command: command(t, "s", 2)}
	old.core.Propose(late)
	n.settle()
	if late.Err != ErrNotAppended {
		t.Fatalf("a command given to a deposed leader: %v", late.Err)
	}
	if proposal.Err != nil || len(old.done) != 1 {
		t.Fatal("the command in its log was given a verdict before it was known")
	}
	n.cut = nil
	n.until("the command is decided", func() bool { return proposal.Err != nil })
	if proposal.Err != ErrNotAppended {
		t.Errorf("the command whose entry lost: %v", proposal.Err)
	}
}

func TestTransferKeepsCommandsWaitingAndReturnsThem(t *testing.T) {
	t.Parallel()
	n := newNet(t, 1, 3, 3)
	leader := n.lead(1)
	leader.core.Transfer(2)
	waiting := &Proposal{Command: command(t, "s", 1)}
	leader.core.Propose(waiting)
	n.settle()
	if waiting.Err != ErrNotAppended {
		t.Errorf("the command came back with %v", waiting.Err)
	}
	if s := n.sites[2].core.Status(); !s.Serving {
		t.Errorf("the target does not lead: %+v", s)
	}
}

// Goal (P8): a clone does not vote before it holds every committed entry.
func TestCloneVotesOnlyWhenItHoldsEverythingCommitted(t *testing.T) {
	t.Parallel()
	n := newNet(t, 1, 3, 4)
	leader := n.lead(1)
	leader.core.ChangeConf(&Change{Learners: []uint64{4}})
	n.tick(10)
	n.cut = func(m *raftpb.Message) bool { return m.GetTo() == 4 }
	for i := range 10 {
		leader.core.Propose(&Proposal{Command: command(t, "s", i)})
		n.settle()
	}
	change := &Change{Voters: []uint64{4}, Learners: []uint64{3}}
	leader.core.ChangeConf(change)
	n.settle()
	if change.proposed {
		t.Fatal("the change was proposed while the clone misses committed entries")
	}
	n.tick(holdAfterTicks + holdForTicks + 2)
	if change.Err != ErrNotCaughtUp {
		t.Fatalf("the change ended with %v", change.Err)
	}
	n.cut = nil
	n.tick(10)
	change = &Change{Voters: []uint64{4}, Learners: []uint64{3}}
	leader.core.ChangeConf(change)
	n.tick(10)
	if change.Err != nil || len(leader.changes) != 3 {
		t.Fatalf("the change ended with %v (%d)", change.Err, len(leader.changes))
	}
	if conf := leader.core.Status().Conf; fmt.Sprint(conf.GetVoters(), conf.GetLearners()) != "[1 2 4] [3]" {
		t.Errorf("configuration %v", conf)
	}
}

// Goal: a node that restarts remembers which configuration is in force, although
// the commit index is not synced for ordinary entries.
func TestRestartKnowsTheConfiguration(t *testing.T) {
	t.Parallel()
	n := newNet(t, 1, 3, 4)
	leader := n.lead(1)
	leader.core.ChangeConf(&Change{Learners: []uint64{4}})
	n.tick(10)
	leader.core.ChangeConf(&Change{Voters: []uint64{4}, Learners: []uint64{3}})
	n.tick(10)
	s := n.sites[3] // alive during the change, and then cut off and restarted
	_ = s.storage.Log.Close()
	n.open(s)
	n.boot(s)
	n.cut = func(m *raftpb.Message) bool { return m.GetFrom() == 3 || m.GetTo() == 3 }
	n.settle()
	if isIn(s.core.Status().Conf.GetVoters(), 3) {
		t.Errorf("it believes it votes: %v", s.core.Status().Conf)
	}
	s.core.Campaign()
	n.tick(5 * DefaultElectionTicks)
	if status := s.core.Status(); status.State != raft.StateFollower {
		t.Errorf("a clone stood for election: %v", status.State)
	}
}

func isIn(ids []uint64, id uint64) bool {
	for _, other := range ids {
		if other == id {
			return true
		}
	}
	return false
}

func TestReadIndexIsConfirmedByAQuorumOnly(t *testing.T) {
	t.Parallel()
	n := newNet(t, 1, 3, 3)
	leader := n.lead(1)
	leader.core.ReadIndex(&Read{})
	n.settle()
	if len(leader.reads) != 1 || leader.reads[0].Err != nil {
		t.Fatalf("reads %+v", leader.reads)
	}
	n.cut = func(m *raftpb.Message) bool { return m.GetFrom() == 1 || m.GetTo() == 1 }
	leader.core.ReadIndex(&Read{})
	n.settle()
	if len(leader.reads) != 1 {
		t.Fatal("an isolated leader confirmed a read")
	}
	n.tick(3 * DefaultElectionTicks)
	if len(leader.reads) != 2 || leader.reads[1].Err != ErrNotAppended {
		t.Fatalf("a deposed leader's read: %+v", leader.reads[1:])
	}
}

func TestFollowersLearnOfADeadLeaderAndElectAtOnce(t *testing.T) {
	t.Parallel()
	n := newNet(t, 1, 3, 3)
	n.lead(1).down = true
	n.sites[2].core.LeaderGone(1, true)
	n.sites[3].core.LeaderGone(1, false)
	n.tick(1)
	if s := n.sites[2].core.Status(); !s.Serving {
		t.Errorf("site 2 does not lead after one tick: %+v", s)
	}
}

func TestFoundingEntriesAreTheSameEverywhere(t *testing.T) {
	t.Parallel()
	n := newNet(t, 1, 3, 4)
	leader := n.lead(2)
	leader.core.ChangeConf(&Change{Learners: []uint64{4}, Context: membership.Change{Put: []membership.Member{{ID: 4, Name: "4"}}}.Encode()})
	n.tick(10)
	for _, id := range n.order {
		roster := n.sites[id].machine.Roster()
		if roster.ClusterID != "test" || roster.ClusterSize != 3 || len(roster.Members) != 4 {
			t.Errorf("site %d: roster %+v", id, roster)
		}
	}
}
