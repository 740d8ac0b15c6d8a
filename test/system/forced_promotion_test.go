package system

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"baton/test/fleet"
)

// Goal: when a primary is gone with writes that no replica has, and automatic
// failover is not to act, an admin forces a replica through the API; what is
// missing is said before and after, and what only the old primary holds is
// saved when it comes back, kept, and removed by hand only. Then the same without
// a lease: forcedWithoutLease.
// Method: both replicas stand still while the primary takes more than their
// sockets hold; then everything on its host is killed.
func TestForcedPromotionSavesWhatIsLost(t *testing.T) {
	t.Parallel()
	s := startKilled(t)
	p := s.whole()
	var replicas []*killedHost
	for _, h := range s.hosts {
		if h != p {
			replicas = append(replicas, h)
		}
	}
	s.must("POST", "/clusters/cache/failover/pause", map[string]any{"minutes": 60, "reason": "a forced promotion is tried"})
	stopped := []int{replicas[0].engine(), replicas[1].engine()}
	for _, pid := range stopped {
		signalTo(pid, syscall.SIGSTOP)
		defer signalTo(pid, syscall.SIGCONT)
	}
	// More than sockets hold, then little ones, until it takes no more because its
	// replicas have not answered for seconds.
	value, last := strings.Repeat("x", 128<<10), -1
	pace := time.NewTicker(5 * time.Millisecond)
	defer pace.Stop()
	for n := range 5000 {
		if n >= 300 {
			value = "x"
			<-pace.C
		}
		if err := p.c.Set(context.Background(), fmt.Sprintf("alone:%04d", n), value, 0).Err(); err != nil {
			break
		}
		last = n
	}
	p.agent.freeze() // its service manager is gone too
	for _, pid := range []int{p.agent.pid(), p.guardian(), p.engine()} {
		signalTo(pid, syscall.SIGKILL)
	}
	for _, pid := range stopped {
		signalTo(pid, syscall.SIGCONT)
	}
	var plain problemView
	s.awaitIn("a refusal that names the typed name", func() (bool, string) {
		plain = s.problem("POST", "/clusters/cache/failover", map[string]any{"node": replicas[0].node, "typedName": "wrong", "acceptLoss": true})
		return plain.Status == http.StatusUnprocessableEntity, fmt.Sprintf("%+v", plain)
	})
	var begun struct{ OperationID string }
	s.awaitIn("an accepted forced promotion", func() (bool, string) {
		_, err := s.call("POST", "/clusters/cache/failover", map[string]any{"node": replicas[0].node, "typedName": replicas[0].node, "acceptLoss": true, "reason": "its host is gone"}, &begun)
		return err == nil, fmt.Sprint(err)
	})
	o := s.end(begun.OperationID, endsWithin)
	if o.State != "done" || !strings.Contains(o.Outcome, replicas[0].node+" took over from "+p.node) {
		t.Fatalf("%s: %s", o.State, o.Outcome)
	}
	missing := 0
	for n := range last + 1 {
		if got, err := replicas[0].c.Exists(context.Background(), fmt.Sprintf("alone:%04d", n)).Result(); err != nil {
			t.Fatal(err)
		} else if got == 0 {
			missing++
		}
	}
	p.agent.thaw()
	s.must("POST", "/clusters/cache/failover/pause", map[string]any{"minutes": 0})
	if now := s.whole(); now != replicas[0] {
		t.Errorf("%s is the primary", now.node)
	}
	var kept struct {
		Bundles []struct {
			ID, Node, Path, Sentence string
			Bytes                    int64
		}
	}
	// The other replica may hold more than the one that was named; then that is saved too.
	s.awaitIn("what the old primary held alone", func() (bool, string) {
		_, err := s.call("GET", "/clusters/cache/lost-writes", nil, &kept)
		for i, b := range kept.Bundles {
			if b.Node == p.node {
				kept.Bundles[0], kept.Bundles[i] = b, kept.Bundles[0]
			}
		}
		return err == nil && len(kept.Bundles) > 0 && kept.Bundles[0].Node == p.node, fmt.Sprintf("%+v %v", kept, err)
	})
	for _, b := range kept.Bundles[1:] {
		if b.Node != replicas[1].node {
			t.Errorf("something of %s is kept: %+v", b.Node, b)
		}
		s.must("POST", "/clusters/cache/lost-writes/"+b.ID+"/remove", map[string]any{"typedName": b.Node, "reason": "looked through"})
	}
	b := kept.Bundles[0]
	data, err := os.ReadFile(b.Path)
	if err != nil || int64(len(data)) != b.Bytes || b.Node != p.node {
		t.Fatalf("bundle %+v: %d bytes, %v", b, len(data), err)
	}
	saved := 0
	for n := range last + 1 {
		if bytes.Contains(data, fmt.Appendf(nil, "alone:%04d", n)) {
			saved++
		}
	}
	if saved != last+1 {
		t.Errorf("%d of %d writes that the old primary had acknowledged are in the bundle", saved, last+1)
	}
	path := "/clusters/cache/lost-writes/" + b.ID + "/remove"
	if got := s.problem("POST", path, map[string]any{"typedName": "cache"}); got.Status != http.StatusUnprocessableEntity {
		t.Errorf("removed without its node's name: %+v", got)
	}
	if got := s.problem("POST", "/clusters/cache/lost-writes/nothing/remove", map[string]any{"typedName": b.Node}); got.Status != http.StatusNotFound {
		t.Errorf("removed what is not there: %+v", got)
	}
	if _, err := os.Stat(b.Path); err != nil {
		t.Errorf("it is gone before it was removed: %v", err)
	}
	s.must("POST", path, map[string]any{"typedName": b.Node, "reason": "looked through"})
	if _, err := os.Stat(b.Path); !os.IsNotExist(err) {
		t.Errorf("the file is still there: %v", err)
	}
	if _, err := s.call("GET", "/clusters/cache/lost-writes", nil, &kept); err != nil || len(kept.Bundles) != 0 {
		t.Errorf("%+v %v", kept, err)
	}
	var page struct {
		Rows  []struct{ What, Outcome string }
		Chain struct{ OK bool }
	}
	if _, err := s.call("GET", "/clusters/cache/audit", nil, &page); err != nil || !page.Chain.OK {
		t.Errorf("audit %+v %v", page, err)
	}
	for _, want := range []string{"removed the lost writes of " + p.node, "forced " + replicas[0].node + " to be", "paused automatic failover until", "brought " + p.node + " back"} {
		found := false
		for _, r := range page.Rows {
			found = found || strings.Contains(r.What, want) && r.Outcome == "done"
		}
		if !found {
			t.Errorf("the audit does not say %q", want)
		}
	}
	s.forcedWithoutLease(replicas[0])
	fmt.Printf("=> | forced promotion | %d writes acknowledged by the old primary alone, %d missing on the new one, %d of %d in the bundle | %s |\n", last+1, missing, saved, last+1, o.Outcome)
}

// problemView is a refusal.
type problemView struct {
	Status int
	Code   string
	Detail string
	// Refusals are the planner's.
	Refusals []struct{ Code, Detail string }
}

// problem makes a call that is to be refused.
func (s *killedSite) problem(method, path string, in any) problemView {
	var out problemView
	code, err := s.call(method, path, in, &json.RawMessage{})
	out.Status = code
	if err != nil {
		_, text, _ := strings.Cut(err.Error(), ": ")
		_ = json.Unmarshal([]byte(text), &out)
	}
	return out
}

// must makes a call that is to succeed, as soon as the control plane answers.
func (s *killedSite) must(method, path string, in any) {
	s.t.Helper()
	if err := fleet.Await(endsWithin, method+" "+path, func() (bool, string) {
		_, err := s.call(method, path, in, &json.RawMessage{})
		return err == nil, fmt.Sprint(err)
	}); err != nil {
		s.t.Fatal(err)
	}
}
