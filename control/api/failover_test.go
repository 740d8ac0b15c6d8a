package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"baton/control/agent"
	"baton/control/audit"
	"baton/control/executor"
	"baton/control/failover"
	"baton/control/journal"
	"baton/control/keeper"
	"baton/platform/auth"
)

// fakeHub is the link to the agents for the keeper of leases; kept are the
// orders about what was saved.
type fakeHub struct {
	*fakeAgents
	mu    sync.Mutex
	gone  bool // the agents have no link
	drops []agent.Order
}

func (h *fakeHub) Terms(string, agent.LeaseTerms) error { return nil }

func (h *fakeHub) Order(ctx context.Context, id string, o agent.Order) (agent.Result, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.gone {
		return agent.Result{}, agent.ErrNotConnected
	}
	if o.Action.Name == agent.ActionDropKept {
		h.drops = append(h.drops, o)
		return agent.Result{Values: map[string]string{"bytes": "10"}}, nil
	}
	return h.fakeAgents.Order(ctx, id, o)
}

// keepLeases gives a site a keeper of leases that leads.
func keepLeases(t *testing.T, s *site) *fakeHub {
	t.Helper()
	hub := &fakeHub{fakeAgents: s.agents}
	memory := keeper.NewMemory()
	ctx, stop := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		_ = s.parts.journal.Follow(ctx, 0, func(r journal.Recorded) error { memory.Take(r); return nil }, nil)
	})
	boot := time.Now()
	k := keeper.New(keeper.Options{Hub: hub, Inventory: s.inv, Memory: memory, Facts: s.srv.Monitor.Facts, Operations: s.srv.Executor, Journal: s.parts.journal,
		Audit: s.srv.Audit, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: time.Now, Boot: func() time.Duration { return time.Since(boot) }, Look: 5 * time.Millisecond})
	done.Go(func() { _ = k.Lead(ctx, 1) })
	t.Cleanup(func() { stop(); done.Wait() })
	s.srv.Keeper = k
	return hub
}

func rootOf(s *site) func(*http.Request) {
	s.srv.Tokens = append(s.srv.Tokens, APIToken{Name: "root", Role: RoleAdmin, Hash: auth.HashSecret("root-token"), Source: "cli"})
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer root-token") }
}

// audited waits until the audit of c holds a record for each of the parts.
func (s *site) audited(parts ...string) {
	s.t.Helper()
	var all strings.Builder
	defer func() {
		if s.t.Failed() {
			s.t.Logf("the audit:\n%s", all.String())
		}
	}()
	s.eventually(fmt.Sprintf("the audit says %q", parts), func() bool {
		records, _ := s.inv.Audit("c", 0, 1000)
		all.Reset()
		for _, r := range records {
			fmt.Fprintf(&all, "%s|%s|%s|%s\n", r.Outcome, r.Name, r.What, r.Detail)
		}
		for _, p := range parts {
			if !strings.Contains(all.String(), p) {
				return false
			}
		}
		return true
	})
}

// TestFailoverRoutesWithoutLeases: a control node that keeps no leases says so.
func TestFailoverRoutesWithoutLeases(t *testing.T) {
	s := newSite(t)
	s.refused(503, "not-available", "POST", "/clusters/c/failover", `{"typedName":"c"}`, operator)
	s.refused(503, "not-available", "POST", "/clusters/c/failover/pause", `{"minutes":5}`, operator)
	s.refused(503, "not-available", "POST", "/clusters/c/failover/acknowledge", `{}`, operator)
	s.refused(503, "not-available", "GET", "/clusters/c/what-if?node=a", nil, viewer)
	if got := get[LostWrites](s, "GET", "/clusters/c/lost-writes", nil, viewer); len(got.Bundles) != 0 {
		t.Errorf("%+v", got)
	}
}

