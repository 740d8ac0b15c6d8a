// Package node assembles one event-store node: log, index, replica, links to
// the other nodes and the duties of its role.
//
// A node starts with its data directory and its links. While it belongs to no
// cluster a bootstrap goroutine founds or joins one (bootstrap.go). Then the
// replica runs; every node gossips its state five times a second and whenever
// it changes (gossip.go), and whoever leads looks after the membership
// (steward.go). Commands of operators are in operate.go, appends in append.go.
package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"baton/eventstore/index"
	"baton/eventstore/log"
	"baton/eventstore/membership"
	"baton/eventstore/peer"
	"baton/eventstore/reader"
	"baton/eventstore/replica"
	"baton/eventstore/scavenge"
	"baton/eventstore/scrub"
	"baton/platform/clock"
	"baton/platform/vfs"
)

// ErrRemoved is the reason of a node that was removed from its cluster.
var ErrRemoved = errors.New("this node was removed from the cluster; wipe its data directory to let it join again")

// Node is a running node. All methods may be called from any goroutine.
type Node struct {
	cfg   Config
	fs    vfs.FS
	clock clock.Clock

	mu         sync.Mutex
	identity   identity
	founding   foundingState
	introduced map[membership.MemberID]introduction // see linkMembers

	storage  *replica.Storage
	index    index.Index
	machine  *replica.Machine
	metrics  *metrics
	stands   candidacies
	reader   *reader.Reader
	network  *peer.Network
	peerAddr string

	scavenger *scavenge.Scavenger // takes out of the log what nobody can read any more
	merging   atomic.Bool         // the index is being merged by request
	scrubber  *scrub.Scrubber     // finds and mends damage of the log
	suspected atomic.Pointer[scrub.Scrubber]

	replica atomic.Pointer[replica.Replica] // nil until the node belongs to a cluster
	peers   *peerTable
	boot    *bootstrapState
	steward *steward
	waiting atomic.Pointer[string] // what bootstrap waits for

	changeMu  sync.Mutex
	gossipNow chan struct{}
	changed   chan struct{} // closed and replaced when leader, roster or a peer's report changes

	ctx      context.Context
	cancel   context.CancelFunc
	threads  sync.WaitGroup
	done     chan error
	stopOnce sync.Once
	stopped  chan struct{}
	reason   atomic.Pointer[error]
}

