package backup

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"baton/eventstore/log"
	"baton/eventstore/membership"
	"baton/eventstore/node"
	"baton/eventstore/reader"
	"baton/eventstore/stream"
	"baton/platform/vfs"
	"baton/test/fleet"
)

// testSegment is small, so that a backup has many files.
const testSegment = 64 << 10

func eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(2 * time.Minute); ; <-poll.C {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// startNode starts a node on a directory; tune may change its configuration.
func startNode(t testing.TB, dir string, tune func(*node.Config)) *node.Node {
	t.Helper()
	cfg := node.Config{Dir: dir, Name: filepath.Base(dir), ClusterSize: 1, PeerListen: "127.0.0.1:0", ClientHost: "127.0.0.1", ClientPort: 1, SegmentBytes: testSegment,
		Settle: 200 * time.Millisecond, CatchUpFor: 50 * time.Millisecond, Version: "1.0-test", ClusterName: "shop"}
	if os.Getenv("BATON_TEST_LOG") != "" {
		cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("test", t.Name(), "node", cfg.Name)
	}
	if tune != nil {
		tune(&cfg)
	}
	var n *node.Node
	eventually(t, "start a node", func() (err error) { n, err = node.Start(cfg); return err })
	t.Cleanup(n.Stop)
	ready(t, n)
	return n
}

func ready(t testing.TB, n *node.Node) {
	t.Helper()
	eventually(t, "the node serves", func() error {
		if ok, why := n.Ready(); !ok {
			return errors.New(why)
		}
		return nil
	})
}

func peerAddresses(t testing.TB, n int) []string {
	t.Helper()
	ports, err := fleet.FreePorts(n)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]string, n)
	for i, p := range ports {
		out[i] = fmt.Sprintf("127.0.0.1:%d", p)
	}
	return out
}

// written is one acknowledged event.
type written struct {
	revision int64
	position uint64
	data     []byte
}

// writes are the acknowledged events of each stream, in order.
type writes struct {
	mu sync.Mutex
	by map[string][]written
	n  int
}

func (w *writes) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.n
}

// write appends one event of about size bytes and notes it when it is
// acknowledged. It reports false if the outcome is not known.
func (w *writes) write(ctx context.Context, n *node.Node, name string, size int) bool {
	e := stream.Event{Type: "tested", Data: make([]byte, size)}
	_, _ = rand.Read(e.Data)
	_, _ = rand.Read(e.ID[:])
	cmd, err := stream.NewAppend(stream.Limits{}, stream.Write{Stream: name, Expected: stream.Any, Events: []stream.Event{e}})
	if err != nil {
		panic(err)
	}
	out, err := n.Append(ctx, cmd, false)
	if err != nil || out.Kind != stream.Done {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.by == nil {
		w.by = map[string][]written{}
	}
	w.by[name] = append(w.by[name], written{out.Writes[0].Last, out.Position, e.Data})
	w.n++
	return true
}

// must writes count events one after the other.
func (w *writes) must(t testing.TB, n *node.Node, name string, count, size int) {
	t.Helper()
	for range count {
		eventually(t, "an append", func() error {
			if !w.write(t.Context(), n, name, size) {
				return errors.New("it was not acknowledged")
			}
			return nil
		})
	}
}

// live writes to some streams all the time until stop.
func (w *writes) live(t testing.TB, n *node.Node) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for j := 0; ctx.Err() == nil; j++ {
				w.write(context.Background(), n, fmt.Sprintf("live-%d-%d", i, j%7), 200+j%900)
			}
		})
	}
	stop = func() { cancel(); all.Wait() }
	t.Cleanup(stop)
	return stop
}

// compare checks that the node has every event acknowledged before a position,
// at its position and revision with its data, and returns how many.
func (w *writes) compare(t testing.TB, n *node.Node, before uint64) int {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	compared := 0
	for name, list := range w.by {
		have := map[int64]reader.Event{}
		datas := map[int64][]byte{}
		_, err := n.Reader().Stream(t.Context(), reader.StreamQuery{Stream: name, FromStart: true, Count: 1 << 40}, func(e *reader.Event) error {
			have[e.Revision], datas[e.Revision] = *e, bytes.Clone(e.Data())
			return nil
		})
		if err != nil {
			t.Fatalf("read %s: %v", name, err)
		}
		for _, want := range list {
			if want.position >= before {
				continue
			}
			got, ok := have[want.revision]
			if !ok || got.Position != want.position || !bytes.Equal(datas[want.revision], want.data) {
				t.Fatalf("%s@%d was acknowledged at position %d (backup to %d); restored is %v at %d, %d bytes", name, want.revision, want.position, before, ok, got.Position, len(datas[want.revision]))
			}
			compared++
		}
	}
	return compared
}

// compareQuiet counts what the node has of all acknowledged events.
func (w *writes) compareQuiet(t testing.TB, n *node.Node) int {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	found := 0
	for name, list := range w.by {
		want := map[int64]written{}
		for _, e := range list {
			want[e.revision] = e
		}
		_, err := n.Reader().Stream(t.Context(), reader.StreamQuery{Stream: name, FromStart: true, Count: 1 << 40}, func(e *reader.Event) error {
			if is, ok := want[e.Revision]; ok && is.position == e.Position && bytes.Equal(is.data, e.Data()) {
				found++
			}
			return nil
		})
		if err != nil {
			t.Fatalf("read %s: %v", name, err)
		}
	}
	return found
}

// forget drops what was acknowledged at or after a position.
func (w *writes) forget(from uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, list := range w.by {
		kept := list[:0]
		for _, e := range list {
			if e.position < from {
				kept = append(kept, e)
			}
		}
		w.by[name] = kept
	}
}

// refusedWith fails the test unless err is a refusal with the code, and
// returns it.
func refusedWith(t testing.TB, err error, code string) *membership.Refusal {
	t.Helper()
	refusal, ok := errors.AsType[*membership.Refusal](err)
	if !ok || refusal.Code != code || refusal.Detail == "" || refusal.Fix == "" {
		t.Fatalf("want a refusal %s, got %v (%+v)", code, err, refusal)
	}
	return refusal
}

var vfsOS = vfs.OS()

// still is a source that does not change: the log of a stopped node.
type still struct {
	log  *log.Log
	at   uint64
	view membership.View
}

func (s *still) Snapshot() (*log.Snapshot, error) { return s.log.Snapshot(s.at) }
func (s *still) View() membership.View            { return s.view }

// stillSource makes a log of some segments, and returns what was written too.
func stillSource(t testing.TB, events, size int) (*still, *writes) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "n1")
	n := startNode(t, dir, nil)
	w := &writes{}
	w.must(t, n, "orders", events, size)
	view := n.View()
	n.Stop()
	l, err := log.Open(log.Options{Dir: filepath.Join(dir, node.LogDir), SegmentBytes: testSegment})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return &still{l, l.End(), view}, w
}
