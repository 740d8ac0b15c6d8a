package redis

import (
	"fmt"
	"slices"
	"strings"

	"baton/control/engine"
)

// rule is what is known of a command, or of a container's subcommand, without
// asking the server. The server's own flags decide about all others.
type rule struct {
	class   engine.CommandClass
	danger  string
	why     string
	instead string
}

func read() rule              { return rule{class: engine.CommandRead} }
func write() rule             { return rule{class: engine.CommandWrite} }
func administer() rule        { return rule{class: engine.CommandAdmin} }
func dangerous(s string) rule { return rule{class: engine.CommandAdmin, danger: s} }
func refused(why, instead string) rule {
	return rule{class: engine.CommandRefused, why: why, instead: instead}
}

const (
	byPromotion = "promote a node instead: baton promote CLUSTER NODE; after the loss of the primary: baton failover CLUSTER"
	byItself    = "use redis-cli in an OS shell, or a client of your own"
	byUsers     = "use the cluster's users: baton users, or Settings in the dashboard"
)

// rules by command, and by "command subcommand"; a command of its own counts
// where the pair has none.
var rules = map[string]rule{
	// Roles and the fence are Baton's: a second hand there is how two
	// primaries come about.
	"replicaof":      refused("it changes which node is the primary behind Baton's back", byPromotion),
	"slaveof":        refused("it changes which node is the primary behind Baton's back", byPromotion),
	"failover":       refused("it changes which node is the primary behind Baton's back", byPromotion),
	"client pause":   refused("a pause of clients is how Baton fences a primary", "use baton pause CLUSTER to hold automatic failover, or maintenance for a node"),
	"client unpause": refused("a pause of clients is how Baton fences a primary; ending it could let writes be lost", "wait for the operation that runs: baton op watch"),
	"psync":          refused("it is the replicas' protocol", "baton add-node makes a replica"),
	"sync":           refused("it is the replicas' protocol", "baton add-node makes a replica"),
	"replconf":       refused("it is the replicas' protocol", "baton add-node makes a replica"),

	// These would leave the terminal without an end or without answers.
	"monitor":         refused("it never ends", byItself),
	"subscribe":       refused("it never ends", byItself),
	"psubscribe":      refused("it never ends", byItself),
	"ssubscribe":      refused("it never ends", byItself),
	"hello":           refused("the terminal keeps to one protocol", "use AUTH to log in as somebody else"),
	"client reply":    refused("the terminal waits for answers", byItself),
	"client tracking": refused("the terminal waits for answers", byItself),
	"reset":           refused("it ends the terminal's login", "leave with :quit and open it again"),
	"quit":            refused("it ends the connection only", "leave with :quit or Ctrl-D"),

	"flushall":      dangerous("FLUSHALL removes every key of every database, on the replicas too."),
	"flushdb":       dangerous("FLUSHDB removes every key of this database, on the replicas too."),
	"swapdb":        dangerous("SWAPDB exchanges two databases under all clients at once."),
	"shutdown":      dangerous("SHUTDOWN ends the server; its agent starts it again, and on a primary a failover may come first."),
	"migrate":       dangerous("MIGRATE moves keys to another server."),
	"save":          dangerous("SAVE stops the server for all clients until everything is on disk; BGSAVE does not."),
	"debug":         dangerous("DEBUG can stop, crash or corrupt the server."),
	"config set":    dangerous("CONFIG SET changes this node only; it may differ from the others and from what Baton keeps. baton params sets all nodes."),
	"config":        administer(),
	"cluster":       dangerous("CLUSTER changes a Redis Cluster, which this is not."),
	"module load":   dangerous("MODULE LOAD runs foreign code inside the server."),
	"module unload": dangerous("MODULE UNLOAD takes commands away from all clients."),
	"script kill":   administer(),
	"function kill": administer(),
	"client kill":   dangerous("CLIENT KILL ends connections, perhaps a replica's or Baton's own."),
	"acl setuser":   dangerous("ACL SETUSER changes this node only; Baton keeps the cluster's users."),
	"acl deluser":   dangerous("ACL DELUSER changes this node only; Baton keeps the cluster's users."),
	"acl load":      dangerous("ACL LOAD replaces all users by those of the file."),
	"acl":           administer(),
	"client":        administer(),
	"slowlog":       administer(),
	"latency":       administer(),
	"memory":        administer(),
	"module":        administer(),
	"bgrewriteaof":  administer(),
	"bgsave":        administer(),

	"auth": read(), "ping": read(), "echo": read(), "select": read(), "info": read(), "role": read(), "time": read(),
	"lastsave": read(), "command": read(), "lolwut": read(), "multi": read(), "exec": read(), "discard": read(),
	"watch": read(), "unwatch": read(), "wait": read(), "waitaof": read(), "object": read(), "xinfo": read(), "pubsub": read(),
	"config get": read(), "config help": read(),
	"client list": read(), "client info": read(), "client id": read(), "client getname": read(), "client setname": read(), "client help": read(),
	"client getredir": read(), "client trackinginfo": read(),
	"slowlog get": read(), "slowlog len": read(), "slowlog help": read(),
	"latency latest": read(), "latency history": read(), "latency doctor": read(), "latency graph": read(), "latency histogram": read(), "latency help": read(),
	"memory doctor": read(), "memory stats": read(), "memory usage": read(), "memory malloc-stats": read(), "memory help": read(),
	"acl whoami": read(), "acl cat": read(), "acl list": read(), "acl users": read(), "acl getuser": read(), "acl log": read(), "acl genpass": read(), "acl dryrun": read(), "acl help": read(),
	"module list": read(), "module help": read(),
	"cluster info": read(), "cluster nodes": read(), "cluster slots": read(), "cluster shards": read(), "cluster myid": read(), "cluster keyslot": read(), "cluster help": read(),
	"script exists": read(), "script help": read(), "function list": read(), "function stats": read(), "function dump": read(), "function help": read(),

	"publish": write(), "spublish": write(), "eval": write(), "evalsha": write(), "fcall": write(),
}

