package api

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"baton/control/audit"
	"baton/control/inventory"
	"baton/platform/auth"
)

// TestSettingsTagsMaintenance: each change is in force at once, told in
// sentences, audited with before and after; bad values and the second of two
// people are refused, and nothing is changed.
func TestSettingsTagsMaintenance(t *testing.T) {
	s := newSite(t)
	s.srv.Tokens = append(s.srv.Tokens, APIToken{Name: "root", Role: RoleAdmin, Hash: auth.HashSecret("root-token"), Source: "cli"})
	root := func(r *http.Request) { r.Header.Set("Authorization", "Bearer root-token") }

	was := get[Settings](s, "GET", "/clusters/c/settings", nil, viewer)
	if was.Policy.Failover != inventory.FailoverOff || len(was.Consequences) == 0 || was.IfPrimaryDies == "" || len(was.IfNodeDies) != 3 {
		t.Errorf("settings %+v", was)
	}
	s.refused(403, CodeForbidden, "PUT", "/clusters/c/settings", `{"approval":true}`, operator)
	now := get[Settings](s, "PUT", "/clusters/c/settings", `{"failover":"bounded-loss","deletionProtection":true,"allowCidrs":["127.0.0.0/8"],"revision":"`+is(was.Revision)+`"}`, root)
	if now.Policy.Failover != inventory.FailoverBoundedLoss || !now.Policy.DeletionProtection || now.Revision == was.Revision || len(now.Warnings) != 1 || !strings.Contains(now.IfPrimaryDies, "takes over") {
		t.Errorf("settings %+v", now)
	}
	s.refused(409, CodeStaleReport, "PUT", "/clusters/c/settings", `{"approval":true,"revision":"`+is(was.Revision)+`"}`, root)
	s.refused(422, CodeBadRequest, "PUT", "/clusters/c/settings", `{"leaseTtlMs":10}`, root)
	s.refused(422, CodeBadRequest, "PUT", "/clusters/c/settings", `{"failover":"no-loss"}`, root)
	s.refused(422, CodeBadRequest, "PUT", "/clusters/c/settings", `{"unknown":1}`, root)
	s.refused(409, CodeRefused, "PUT", "/clusters/c/settings", `{"allowCidrs":["10.0.0.0/8"]}`, root)
	s.refused(404, CodeUnknownCluster, "PUT", "/clusters/nope/settings", `{"approval":true}`, root)
	s.refused(409, CodeRefused, "POST", "/clusters/c/delete", `{"typedName":"c"}`, root) // protected

	n := get[Node](s, "PUT", "/clusters/c/nodes/b/tags", `{"priority":500,"noFailover":true}`, operator)
	if n.Priority != 500 || n.Promotable.OK || !strings.Contains(n.Promotable.Reason, "only with a reason") {
		t.Errorf("tagged %+v", n.Promotable)
	}
	n = get[Node](s, "PUT", "/clusters/c/nodes/b/tags", `{}`, operator)
	if n.Priority != 100 || !n.Promotable.OK {
		t.Errorf("default tags %+v", n)
	}
	n = get[Node](s, "POST", "/clusters/c/nodes/b/maintenance", `{"minutes":10,"reason":"new disk"}`, operator)
	if n.Promotable.OK || !strings.Contains(n.Promotable.Reason, "maintenance") {
		t.Errorf("maintenance %+v", n.Promotable)
	}
	if n = get[Node](s, "POST", "/clusters/c/nodes/b/maintenance", `{"minutes":0}`, operator); !n.Promotable.OK {
		t.Errorf("maintenance ended %+v", n.Promotable)
	}
	s.refused(404, CodeUnknownNode, "PUT", "/clusters/c/nodes/q/tags", `{}`, operator)
	s.refused(422, CodeBadRequest, "PUT", "/clusters/c/nodes/b/tags", `{"priority":1001}`, operator)
	s.refused(422, CodeBadRequest, "PUT", "/clusters/c/nodes/b/tags", `{"expires":"`+time.Now().Add(-time.Hour).Format(time.RFC3339)+`"}`, operator)
	s.refused(403, CodeForbidden, "POST", "/clusters/c/nodes/b/maintenance", `{"minutes":1}`, viewer)
	var all string
	s.eventually("everything is audited", func() bool {
		records, _ := s.inv.Audit("c", 0, 100)
		all = ""
		refused := 0
		for _, r := range records {
			all += r.What + "|" + r.Detail + "\n"
			if r.Outcome == audit.Refused {
				refused++
			}
		}
		return refused >= 9 && strings.Contains(all, "failover off -> bounded-loss") && strings.Contains(all, "tagged b: priority 100, maintenance until")
	})
}

