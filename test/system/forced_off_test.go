package system

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"

	"baton/control/failover"
)

// forcedWithoutLease goes on with a whole cluster whose primary is p: its failover
// is turned off, so that no lease tells when a primary is silent, and everything
// on p's host is killed. Nobody is promoted before an admin says that it is off;
// when the host comes back with its server as a primary, that becomes a replica,
// and every write it took meanwhile is in a file.
func (s *killedSite) forcedWithoutLease(p *killedHost) {
	t := s.t
	t.Helper()
	s.must("PUT", "/clusters/cache/settings", map[string]any{"failover": "off", "durability": "async"})
	s.awaitIn("no lease", func() (bool, string) {
		var v killedView
		_, err := s.call("GET", "/clusters/cache", nil, &v)
		return err == nil && v.Lease != nil && v.Lease.State == "none" && v.Primary != nil && v.Primary.Node == p.node, fmt.Sprintf("%+v lease %+v %v", v, v.Lease, err)
	})
	heir := s.hosts[0]
	if heir == p {
		heir = s.hosts[1]
	}
	p.agent.freeze()
	for _, pid := range []int{p.agent.pid(), p.guardian(), p.engine()} {
		if pid > 1 {
			signalTo(pid, syscall.SIGKILL)
		}
	}
	const path = "/clusters/cache/failover"
	force := map[string]any{"node": heir.node, "typedName": heir.node, "acceptLoss": true, "reason": "its host is gone"}
	s.awaitIn("a refusal because nobody knows that it is silent", func() (bool, string) {
		got := s.problem("POST", path, force)
		return got.Status == http.StatusConflict && len(got.Refusals) > 0 && got.Refusals[0].Code == failover.CodeNotSilent, fmt.Sprintf("%+v", got)
	})
	force["oldPrimaryIsOff"] = heir.node
	if got := s.problem("POST", path, force); got.Status != http.StatusUnprocessableEntity {
		t.Errorf("another node's name is taken for the old primary's: %+v", got)
	}
	force["oldPrimaryIsOff"] = p.node
	var o operationView
	for range 5 { // taken back, moving nothing, while a machine stands still
		var begun struct{ OperationID string }
		s.awaitIn("an accepted forced promotion", func() (bool, string) {
			_, err := s.call("POST", path, force, &begun)
			return err == nil, fmt.Sprint(err)
		})
		if o = s.end(begun.OperationID, endsWithin); o.State == "done" {
			break
		}
	}
	if o.State != "done" || !strings.Contains(o.Outcome, heir.node+" took over from "+p.node) || !strings.Contains(o.Outcome, "that "+p.node+" is switched off") {
		t.Fatalf("%s: %s", o.State, o.Outcome)
	}
	p.agent.thaw()
	acked := 0
	s.awaitIn(p.node+" is a replica of "+heir.node, func() (bool, string) {
		for range 20 {
			if p.c.Set(context.Background(), fmt.Sprintf("back:%06d", acked), "x", 0).Err() != nil {
				break
			}
			acked++
		}
		in := (&redisNode{c: p.c}).info()
		return in["role"] == "slave" && in["master_link_status"] == "up", fmt.Sprintf("%v after %d writes", in, acked)
	})
	s.checkRoles(heir.node)
	bundle := "" // of what it took; the other replica may have been ahead of its heir too
	s.awaitIn("what it took is listed", func() (bool, string) {
		var kept struct {
			Bundles []struct{ Node, Path string }
		}
		_, err := s.call("GET", "/clusters/cache/lost-writes", nil, &kept)
		for _, b := range kept.Bundles {
			if b.Node == p.node {
				bundle = b.Path
			}
		}
		return err == nil && (acked == 0 || bundle != ""), fmt.Sprintf("%+v %v", kept, err)
	})
	if acked > 0 {
		data, err := os.ReadFile(bundle)
		if err != nil {
			t.Error(err)
		}
		for n := range acked {
			if !bytes.Contains(data, fmt.Appendf(nil, "back:%06d", n)) {
				t.Errorf("write %d of %d that %s acknowledged after it came back is not in %s", n, acked, p.node, bundle)
				break
			}
		}
	}
	var page struct {
		Rows []struct{ What, Outcome string }
	}
	if _, err := s.call("GET", "/clusters/cache/audit", nil, &page); err != nil {
		t.Error(err)
	}
	said := false
	for _, r := range page.Rows {
		said = said || r.What == "said that "+p.node+" is switched off" && r.Outcome == "done"
	}
	if !said {
		t.Error("the audit does not keep who said that the old primary is off")
	}
	fmt.Printf("=> | forced without a lease | %s; back, it took %d writes, all of them in a file |\n", o.Outcome, acked)
}
