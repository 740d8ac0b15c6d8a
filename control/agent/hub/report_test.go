package hub_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"baton/control/agent"
	"baton/control/agent/delta"
	"baton/control/engine"
	"baton/control/engine/redis/redistest"
	agentpb "baton/gen/agent"
	"baton/platform/identity"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// wire is a link of a joined agent that a test speaks itself.
type wire struct {
	t    *testing.T
	link agentpb.AgentLink_ConnectClient
}

func (w *world) wire(ctx context.Context) *wire {
	w.t.Helper()
	if err := agent.Join(ctx, w.dir, w.token(), "host-1"); err != nil {
		w.t.Fatal(err)
	}
	var pem [3][]byte
	for i, name := range []string{"agent.crt", "agent.key", "ca.crt"} {
		b, err := os.ReadFile(filepath.Join(w.dir, name))
		if err != nil {
			w.t.Fatal(err)
		}
		pem[i] = b
	}
	conf, err := identity.ClientConfig(pem[0], pem[1], pem[2])
	if err != nil {
		w.t.Fatal(err)
	}
	conn, err := grpc.NewClient(w.addr, grpc.WithTransportCredentials(credentials.NewTLS(conf)))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	link, err := agentpb.NewAgentLinkClient(conn).Connect(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	out := &wire{w.t, link}
	if err := link.Send(&agentpb.FromAgent{Message: &agentpb.FromAgent_Hello{Hello: &agentpb.Hello{Name: "host-1", Version: "test"}}}); err != nil {
		w.t.Fatal(err)
	}
	if m, err := link.Recv(); err != nil || !m.GetWelcome().GetReportDeltas() || !m.GetWelcome().GetReportsInCbor() {
		w.t.Fatalf("welcomed with %v, %v", m, err)
	}
	return out
}

func (w *wire) send(m *agentpb.Report) {
	w.t.Helper()
	if err := w.link.Send(&agentpb.FromAgent{Message: &agentpb.FromAgent_Report{Report: m}}); err != nil {
		w.t.Fatal(err)
	}
}

// TestReportsOfEveryForm: a hub takes whole reports, as agents of before send
// them, and reports that tell what changed; it keeps what they leave out, with the
// time of the last. One it cannot read costs nothing but that a whole one is asked
// for: the link stays.
func TestReportsOfEveryForm(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	w := newWorld(t)
	l := w.wire(ctx)
	var last agent.Report
	arrives := func(what string, r *agent.Report) {
		t.Helper()
		redistest.Eventually(t, time.Minute, what, func() bool {
			for _, last = range w.hub.Reports() {
				return last.Sequence == r.Sequence
			}
			return false
		})
		if len(last.Instances) != 1 || last.Instances[0].Node != "n1" || last.Instances[0].Observation.Position != r.Instances[0].Observation.Position ||
			last.Instances[0].Observation.Details["keys"] != "7" || !last.At.Equal(r.At) || last.ReceivedAt.IsZero() {
			t.Fatalf("%s: %+v", what, last)
		}
	}
	r := agent.Report{Sequence: 1, At: time.Unix(1000, 0), Instances: []agent.InstanceReport{{Cluster: "c1", Node: "n1",
		Observation: &engine.Observation{Up: true, Position: 1, Details: map[string]string{"keys": "7"}}}}}
	next := func() *agent.Report {
		n := r
		o := *r.Instances[0].Observation
		o.Position++
		n.Instances = []agent.InstanceReport{r.Instances[0]}
		n.Instances[0].Observation = &o
		n.Sequence, n.At = n.Sequence+1, n.At.Add(time.Second)
		return &n
	}
	whole := func(inCBOR bool) {
		t.Helper()
		m, err := agent.EncodeReport(&r, inCBOR)
		if err != nil {
			t.Fatal(err)
		}
		l.send(m)
	}
	whole(false)
	arrives("a whole report in JSON", &r)
	r = *next()
	whole(true)
	arrives("a whole report in CBOR", &r)
	received := last.ReceivedAt
	for range 3 {
		n := next()
		l.send(&agentpb.Report{Base: r.Sequence, Delta: delta.Of(&r, n)})
		r = *n
		arrives("what changed", &r)
		if !last.ReceivedAt.After(received) {
			t.Error("a report that tells what changed does not count as heard")
		}
		received = last.ReceivedAt
	}

	n := next()
	l.send(&agentpb.Report{Base: r.Sequence + 5, Delta: delta.Of(&r, n)})
	for asked := false; !asked; {
		m, err := l.link.Recv()
		if err != nil {
			t.Fatalf("a report since one that is not known ends the link: %v", err)
		}
		asked = m.GetTick().GetWholeReport()
	}
	r = *next()
	whole(true)
	arrives("the whole report that was asked for", &r)
	n = next()
	l.send(&agentpb.Report{Base: r.Sequence, Delta: delta.Of(&r, n)})
	arrives("what changed since", n)

	l.send(&agentpb.Report{Cbor: []byte{0xff}})
	for {
		if _, err := l.link.Recv(); err != nil {
			break // what nobody can read at all ends the link
		}
	}
}

// TestAnAgentReportsWhatChanges over a whole link: what the hub shows keeps
// moving, and is never without what moves not.
func TestAnAgentReportsWhatChanges(t *testing.T) {
	w := newWorld(t).join()
	first := w.hub.Reports()[w.id]
	redistest.Eventually(t, time.Minute, "more reports come", func() bool {
		r := w.hub.Reports()[w.id]
		if r.Name != first.Name || r.Host.Kernel == "" || r.Host.Kernel != first.Host.Kernel || r.Disk != nil && r.Disk.Dir == "" {
			t.Fatalf("report %d lost what it does not repeat: %+v", r.Sequence, r)
		}
		return r.Sequence >= first.Sequence+4 && r.At.After(first.At) && r.ReceivedAt.After(first.ReceivedAt)
	})
}
