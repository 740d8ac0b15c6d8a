package house

import (
	"fmt"
	"strings"
)

// Module is the module's path; imports below it are ours.
const Module = "baton"

// A Rule forbids packages under From to import packages under any of To, unless the importer is under
// one of Except. Paths are without the module's name; a path that begins with "!" is not ours.
type Rule struct {
	From   string
	To     []string
	Except []string
	Reason string
}

// Rules is the one-way street: cmd -> control, eventstore, web -> platform.
var Rules = []Rule{
	{From: "platform", To: []string{"eventstore", "control", "cmd", "web", "gen"},
		Reason: "platform is the foundation: it knows no floor above it"},
	{From: "eventstore", To: []string{"control", "cmd", "web"},
		Reason: "the ground floor never imports the first floor"},
	{From: "control", To: []string{"eventstore", "cmd", "web"},
		Reason: "control reaches the event store only through journal's interface and as any client would; they are wired in cmd"},
	{From: "web", To: []string{"eventstore", "control", "cmd", "gen"},
		Reason: "web only embeds files"},
	{From: "eventstore", To: []string{"gen"}, Except: []string{"eventstore/rpc", "eventstore/peer", "eventstore/admin", "eventstore/importer"},
		Reason: "generated types stay at the edges (rpc, peer, admin, and the importer, which is a client)"},
	{From: "control", To: []string{"gen"}, Except: []string{"control/agent", "control/api", "control/monitor", "control/engine/eventstore"},
		Reason: "generated types stay at the edges (agent, api, and the event-store driver, which is a client)"},
	{From: "", To: []string{"cmd"}, Except: []string{"cmd"},
		Reason: "cmd only parses, wires and exits; nothing can need it"},
	{From: "", To: []string{"sim", "test"}, Except: []string{"sim", "test", "control/engine/redis/redistest"},
		Reason: "product code does not depend on its tests"},
	{From: "", To: []string{"!github.com/kurrent-io", "!github.com/EventStore"},
		Reason: "the official clients register protos of the same names as ours: one binary may hold only one of them (see test/clients)"},
	{From: "eventstore", To: []string{"!go.etcd.io/raft"}, Except: []string{"eventstore/replica", "eventstore/log", "eventstore/peer", "eventstore/node"},
		Reason: "raft's types end at replica, log, peer and node; elsewhere a learner is a clone"},
	{From: "", To: []string{"!github.com/cockroachdb/pebble"}, Except: []string{"eventstore/index"},
		Reason: "the index hides which store holds it"},
	{From: "", To: []string{"!github.com/dop251/goja"}, Except: []string{"eventstore/projection"},
		Reason: "scripts are foreign code: only the package that bounds them may run them"},
	{From: "", To: []string{"!github.com/redis/go-redis"}, Except: []string{"control/engine/redis", "test", "cmd/baton"},
		Reason: "engine protocols live in their driver"},
}

// CheckImports returns one line for each import that breaks a rule. Test files may import more (fakes, clients), so
// only product files are judged.
func CheckImports(pkgs []Package, rules []Rule) []string {
	var bad []string
	for _, p := range pkgs {
		for _, f := range p.Files {
			if f.Test {
				continue
			}
			for _, im := range f.Imports {
				for _, r := range rules {
					if broken(r, p.Path, im) {
						bad = append(bad, fmt.Sprintf("%s imports %s: %s", f.Name, im, r.Reason))
					}
				}
			}
		}
	}
	return bad
}

func broken(r Rule, from, imported string) bool {
	if r.From != "" && !under(from, r.From) {
		return false
	}
	for _, e := range r.Except {
		if under(from, e) {
			return false
		}
	}
	for _, to := range r.To {
		if foreign, ok := strings.CutPrefix(to, "!"); ok {
			if imported == foreign || strings.HasPrefix(imported, foreign+"/") || strings.HasPrefix(imported, foreign+"-") {
				return true
			}
		} else if under(imported, Module+"/"+to) {
			return true
		}
	}
	return false
}