// TestFailoverRoutes: who may do what, refusals in plain words, the pause, the
// acknowledgement, and what would happen if a node died.
func TestFailoverRoutes(t *testing.T) {
	s := newSite(t)
	root := rootOf(s)
	keepLeases(t, s)

	off := get[WhatIf](s, "GET", "/clusters/c/what-if?node=a", nil, viewer)
	if off.Next != "" || !strings.Contains(off.Sentence, "automatic failover is off") {
		t.Errorf("with failover off: %+v", off)
	}
	get[Settings](s, "PUT", "/clusters/c/settings", `{"failover":"bounded-loss"}`, root)
	for path, body := range map[string]string{"failover": `{"typedName":"c"}`, "failover/pause": `{"minutes":5}`, "failover/acknowledge": `{}`} {
		s.refused(403, CodeForbidden, "POST", "/clusters/c/"+path, body, viewer)
		s.refused(404, CodeUnknownCluster, "POST", "/clusters/nope/"+path, body, operator)
	}
	s.refused(403, CodeForbidden, "POST", "/clusters/c/failover", `{"node":"b","typedName":"b","acceptLoss":true}`, operator)
	s.refused(422, CodeTypedName, "POST", "/clusters/c/failover", `{"node":"b","typedName":"c"}`, operator)
	s.refused(422, CodeTypedName, "POST", "/clusters/c/failover", `{"typedName":"b"}`, operator)
	s.refused(404, CodeUnknownNode, "POST", "/clusters/c/failover", `{"node":"q","typedName":"q"}`, operator)
	s.refused(409, "primary-answers", "POST", "/clusters/c/failover", `{"typedName":"c"}`, operator)
	s.refused(422, CodeBadRequest, "POST", "/clusters/c/failover", `{"typedName":"c","force":true}`, operator)

	s.refused(422, CodeBadRequest, "POST", "/clusters/c/failover/pause", `{"minutes":10081}`, operator)
	paused := get[FailoverView](s, "POST", "/clusters/c/failover/pause", `{"minutes":10,"reason":"new switch"}`, operator)
	s.eventually("the pause is in force", func() bool {
		d := get[ClusterDetail](s, "GET", "/clusters/c", nil, viewer)
		return d.Failover != nil && d.Failover.SuspendedUntil != nil && time.Until(*d.Failover.SuspendedUntil) > 8*time.Minute
	})
	if paused.Mode != "bounded-loss" {
		t.Errorf("%+v", paused)
	}
	get[FailoverView](s, "POST", "/clusters/c/failover/pause", `{"minutes":0}`, operator)
	s.eventually("the pause has ended", func() bool {
		d := get[ClusterDetail](s, "GET", "/clusters/c", nil, viewer)
		return d.Failover != nil && d.Failover.SuspendedUntil == nil
	})
	s.refused(409, "nothing-to-acknowledge", "POST", "/clusters/c/failover/acknowledge", `{}`, operator)

	s.refused(422, CodeBadRequest, "GET", "/clusters/c/what-if", nil, viewer)
	s.refused(404, CodeUnknownNode, "GET", "/clusters/c/what-if?node=q", nil, viewer)
	s.refused(404, CodeUnknownCluster, "GET", "/clusters/nope/what-if?node=a", nil, viewer)
	s.eventually("who would follow", func() bool { // the lease is confirmed, the primary's position was seen
		s.srv.Keeper.Renew("agent-1", agent.LeaseRenewal{Cluster: "c", Node: "a", Number: 1, Holding: true, Guarded: true})
		w := get[WhatIf](s, "GET", "/clusters/c/what-if?node=a", nil, viewer)
		return w.Next == "b" && len(w.Steps) > 4 && w.LossBound != "" && strings.Contains(w.Sentence, "b would take over within")
	})
	if w := get[WhatIf](s, "GET", "/clusters/c/what-if?node=b", nil, viewer); w.Next != "" || len(w.Steps) != 0 || !strings.Contains(w.Sentence, "a goes on as the primary") {
		t.Errorf("a replica dies: %+v", w)
	}
	if c, _ := s.inv.Cluster("c"); c.Running != "" || len(c.Operations) != 0 {
		t.Errorf("something began: %+v", c)
	}
	s.audited("done|cli|paused automatic failover until 2", "|new switch", "done|cli|ended the pause", "refused|cli|tried to fail over|The primary answers",
		"refused|cli|tried to force a promotion of b", "refused|cli|tried to acknowledge")
}

