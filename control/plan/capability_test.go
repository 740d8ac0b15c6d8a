package plan

import (
	"testing"

	"baton/control/engine"
)

// Goal: what the capabilities rule out is refused by the plan, and only that. Method: plans of each act on a watched
// and a made cluster in which nothing else stands against it.
func TestCapabilitiesSayWhatPlansRefuse(t *testing.T) {
	code := func(p Plan, code string) bool {
		for _, r := range p.Refusals {
			if r.Code == code {
				return true
			}
		}
		return false
	}
	for _, made := range []bool{false, true} {
		for _, eng := range []string{engine.Redis, engine.EventStore} {
			c := ClusterFacts{Made: made}
			f := Facts{}
			f.Engine, f.Cluster = eng, "c"
			can := map[string]bool{}
			for _, k := range Capabilities(eng, c) {
				can[k.Action] = k.OK
				if k.OK != (k.Why == "") {
					t.Errorf("%s: ok %v, why %q", k.Action, k.OK, k.Why)
				}
			}
			refused := func(p Plan) bool { return code(p, "made") || code(p, "engine") }
			for action, p := range map[string]Plan{
				CanAddNode:    AddNode(&f, c, NewNode{Name: "n"}, Survey{}),
				CanRemoveNode: RemoveNode(&f, c, "n", false),
				CanResync:     Resync(&f, c, "n"),
				CanParameters: Configure(&f, "", "", nil),
			} {
				if can[action] == refused(p) {
					t.Errorf("%s on %s, made %v: possible %v, refusals %+v", action, eng, made, can[action], p.Refusals)
				}
			}
		}
	}
}
