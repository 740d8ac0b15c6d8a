package projections

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"baton/eventstore/node"
	"baton/eventstore/projection"
	"baton/eventstore/reader"
	"baton/eventstore/stream"
	"baton/test/fleet"
)

// patience bounds every wait of a test.
const patience = 60 * time.Second

// house is one node with projections.
type house struct {
	t testing.TB
	n *node.Node
	s *Service
	o Options
}

func newHouse(t testing.TB, o Options) *house {
	t.Helper()
	port, err := fleet.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	peer := fmt.Sprintf("127.0.0.1:%d", port[0])
	n, err := node.Start(node.Config{
		Dir: filepath.Join(t.TempDir(), "data"), Name: "n0", ClusterSize: 1, PeerListen: peer, PeerSeeds: []string{peer}, ClientHost: "127.0.0.1", ClientPort: 1,
		SegmentBytes: 4 << 20, Settle: 100 * time.Millisecond, WriteTimeout: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	o.Node = n
	if o.Compile == nil {
		o.Compile = compileTest
	}
	h := &house{t: t, n: n, o: o}
	h.s = Start(o)
	t.Cleanup(func() {
		h.s.Stop()
		n.Stop()
	})
	h.eventually("the node to lead", func() error { _, err := h.s.List(h.context(), nil); return err })
	return h
}

// restart is what a change of leadership is to projections: they end without notice and are loaded anew.
func (h *house) restart() {
	h.s.Stop()
	h.s = Start(h.o)
	h.eventually("the projections to be loaded", func() error { _, err := h.s.List(h.context(), nil); return err })
}

func (h *house) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	h.t.Cleanup(cancel)
	return ctx
}

func (h *house) eventually(what string, check func() error) {
	h.t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ; ; <-tick.C {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("%s: %v", what, err)
		}
	}
}

// write appends events of a type with the data given.
func (h *house) write(name, kind string, data ...string) {
	h.t.Helper()
	w := stream.Write{Stream: name, Expected: stream.Any}
	for _, d := range data {
		w.Events = append(w.Events, event(kind, true, []byte(d), nil))
	}
	cmd, err := stream.NewAppend(stream.Limits{}, w)
	if err != nil {
		h.t.Fatal(err)
	}
	if out, err := h.n.Append(h.context(), cmd, true); err != nil || out.Kind != stream.Done {
		h.t.Fatal(out.Kind, err)
	}
}

func (h *house) delete(name string, hard bool) {
	h.t.Helper()
	build := stream.NewDelete
	if hard {
		build = stream.NewTombstone
	}
	cmd, err := build(name, stream.Any)
	if err != nil {
		h.t.Fatal(err)
	}
	if out, err := h.n.Append(h.context(), cmd, true); err != nil || out.Kind != stream.Done {
		h.t.Fatal(out.Kind, err)
	}
}

// read is the data of a stream's events.
func (h *house) read(name string) (list []string) {
	h.t.Helper()
	_, err := h.n.Reader().Stream(h.context(), reader.StreamQuery{Stream: name, FromStart: true, Count: 1 << 30}, func(e *reader.Event) error {
		list = append(list, string(e.Data()))
		return nil
	})
	if err != nil && !errors.Is(err, reader.ErrStreamDeleted) {
		h.t.Fatal(err)
	}
	return list
}

// awaits waits until a stream holds exactly the data given.
func (h *house) awaits(name string, want []string) {
	h.t.Helper()
	h.eventually("stream "+name, func() error {
		got := h.read(name)
		for i := range max(len(got), len(want)) {
			if i >= len(got) || i >= len(want) || got[i] != want[i] {
				return fmt.Errorf("%d events, want %d; from event %d on they are %q, want %q", len(got), len(want), i, got[min(i, len(got)):min(i+3, len(got))], want[min(i, len(want)):min(i+3, len(want))])
			}
		}
		return nil
	})
}

// awaitLast waits until the last event of a stream holds the data given.
func (h *house) awaitLast(name, want string) {
	h.t.Helper()
	h.eventually("the last event of "+name, func() error {
		if got := h.read(name); len(got) == 0 || got[len(got)-1] != want {
			return fmt.Errorf("%d events, the last %q, want %q", len(got), got[max(len(got)-1, 0):], want)
		}
		return nil
	})
}