// TestForcedWithoutALease: where nothing tells that the old primary is silent, a
// forced promotion needs the word of an admin, by the old primary's name; it is
// refused while what is seen contradicts it, and the audit keeps it.
func TestForcedWithoutALease(t *testing.T) {
	s := newSite(t)
	root := rootOf(s)
	keepLeases(t, s)
	const path = "/clusters/c/failover"
	force := func(off string) map[string]any {
		return map[string]any{"node": "b", "typedName": "b", "acceptLoss": true, "oldPrimaryIsOff": off, "reason": "its host burned"}
	}
	s.refused(422, CodeBadRequest, "POST", path, `{"node":"b","typedName":"b","oldPrimaryIsOff":"a"}`, root)
	s.refused(422, CodeTypedName, "POST", path, force("s"), root)
	s.refused(403, CodeForbidden, "POST", path, force("a"), operator)
	says := func(code string, off string) {
		t.Helper()
		if p := s.refused(409, CodeRefused, "POST", path, force(off), root); len(p.Refusals) == 0 || p.Refusals[0].Code != code {
			t.Errorf("saying that %q is off: %+v", off, p)
		}
	}
	says(failover.CodeStillAnswers, "a")
	c, _ := s.inv.Cluster("c")
	f, _ := s.srv.Monitor.Facts("c")
	s.srv.Keeper.Saw(&c, &f) // as the guard of roles does
	s.agents.mu.Lock()
	s.agents.down["a"] = true
	s.agents.mu.Unlock()
	s.eventually("it is seen to be gone", func() bool {
		snap, _ := s.srv.Monitor.Snapshot("c")
		return snap.Primary() == nil && !snap.Node("b").Seen.LinkUp
	})
	says(failover.CodeNotSilent, "")
	if p := s.refused(409, CodeRefused, "POST", path, `{"typedName":"c"}`, operator); len(p.Refusals) != 1 || p.Refusals[0].Code != failover.CodeNoLease {
		t.Errorf("not forced: %+v", p)
	}
	if w := get[WhatIf](s, "GET", "/clusters/c/what-if?node=a", nil, viewer); w.LossBound == "" {
		t.Errorf("nothing is said of the loss: %+v", w)
	}
	begun := get[OperationStarted](s, "POST", path, force("a"), root)
	var o Operation
	s.eventually("it is over", func() bool {
		o = get[Operation](s, "GET", "/operations/"+begun.OperationID, nil, viewer)
		return o.EndedAt != nil
	})
	if o.State != "done" || !strings.Contains(o.Outcome, "b took over from a") || !strings.Contains(o.Outcome, "root said at 20") {
		t.Errorf("%s: %s", o.State, o.Outcome)
	}
	s.audited("done|root|said that a is switched off|for operation "+begun.OperationID+": its host burned", "done|root|forced b to be primary in place of a",
		"refused|root|tried to force a promotion of b, saying that a is switched off")
}

