package agent

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"baton/control/agent/fence"
	"baton/control/engine"
	"baton/control/lease"
	agentpb "baton/gen/agent"
	"baton/platform/identity"
)

// bare is an agent that has joined and can promise, without a control plane.
func bare(t *testing.T, ca *identity.CA, id string, kind identity.Kind) *Agent {
	t.Helper()
	dir := t.TempDir()
	key, keyPEM, err := identity.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := identity.NewRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Sign(csr, identity.Identity{Kind: kind, ID: id})
	if err != nil {
		t.Fatal(err)
	}
	if err := storeCertificate(dir, keyPEM, &agentpb.JoinReply{CertificatePem: cert, CaPem: ca.CertificatePEM()}); err != nil {
		t.Fatal(err)
	}
	if err := storeMember(dir, member{ID: id, Address: "127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	a := &Agent{opt: Options{Dir: dir, Advertise: "127.0.0.1"}, log: slog.New(slog.NewTextHandler(io.Discard, nil)), instances: map[string]*watched{}}
	if a.me, err = loadMember(dir); err != nil {
		t.Fatal(err)
	}
	if a.fences, err = fence.Open(filepath.Join(dir, "fences")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.fences.Close() })
	if a.leases, err = openLeases(a); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestOnlyTheHoldersAgentIsPromisedAnything(t *testing.T) {
	ca, err := identity.OpenCA(filepath.Join(t.TempDir(), "ca"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	b := bare(t, ca, "agent-b", identity.KindAgent)
	if err := b.leases.peers.serve(ctx); err != nil {
		t.Fatal(err)
	}
	b.instances["c/n2"] = &watched{in: engine.Instance{Cluster: "c", Node: "n2"}}
	b.leases.terms(LeaseTerms{Cluster: "c", Generation: 3, Holder: "n1", HolderAgent: "agent-a", TTL: lease.DefaultTTL, Mode: ModeFailsafe, Roster: 1})
	ask := func(from *Agent, id string) (*agentpb.PromiseReply, error) {
		api, err := from.leases.peers.to(Peer{Node: "n2", Agent: id, Address: b.leases.peers.at()})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		return api.Promise(ctx, &agentpb.PromiseRequest{Cluster: "c", Generation: 3, Holder: "n1", Node: "n2", TtlNs: int64(lease.DefaultTTL)})
	}
	a := bare(t, ca, "agent-a", identity.KindAgent)
	if m, err := ask(a, "agent-b"); err != nil || !m.GetPromised() {
		t.Fatalf("the holder's agent: %v %v", m, err)
	}
	if m, err := ask(bare(t, ca, "agent-x", identity.KindAgent), "agent-b"); err != nil || m.GetPromised() || m.GetCode() != lease.IsUnknown {
		t.Errorf("another agent: %v %v", m, err)
	}
	if m, err := ask(bare(t, ca, "agent-a", identity.KindNode), "agent-b"); err == nil {
		t.Errorf("what is no agent: %v", m)
	}
	if m, err := ask(a, "agent-z"); err == nil {
		t.Errorf("an agent other than the one that was meant: %v", m)
	}
	other, err := identity.OpenCA(filepath.Join(t.TempDir(), "ca"))
	if err != nil {
		t.Fatal(err)
	}
	if m, err := ask(bare(t, other, "agent-a", identity.KindAgent), "agent-b"); err == nil {
		t.Errorf("an agent of another authority: %v", m)
	}

	// What was promised outlives the agent, and holds up a promotion.
	again := &Agent{opt: b.opt, log: b.log}
	p, err := openPromises(again)
	if err != nil {
		t.Fatal(err)
	}
	p.vows["c"].Until += time.Hour // on a machine that stands still it may be over
	if s := p.states(); len(s) != 1 || s[0].Holder != "n1" || s[0].Generation != 3 {
		t.Errorf("after a restart: %+v", s)
	}
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if err := p.waitFor(over, "c", "n2", 4); engine.CodeOf(err) != engine.CodeRefused {
		t.Errorf("a later generation: %v", err)
	}
	if err := p.waitFor(over, "c", "n2", 3); err != nil {
		t.Errorf("the generation itself: %v", err)
	}
	// Barred, none is given.
	if _, err := barPromises(ctx, b, Order{Cluster: "c", Generation: 3}); err != nil {
		t.Fatal(err)
	}
	if m, err := ask(a, "agent-b"); err != nil || m.GetPromised() || m.GetCode() != lease.Barred {
		t.Errorf("barred: %v %v", m, err)
	}
	if _, err := allowPromises(ctx, b, Order{Cluster: "c", Generation: 3}); err != nil {
		t.Fatal(err)
	}
	if m, err := ask(a, "agent-b"); err != nil || !m.GetPromised() {
		t.Errorf("allowed again: %v %v", m, err)
	}
}