func (h *house) create(w Wanted) {
	h.t.Helper()
	if w.Mode == "" {
		w.Mode = Continuous
	}
	if _, err := h.s.Create(h.context(), w, "somebody"); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) status(name string) Report {
	h.t.Helper()
	r, err := h.s.Statistics(h.context(), name)
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

func (h *house) awaitStatus(name string, want Status) Report {
	h.t.Helper()
	var r Report
	h.eventually("status of "+name, func() error {
		if r = h.status(name); r.Status != want {
			return fmt.Errorf("%+v, want %s", r, want)
		}
		return nil
	})
	return r
}

// awaitState waits until a partition's state is the text.
func (h *house) awaitState(name, partition, want string) {
	h.t.Helper()
	h.eventually("state "+partition+" of "+name, func() error {
		got, err := h.s.State(h.context(), name, partition)
		if err != nil || string(got) != want {
			return fmt.Errorf("%s %v, want %s", got, err, want)
		}
		return nil
	})
}

// counter is a program for tests. Its state counts events, a shared one those of all partitions. The words of its source say what it reads and does.
type counter struct {
	def   projection.Definition
	name  string
	emit  string // target of one event for each handled
	bad   string // a type it fails at
	twice bool   // it emits two events for each
	total bool   // results tell of the shared state, too
	calls *atomic.Int64
}

var counterCalls atomic.Int64

func compileTest(name, query string, _ projection.Limits) (projection.Projection, error) {
	c := &counter{name: name, calls: &counterCalls}
	for _, word := range strings.Fields(query) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "all":
			c.def.All = true
		case "streams":
			c.def.Streams = strings.Split(value, ",")
		case "categories":
			c.def.Categories = strings.Split(value, ",")
		case "types":
			c.def.EventTypes = strings.Split(value, ",")
		case "each":
			c.def.PerStream = true
		case "shared":
			c.def.BiState = true
		case "twice":
			c.twice = true
		case "total":
			c.total = true
		case "results":
			c.def.Results = true
		case "links":
			c.def.Links = true
		case "deleted":
			c.def.DeletedNotices = true
		case "emit":
			c.emit = value
		case "bad":
			c.bad = value
		default:
			return nil, &projection.Fault{Projection: name, Kind: projection.Invalid, Reason: "no such word: " + key}
		}
	}
	return c, nil
}

func (c *counter) Definition() projection.Definition { return c.def }

func (c *counter) Partition(e projection.Event) (string, bool, error) {
	if c.def.PerStream {
		return e.Stream, true, nil
	}
	return "", true, nil
}

func next(state []byte) []byte {
	n := 0
	if state != nil {
		_ = json.Unmarshal(state, &n)
	}
	return []byte(strconv.Itoa(n + 1))
}

func (c *counter) Handle(_ string, state, shared []byte, e projection.Event) (projection.Outcome, error) {
	c.calls.Add(1)
	if c.bad != "" && e.Type == c.bad {
		return projection.Outcome{}, &projection.Fault{Projection: c.name, Kind: projection.Failed, Reason: "it does not like " + e.Type}
	}
	out := projection.Outcome{State: next(state), Handled: true}
	if c.def.BiState {
		out.Shared = next(shared)
	}
	if c.def.Results {
		out.Result, _ = c.Result(out.State, out.Shared)
	}
	if c.emit != "" {
		out.Emitted = []projection.Emitted{{Stream: c.emit, Type: "emitted", JSON: true, Data: fmt.Appendf(nil, `"%d@%s"`, e.Revision, e.Stream), Metadata: []byte(`{"mine":1}`)}}
		if c.twice {
			out.Emitted = append(out.Emitted, out.Emitted[0])
		}
	}
	return out, nil
}

func (c *counter) Result(state, shared []byte) ([]byte, error) {
	if !c.def.Results || state == nil {
		return nil, nil
	}
	if c.total {
		return fmt.Appendf(nil, `"%s of %s events"`, state, shared), nil
	}
	return []byte(`"` + string(state) + ` events"`), nil
}

func (c *counter) Close() {}