// fencedSettings may not be set here: other parts of Baton keep them.
var fencedSettings = map[string]rule{
	"requirepass":           refused("Baton and the replicas log in with it", byUsers),
	"masterauth":            refused("replicas log in with it", byUsers),
	"masteruser":            refused("replicas log in with it", byUsers),
	"replica-read-only":     refused("a replica that takes writes loses them", byPromotion),
	"slave-read-only":       refused("a replica that takes writes loses them", byPromotion),
	"min-replicas-to-write": refused("it is how durability is kept", "change the cluster's durability: baton settings"),
	"min-slaves-to-write":   refused("it is how durability is kept", "change the cluster's durability: baton settings"),
	"aclfile":               refused("it holds the users Baton keeps", byUsers),
}

// known returns what is known of a command without the server.
func known(words []string) (rule, bool) {
	name := strings.ToLower(words[0])
	if len(words) > 1 {
		pair := name + " " + strings.ToLower(words[1])
		if pair == "config set" {
			for i := 2; i < len(words); i += 2 {
				if r, ok := fencedSettings[strings.ToLower(words[i])]; ok {
					return r, true
				}
			}
		}
		if (pair == "acl setuser" || pair == "acl deluser") && slices.ContainsFunc(words[2:], func(w string) bool { return w == engine.LoginUser }) {
			return refused(fmt.Sprintf("Baton logs in and replicates as %s", engine.LoginUser), byUsers), true
		}
		if r, ok := rules[pair]; ok {
			return r, true
		}
	}
	r, ok := rules[name]
	return r, ok
}

// commandFacts are what the server says of one of its commands.
type commandFacts struct {
	flags             []string
	categories        []string
	first, last, step int
}

// classOf is the class of a command by the server's own flags: what is not
// said to be harmless is not.
func classOf(f *commandFacts) engine.CommandClass {
	has := func(s string) bool { return slices.Contains(f.flags, s) }
	switch {
	case has("admin"), slices.Contains(f.categories, "@admin"):
		return engine.CommandAdmin
	case has("readonly") && !has("write"):
		return engine.CommandRead
	}
	return engine.CommandWrite
}

// maxSummary bounds a summary, in bytes.
const maxSummary = 200

// summary is a command with its keys and without its values.
func summary(words []string, f *commandFacts) string {
	name := strings.ToUpper(plainText(words[0]))
	rest := len(words) - 1
	var b strings.Builder
	b.WriteString(name)
	container := f == nil || f.first == 0
	if container && rest > 0 && containers[strings.ToLower(words[0])] {
		b.WriteString(" " + plainText(words[1]))
		rest--
		if rest > 0 && strings.EqualFold(words[0], "config") {
			b.WriteString(" " + plainText(words[2]))
			rest--
		}
	}
	if f != nil && f.first > 0 && f.step > 0 {
		last := f.last
		if last < 0 {
			last += len(words)
		}
		for i := f.first; i <= last && i < len(words) && b.Len() < maxSummary; i += f.step {
			b.WriteString(" " + plainText(words[i]))
			rest--
		}
	}
	out := b.String()
	if len(out) > maxSummary {
		out = strings.ToValidUTF8(out[:maxSummary], "") + "..."
	}
	switch {
	case rest == 1:
		out += " (and 1 value)"
	case rest > 1:
		out += fmt.Sprintf(" (and %d values)", rest)
	}
	return out
}

// containers are the commands whose first argument is part of their name.
var containers = map[string]bool{"acl": true, "client": true, "cluster": true, "config": true, "debug": true, "function": true, "latency": true, "memory": true,
	"module": true, "object": true, "pubsub": true, "script": true, "slowlog": true, "xgroup": true, "xinfo": true}
