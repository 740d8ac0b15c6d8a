package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"baton/control/journal"
	"baton/control/leader"
	"baton/eventstore/membership"
	"baton/eventstore/node"
	"baton/eventstore/reader"
	"baton/eventstore/stream"
)

// nodeJournal is the control plane's journal on an embedded event-store node:
// what the control plane remembers is kept by the very engine it manages.
type nodeJournal struct{ node *node.Node }

// journalSegmentBytes keeps the journal's files small: an operation is about
// 30 KiB.
const journalSegmentBytes = 8 << 20

// journalOptions are where the embedded node keeps and reaches what.
type journalOptions struct {
	dir, name, listen, advertise string
	// joined says that this node belongs to a control plane of several: it
	// founds nothing. peers are then the others' journals.
	joined bool
	peers  []string
	server *tls.Config // between control nodes; nil: plain TCP
	client *tls.Config
	log    *slog.Logger
}

// openJournal starts the embedded node. It takes writes once it has found the
// others, see ready.
func openJournal(o journalOptions) (*nodeJournal, error) {
	size := 1
	if o.joined {
		size = 3 // asked only when founding, which a joined node never does alone
	}
	n, err := node.Start(node.Config{Dir: o.dir, IndexDir: filepath.Join(o.dir, "index"), Name: o.name, ClusterName: "control",
		ClusterSize: size, PeerListen: o.listen, PeerAdvertise: o.advertise, PeerSeeds: o.peers, PeerServerTLS: o.server, PeerClientTLS: o.client,
		SegmentBytes: journalSegmentBytes, CacheBytes: 16 << 20, WriteTimeout: 5 * time.Second, Version: version, Logger: o.log})
	if err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	return &nodeJournal{node: n}, nil
}

// ready returns when a leader is known, at the latest when ctx ends.
func (j *nodeJournal) ready(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, why := j.node.Ready()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("open the journal: %s: %w", why, ctx.Err())
		case err := <-j.node.Done():
			return fmt.Errorf("open the journal: %w", err)
		case <-tick.C:
		}
	}
}

// Append implements journal.Journal; a node that does not lead passes it on.
func (j *nodeJournal) Append(ctx context.Context, name string, expected int64, events ...journal.Event) (int64, error) {
	return appendWith(name, expected, events, func(cmd *stream.Command) (stream.Outcome, error) { return j.node.Append(ctx, cmd, false) })
}

// leaderJournal appends as this node while it leads, or not at all: what a
// deposed leader would still write is refused here.
type leaderJournal struct{ *nodeJournal }

// leaderAppendTime bounds an append whose context does not.
const leaderAppendTime = 5 * time.Second

// Append implements journal.Journal.
func (j leaderJournal) Append(ctx context.Context, name string, expected int64, events ...journal.Event) (int64, error) {
	return appendWith(name, expected, events, func(cmd *stream.Command) (stream.Outcome, error) {
		p, err := j.node.Start(cmd)
		if err != nil {
			return stream.Outcome{}, err
		}
		ctx, cancel := context.WithTimeout(ctx, leaderAppendTime)
		defer cancel()
		return j.node.Await(ctx, p)
	})
}

func appendWith(name string, expected int64, events []journal.Event, do func(*stream.Command) (stream.Outcome, error)) (int64, error) {
	w := stream.Write{Stream: name, Expected: stream.Expected(expected)}
	for _, e := range events {
		w.Events = append(w.Events, stream.Event{ID: uuid.New(), Type: e.Type, JSON: true, Data: e.Data})
	}
	cmd, err := stream.NewAppend(stream.Limits{}, w)
	if err != nil {
		return 0, fmt.Errorf("encode events for %s: %w", name, err)
	}
	out, err := do(cmd)
	switch {
	case err != nil:
		return 0, err
	case len(out.Writes) != 1:
		return 0, fmt.Errorf("append to %s: %s %s", name, out.Kind, out.Reason)
	case out.Kind == stream.Conflict:
		actual := out.Writes[0].Actual
		if actual < 0 {
			actual = journal.NoStream
		}
		return 0, &journal.ConflictError{Stream: name, Expected: expected, Actual: actual}
	case out.Kind != stream.Done:
		return 0, fmt.Errorf("append to %s: %s %s", name, out.Kind, out.Reason)
	}
	return out.Writes[0].Last, nil
}

func recorded(e *reader.Event) journal.Recorded {
	return journal.Recorded{Stream: e.Stream, Revision: e.Revision, Position: e.Position,
		At:    time.Unix(0, e.Created*100).UTC(),
		Event: journal.Event{Type: e.Type, Data: append([]byte(nil), e.Data()...)}}
}

// Read implements journal.Journal.
func (j *nodeJournal) Read(ctx context.Context, name string, from int64, max int) ([]journal.Recorded, error) {
	var out []journal.Recorded
	_, err := j.node.Reader().Stream(ctx, reader.StreamQuery{Stream: name, From: from, Count: uint64(max)}, func(e *reader.Event) error {
		out = append(out, recorded(e))
		return nil
	})
	return out, err
}

// Follow implements journal.Journal.
func (j *nodeJournal) Follow(ctx context.Context, after uint64, on func(journal.Recorded) error, caughtUp func()) error {
	return j.node.Reader().SubscribeAll(ctx, reader.AllSubscription{From: after, FromStart: after == 0}, &follower{on, caughtUp})
}

// follower hands events on; streams beginning with $ are the engine's own.
type follower struct {
	on       func(journal.Recorded) error
	caughtUp func()
}

func (f *follower) Event(e *reader.Event) error {
	if strings.HasPrefix(e.Stream, "$") {
		return nil
	}
	return f.on(recorded(e))
}

func (f *follower) Checkpoint(uint64) error { return nil }

func (f *follower) CaughtUp(int64, uint64) error {
	if f.caughtUp != nil {
		f.caughtUp()
		f.caughtUp = nil
	}
	return nil
}

// electorNode is the embedded node as package leader sees it.
type electorNode struct{ *node.Node }

// Confirm implements leader.Node.
func (n electorNode) Confirm(ctx context.Context) error { return n.ConfirmLeader(ctx) }

// View implements leader.Node.
func (n electorNode) View() leader.View {
	v := n.Node.View()
	out := leader.View{Election: v.Term, Needed: v.Quorum.Needed, Alive: v.Quorum.Alive}
	for _, m := range v.Members {
		voter := m.Role == membership.RoleLeader || m.Role == membership.RoleFollower
		if m.ID == v.Leader && v.Leader != 0 {
			out.Leader = m.Name
		}
		out.Nodes = append(out.Nodes, leader.NodeView{Name: m.Name, Peer: m.PeerAddress, Self: m.ID == v.Self, Alive: m.Alive, Voter: voter, LagBytes: m.LagBytes})
	}
	return out
}
