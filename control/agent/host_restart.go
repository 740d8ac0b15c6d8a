package agent

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"baton/control/engine"
)

// ActionRestart{node,addr}: ends the server of a replica, which writes its data,
// and starts it again as a replica of host:port, with the arguments it has by
// now. A primary is refused. Values: "pid".
const ActionRestart = "restart-server"

func restartServer(ctx context.Context, a *Agent, o Order) (map[string]string, error) {
	w := a.find(o.Cluster, o.Action.Arg("node"))
	if w == nil || o.Action.Arg("node") == "" {
		return nil, &engine.ActionError{Code: CodeUnknownInstance, Detail: fmt.Sprintf("this agent has no instance %q of cluster %q", o.Action.Arg("node"), o.Cluster)}
	}
	host, port, err := net.SplitHostPort(o.Action.Arg("addr"))
	if err != nil {
		return nil, badArg("restart-server needs addr as host:port, not %q", o.Action.Arg("addr"))
	}
	if w.in.Process == "" {
		return nil, refuse("the server of %s is not supervised by this agent: restart it by hand", w.in.Node)
	}
	if addr := net.JoinHostPort(host, port); addr == w.in.Address() {
		return nil, badArg("restart-server: %s cannot follow itself", w.in.Node)
	}
	r, err := a.drivers[w.in.Engine].Do(ctx, w.in, engine.Action{Name: engine.ReadSync})
	switch {
	case err == nil && r.Values["role"] != string(engine.RoleReplica):
		return nil, refuse("%s is a primary; only a replica may be restarted", w.in.Node)
	case err != nil && engine.CodeOf(err) != engine.CodeUnreachable:
		return nil, err
	}
	if err := a.super.Stop(ctx, w.in.Process, 0, false); err != nil {
		return nil, err
	}
	pid, _, err := a.super.Resume(w.in.Process, []string{"--replicaof", host, port})
	if err != nil {
		return nil, err
	}
	w.lookNow()
	return map[string]string{"pid": strconv.Itoa(pid)}, nil
}