func is(n Int64) string { b, _ := n.MarshalJSON(); return strings.Trim(string(b), `"`) }

// TestLifeRefusals: bad requests of every kind are refused plainly and
// audited, and no order goes to an agent.
func TestLifeRefusals(t *testing.T) {
	s := newSite(t)
	s.srv.Tokens = append(s.srv.Tokens, APIToken{Name: "root", Role: RoleAdmin, Hash: auth.HashSecret("root-token"), Source: "cli"})
	root := func(r *http.Request) { r.Header.Set("Authorization", "Bearer root-token") }
	s.agents.mu.Lock()
	before := s.agents.orders
	s.agents.mu.Unlock()
	node := `{"name":"n1","agent":"agent-1"}`
	s.refused(503, CodeUnavailable, "POST", "/clusters", `{"name":"new","engine":"redis","nodes":[`+node+`]}`, operator) // no master key
	s.refused(403, CodeForbidden, "POST", "/clusters", `{"name":"new","engine":"redis","nodes":[`+node+`]}`, viewer)
	s.refused(422, CodeBadRequest, "POST", "/clusters", `{"name":"new","engine":"redis","nodes":[{"name":"n1"}]}`, operator)
	s.refused(409, CodeRefused, "POST", "/clusters/c/nodes", `{"name":"d","agent":"agent-1"}`, operator) // not made by Baton
	s.refused(422, CodeTypedName, "POST", "/clusters/c/nodes/b/remove", `{"typedName":"а","generation":"0"}`, operator)
	s.refused(409, CodeStaleReport, "POST", "/clusters/c/nodes/b/remove", `{"typedName":"b","generation":"7"}`, operator)
	s.refused(409, CodeRefused, "POST", "/clusters/c/nodes/a/remove", `{"typedName":"a","generation":"0"}`, operator) // the primary
	s.refused(409, CodeRefused, "POST", "/clusters/c/nodes/q/remove", `{"typedName":"q","generation":"0"}`, operator)
	s.refused(404, CodeUnknownCluster, "POST", "/clusters/nope/nodes/a/remove", `{"typedName":"a","generation":"0"}`, operator)
	s.refused(409, CodeRefused, "POST", "/clusters/c/nodes/a/resync", `{}`, operator)
	s.refused(403, CodeForbidden, "POST", "/clusters/c/delete", `{"typedName":"c"}`, operator)
	s.refused(422, CodeTypedName, "POST", "/clusters/c/delete", `{"typedName":"C"}`, root)
	for _, v := range []string{`{"values":{}}`, `{"values":{"requirepass":"x"}}`, `{"values":{"hz":"1; FLUSHALL"}}`, `{"values":{"timeout":"$(id)"}}`, `{"values":{"databases":"32"}}`} {
		s.refused(422, CodeBadRequest, "PUT", "/clusters/c/parameters", v, operator)
	}
	for _, v := range []string{`{"name":"default","access":"read"}`, `{"name":"a b","access":"read"}`, `{"name":"bob","access":"root"}`, `{"name":"bob","access":"read"}`} {
		s.refused(422, CodeBadRequest, "POST", "/clusters/c/users", v, root)
	}
	s.refused(422, CodeBadRequest, "DELETE", "/clusters/c/users/bob", nil, root)
	s.agents.mu.Lock()
	defer s.agents.mu.Unlock()
	if s.agents.orders > before+6 { // reading the parameters in force
		t.Errorf("%d orders went out", s.agents.orders-before)
	}
	if c, _ := s.inv.Cluster("c"); c.Running != "" || len(c.Operations) > 0 {
		t.Errorf("something began: %+v", c)
	}
}