// TestLostWritesRoutes: what was saved is listed, and removed only by an admin
// who types the node's name, where its host can be asked; that is audited.
func TestLostWritesRoutes(t *testing.T) {
	s := newSite(t)
	root := rootOf(s)
	hub := keepLeases(t, s)
	for i, b := range []keeper.Bundle{
		{Node: "b", Generation: 3, At: time.Now(), Operation: "op-1", Host: "host-1", Path: "/x/lost-writes-c-b-3.rdb", Bytes: 10, Commands: -1, Sentence: "everything"},
		{Node: "gone", Generation: 4, At: time.Now(), Operation: "op-2", Host: "host-9", Path: "/x/lost-writes-c-gone-4.rdb", Bytes: 20, Commands: 7, Sentence: "everything"}} {
		data, _ := json.Marshal(b)
		if _, err := s.parts.journal.Append(context.Background(), "failover-c", int64(i)-1, journal.Event{Type: "primary-rejoined", Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	var list LostWrites
	s.eventually("both are listed", func() bool {
		list = get[LostWrites](s, "GET", "/clusters/c/lost-writes", nil, viewer)
		return len(list.Bundles) == 2
	})
	if b := list.Bundles[1]; b.ID != "op-1" || b.Node != "b" || b.Commands != nil || list.Bundles[0].Commands == nil || *list.Bundles[0].Commands != 7 {
		t.Errorf("%+v", list)
	}
	s.refused(404, CodeUnknownCluster, "GET", "/clusters/nope/lost-writes", nil, viewer)
	remove := "/clusters/c/lost-writes/op-1/remove"
	s.refused(403, CodeForbidden, "POST", remove, `{"typedName":"b"}`, operator)
	s.refused(422, CodeTypedName, "POST", remove, `{"typedName":"c"}`, root)
	s.refused(404, CodeNotFound, "POST", "/clusters/c/lost-writes/op-9/remove", `{"typedName":"b"}`, root)
	s.refused(404, CodeUnknownCluster, "POST", "/clusters/nope/lost-writes/op-1/remove", `{"typedName":"b"}`, root)
	if p := s.refused(409, CodeRefused, "POST", "/clusters/c/lost-writes/op-2/remove", `{"typedName":"gone"}`, root); !strings.Contains(p.Detail, "/x/lost-writes-c-gone-4.rdb on host-9") {
		t.Errorf("%+v", p)
	}
	hub.mu.Lock()
	hub.gone = true
	hub.mu.Unlock()
	s.refused(503, CodeUnavailable, "POST", remove, `{"typedName":"b"}`, root)
	hub.mu.Lock()
	hub.gone = false
	drops := len(hub.drops)
	hub.mu.Unlock()
	if drops != 0 || len(get[LostWrites](s, "GET", "/clusters/c/lost-writes", nil, viewer).Bundles) != 2 {
		t.Errorf("%d were removed", drops)
	}
	get[LostWrites](s, "POST", remove, `{"typedName":"b","reason":"read"}`, root)
	s.eventually("one is left", func() bool {
		list = get[LostWrites](s, "GET", "/clusters/c/lost-writes", nil, viewer)
		return len(list.Bundles) == 1 && list.Bundles[0].ID == "op-2"
	})
	hub.mu.Lock()
	if len(hub.drops) != 1 || hub.drops[0].Node != "b" || hub.drops[0].Action.Arg("generation") != "3" {
		t.Errorf("orders %+v", hub.drops)
	}
	hub.mu.Unlock()
	s.refused(404, CodeNotFound, "POST", remove, `{"typedName":"b"}`, root)
	// A file of a second primary, listed by what had it saved; tried again it is the same file.
	for _, id := range []string{"fix-1", "fix-2"} {
		if err := s.srv.Keeper.Kept(context.Background(), executor.Saved{Cluster: "c", Node: "s", Generation: 5, Operation: id, Path: "/x/lost-writes-c-s-5-2.rdb", Bytes: 30, Why: "everything s held"}); err != nil {
			t.Fatal(err)
		}
	}
	s.eventually("it is listed, once", func() bool {
		list = get[LostWrites](s, "GET", "/clusters/c/lost-writes", nil, viewer)
		return len(list.Bundles) > 1
	})
	if b := list.Bundles[0]; len(list.Bundles) != 2 || b.ID != "fix-1" || b.Host != "host-1" || b.Bytes != 30 || b.Sentence != "everything s held, is in /x/lost-writes-c-s-5-2.rdb" {
		t.Errorf("%+v", list)
	}
	get[LostWrites](s, "POST", "/clusters/c/lost-writes/fix-1/remove", `{"typedName":"s"}`, root)
	hub.mu.Lock()
	if d := hub.drops[len(hub.drops)-1]; d.Node != "s" || d.Action.Arg("generation") != "5" || d.Action.Arg("file") != "lost-writes-c-s-5-2.rdb" {
		t.Errorf("order %+v", d)
	}
	hub.mu.Unlock()
	s.audited("done|root|removed the lost writes of b|/x/lost-writes-c-b-3.rdb on host-1, 10 bytes, of generation 3: read",
		audit.Refused+"|root|tried to remove the lost writes op-2")
	if _, bad := s.inv.VerifyAudit("c"); bad >= 0 {
		t.Errorf("record %d of the audit does not fit", bad)
	}
}