// Start opens the data directory, begins to listen for peers and returns. The
// node founds or joins its cluster in the background; see View and Ready.
func Start(cfg Config) (*Node, error) {
	cfg.setDefaults()
	if refusal := membership.CheckSize(cfg.ClusterSize); refusal != nil {
		return nil, refusal
	}
	n := &Node{
		metrics: newMetrics(),
		cfg:     cfg, fs: cfg.FS, clock: clock.Real(), changed: make(chan struct{}),
		done: make(chan error, 1), stopped: make(chan struct{}),
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.peers, n.boot = newPeerTable(), newBootstrapState()
	n.introduced = make(map[membership.MemberID]introduction)
	n.gossipNow = make(chan struct{}, 1)
	if err := n.open(); err != nil {
		n.cancel()
		n.closeStorage()
		return nil, err
	}
	return n, nil
}

// open listens first: when the address is taken nothing has been written.
func (n *Node) open() (err error) {
	listener, err := net.Listen("tcp", n.cfg.PeerListen)
	if err != nil {
		return fmt.Errorf("listen for peers at %s: %w", n.cfg.PeerListen, err)
	}
	defer func() {
		if err != nil {
			_ = listener.Close()
		}
	}()
	if err := vfs.MkdirAllSync(n.fs, n.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("create the data directory: %w", err)
	}
	if err := n.checkRestored(); err != nil {
		return err
	}
	n.peerAddr = n.cfg.PeerAdvertise
	if n.peerAddr == "" {
		n.peerAddr = listener.Addr().String()
	}
	if err := n.openOrMend(); err != nil {
		return err
	}
	last, err := n.storage.Log.LastIndex()
	if err != nil {
		return fmt.Errorf("read the log's end: %w", err)
	}
	if n.identity, err = loadIdentity(n.fs, n.cfg.Dir, last > 0); err != nil {
		return err
	}
	if _, err := readJSON(n.fs, path.Join(n.cfg.Dir, foundingFile), &n.founding); err != nil {
		return err
	}
	if n.cfg.Name == "" {
		n.cfg.Name = n.peerAddr
		if n.cfg.ClientHost != "" {
			n.cfg.Name = net.JoinHostPort(n.cfg.ClientHost, strconv.Itoa(n.cfg.ClientPort))
		}
	}
	n.steward = newSteward(n)
	if err := n.openScavenger(); err != nil {
		return err
	}
	n.openScrubber()
	if err := n.cfg.TLS.identify(n.identity.ID); err != nil {
		return err
	}
	links := peer.Options{
		Listener: listener, ServerTLS: n.cfg.PeerServerTLS, ClientTLS: n.cfg.PeerClientTLS,
		Handler: n.peerHandler(), Logger: n.cfg.Logger,
	}
	if n.cfg.TLS != nil {
		links.ServerTLS, links.ClientTLSNow, links.Identify = n.cfg.TLS.peerServer(), n.cfg.TLS.peerClient, n.identifyPeer
	}
	n.network = peer.New(links)
	if n.identity.ClusterID != "" {
		if err := n.startReplica(); err != nil {
			n.network.Close()
			return err
		}
	} else {
		n.goRun(n.bootstrap)
	}
	n.goRun(n.gossip)
	return nil
}

func (n *Node) logOptions() log.Options {
	return log.Options{
		FS: n.fs, Dir: path.Join(n.cfg.Dir, LogDir), SegmentBytes: n.cfg.SegmentBytes, CacheBytes: n.cfg.CacheBytes,
		LostWritesDir: path.Join(n.cfg.Dir, "lost-writes"), Logger: n.cfg.Logger, Suspect: n.suspect, Background: true,
	}
}

func (n *Node) openStorage() error {
	opened, err := log.Open(n.logOptions())
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	n.storage = &replica.Storage{Log: opened}
	if err := n.checkState(); err != nil {
		return err
	}
	if n.storage.State, err = log.OpenState(n.fs, n.cfg.Dir); err != nil {
		return fmt.Errorf("open term and vote: %w", err)
	}
	if n.storage.Commit, err = replica.OpenCommitFile(n.fs, n.cfg.Dir); err != nil {
		return err
	}
	dir := n.cfg.IndexDir
	if dir == "" {
		dir = filepath.Join(n.cfg.Dir, IndexDir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create the index directory: %w", err)
	}
	pebble, err := index.OpenPebble(index.PebbleOptions{Dir: dir, Logger: n.cfg.Logger})
	if err != nil {
		return fmt.Errorf("open the index: %w", err)
	}
	n.index = pebble
	heads := index.NewHeads(n.index, opened, 0)
	if n.machine, err = replica.NewMachine(n.storage, n.index, heads, n.cfg.Logger); err != nil {
		return err
	}
	n.reader = reader.New(opened, n.index, heads, n.machine.Watermark(), reader.Options{})
	return nil
}

// checkState refuses a log whose term and vote are missing: a node that forgot
// its vote could vote twice.
func (n *Node) checkState() error {
	last, err := n.storage.Log.LastIndex()
	if err != nil {
		return fmt.Errorf("read the log's end: %w", err)
	}
	name := path.Join(n.cfg.Dir, stateFile)
	if _, err := n.fs.Stat(name); last > 0 && errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is missing, and with it term and vote, but there is a log: restore the file, or wipe the data directory and let the node join again", name)
	}
	return nil
}

func (n *Node) closeStorage() {
	if n.index != nil {
		_ = n.index.Close()
	}
	if n.storage == nil {
		return
	}
	if n.storage.State != nil {
		_ = n.storage.State.Close()
	}
	_ = n.storage.Log.Close()
}

// startReplica begins to take part in the cluster of identity.ClusterID.
func (n *Node) startReplica() error {
	n.mu.Lock()
	chosen := n.founding.Chosen
	id := n.identity
	n.mu.Unlock()
	if chosen != nil && chosen.ClusterID == id.ClusterID && chosen.IsFounder(id.ID) {
		if err := replica.Found(n.storage, chosen); err != nil {
			return err
		}
	}
	r, err := replica.New(replica.Options{
		Core:      replica.CoreConfig{ID: uint64(id.ID), Storage: n.storage, Machine: n.machine},
		TickEvery: n.cfg.TickEvery, Send: n.network.Send, IDs: n.reader,
		Changed: n.replicaChanged, Wrote: n.metrics.wrote, Stood: n.stood, Logger: n.cfg.Logger,
		Trace: n.recorder(),
	})
	if err != nil {
		return err
	}
	n.replica.Store(r)
	n.linkMembers()
	n.notify()
	n.goRun(func() { n.watch(r) })
	n.goRun(n.steward.run)
	n.goRun(n.announce)
	n.goRun(func() { n.scrubber.Run(n.ctx) })
	n.scavenger.Resume()
	return nil
}

// watch stops the node when its replica stops by itself.
func (n *Node) watch(r *replica.Replica) {
	select {
	case <-r.Done():
		if err := r.Failure(); err != nil {
			n.stopWith(err)
		}
	case <-n.ctx.Done():
	}
}

func (n *Node) goRun(f func()) {
	n.threads.Add(1)
	go func() {
		defer n.threads.Done()
		f()
	}()
}

// Stop hands leadership over, ends everything and returns when it has.
func (n *Node) Stop() {
	n.handOver()
	n.stopWith(nil)
	<-n.stopped
}

// stopTransfer bounds how long a stopping leader waits for its successor.
const stopTransfer = 500 * time.Millisecond

func (n *Node) handOver() {
	r := n.replica.Load()
	if r == nil || n.ctx.Err() != nil || !r.Status().IsLeader() {
		return
	}
	facts := n.facts(r.Status())
	successor, refusal := facts.Successor()
	if refusal != nil {
		return
	}
	ctx, cancel := context.WithTimeout(n.ctx, stopTransfer)
	defer cancel()
	r.Transfer(successor)
	_ = n.waitFor(ctx, func() bool { return !r.Status().IsLeader() })
}

func (n *Node) stopWith(reason error) {
	n.stopOnce.Do(func() {
		if reason != nil {
			n.reason.Store(&reason)
			n.done <- reason
		}
		n.cancel()
		go func() {
			n.network.Close()
			if r := n.replica.Load(); r != nil {
				if err := r.Stop(); err != nil && reason == nil {
					n.cfg.Logger.Error("stopping the replica", "err", err)
				}
			}
			n.threads.Wait()
			n.closeStorage()
			close(n.done)
			close(n.stopped)
		}()
	})
}

// Done delivers the reason once when the node stopped by itself: a failed disk,
// its removal from the cluster. It is closed when the node has stopped.
func (n *Node) Done() <-chan error { return n.done }

// Reader reads what this node has applied.
func (n *Node) Reader() *reader.Reader { return n.reader }

// ID returns the node's id.
func (n *Node) ID() membership.MemberID { return n.identity.ID }

// PeerAddress returns the address other nodes dial.
func (n *Node) PeerAddress() string { return n.peerAddr }

// Segments describes the log's files, for comparing nodes.
func (n *Node) Segments() []log.SegmentInfo { return n.storage.Log.Segments() }

// self is this node as a member.
func (n *Node) self() membership.Member {
	return membership.Member{
		ID: n.identity.ID, InstanceID: n.identity.InstanceID, Name: n.cfg.Name, PeerAddr: n.peerAddr,
		ClientHost: n.cfg.ClientHost, ClientPort: n.cfg.ClientPort,
		Priority: n.cfg.Priority, ReadOnlyReplica: n.cfg.ReadOnlyReplica,
	}
}

func (n *Node) clusterID() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.identity.ClusterID
}

// notify wakes everybody in waitFor.
func (n *Node) notify() {
	n.changeMu.Lock()
	close(n.changed)
	n.changed = make(chan struct{})
	n.changeMu.Unlock()
}

// waitFor returns nil once condition holds; it is asked after every change.
func (n *Node) waitFor(ctx context.Context, condition func() bool) error {
	for {
		n.changeMu.Lock()
		changed := n.changed
		n.changeMu.Unlock()
		if condition() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-n.ctx.Done():
			return ErrStopped
		}
	}
}

// replicaChanged runs on the replica's loop.
func (n *Node) replicaChanged(s replica.Status) {
	n.steward.statusChanged(&s)
	n.pokeGossip()
	n.notify()
}
