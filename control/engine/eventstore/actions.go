package eventstore

import (
	"context"
	"net"
	"strconv"
	"time"

	"baton/control/engine"
)

const (
	// defaultTransfer bounds a transfer when the order names no timeout.
	defaultTransfer = 4 * time.Second
	defaultClone    = 30 * time.Second
	verifyPoll      = 10 * time.Millisecond
)

type actionFunc func(context.Context, *node, engine.Action) (engine.Result, error)

var actions = map[string]actionFunc{
	engine.Transfer:     transfer,
	engine.PromoteClone: promoteClone,
	engine.VerifyLeader: verifyLeader,
	engine.Resign:       resign,
	engine.CheckAuth:    checkAuth,

	engine.StoreBackup:      storeBackup,
	engine.StoreBackupState: storeBackupState,
	engine.StoreBackupEnd:   storeBackupEnd,

	engine.RecentStreams: recentStreams,
	engine.ReadEvents:    readEvents,
	engine.AppendEvent:   appendEvent,
	engine.DeleteStream:  deleteStream,

	engine.ListGroups:  listGroups,
	engine.ReadGroup:   readGroup,
	engine.CreateGroup: createGroup,
	engine.UpdateGroup: updateGroup,
	engine.ReplayGroup: replayGroup,
	engine.DeleteGroup: deleteGroup,

	engine.ListAccounts:  listAccounts,
	engine.CreateAccount: createAccount,
	engine.UpdateAccount: updateAccount,
	engine.EnableAccount: enableAccount,
	engine.ResetAccount:  resetAccount,
	engine.DeleteAccount: deleteAccount,

	engine.ListProjections:     listProjections,
	engine.ReadProjection:      readProjection,
	engine.ReadProjectionState: readProjectionState,
	engine.CreateProjection:    createProjection,
	engine.UpdateProjection:    updateProjection,
	engine.CommandProjection:   commandProjection,
	engine.DeleteProjection:    deleteProjection,
}

// Do performs one action; see package engine for each action's arguments.
func (d *Driver) Do(ctx context.Context, in engine.Instance, a engine.Action) (engine.Result, error) {
	n, err := d.node(in)
	if err != nil {
		return engine.Result{}, err
	}
	f := actions[a.Name]
	if f == nil {
		return engine.Result{}, bad("the event store has no action %q", a.Name)
	}
	if err := ctx.Err(); err != nil {
		return engine.Result{}, &engine.ActionError{Code: engine.CodeTimeout, Detail: "no time was left to begin", Err: err}
	}
	return f(ctx, n, a)
}

// Done tells whether the action's goal holds already.
func (d *Driver) Done(ctx context.Context, in engine.Instance, a engine.Action) (bool, error) {
	n, err := d.node(in)
	if err != nil {
		return false, err
	}
	if actions[a.Name] == nil {
		return false, bad("the event store has no action %q", a.Name)
	}
	v, err := n.view(ctx)
	if err != nil {
		return false, err
	}
	switch a.Name {
	case engine.Transfer:
		return leads(v, a.Arg("to")), nil
	case engine.VerifyLeader:
		return leads(v, a.Arg("node")), nil
	case engine.PromoteClone:
		m := v.find(a.Arg("node"))
		return m != nil && isVoter(v, m), nil
	}
	return false, nil
}

func (n *node) view(ctx context.Context) (*view, error) {
	var v view
	if err := n.call(ctx, "GET", n.base, "/cluster", nil, &v); err != nil {
		return nil, asActionError(err, "read the cluster's view", false)
	}
	return &v, nil
}

func leads(v *view, name string) bool {
	l := v.leader()
	return l != nil && (l.Name == name || l.ID == name)
}

func isVoter(v *view, m *member) bool {
	r := v.role(m)
	return r == engine.RolePrimary || r == engine.RoleReplica
}

type promoteRequest struct {
	Node      string `json:"node"`
	As        string `json:"as"`
	TimeoutMs int64  `json:"timeoutMs"`
}

type promoteAnswer struct {
	Outcome string `json:"outcome"`
	Leader  string `json:"leader"`
	Term    uint64 `json:"term,string"`
	TookMs  int64  `json:"tookMs"`
}

// target reads the named member from the view.
func target(v *view, a engine.Action, arg string) (*member, error) {
	if a.Arg(arg) == "" {
		return nil, bad("%s needs %s", a.Name, arg)
	}
	m := v.find(a.Arg(arg))
	if m == nil {
		return nil, &engine.ActionError{Code: engine.CodeRefused, Detail: "the cluster has no node " + strconv.Quote(a.Arg(arg))}
	}
	return m, nil
}

func transfer(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	timeout, err := milliseconds(a, "timeoutMs", defaultTransfer)
	if err != nil {
		return engine.Result{}, err
	}
	v, err := n.view(ctx)
	if err != nil {
		return engine.Result{}, err
	}
	m, err := target(v, a, "to")
	if err != nil {
		return engine.Result{}, err
	}
	if v.Leader == m.ID {
		return leaderValues(m.Name, v.Term, 0, true), nil
	}
	start := time.Now()
	var ans promoteAnswer
	err = n.call(ctx, "POST", n.base, "/cluster/promote", promoteRequest{Node: m.ID, As: "leader", TimeoutMs: timeout.Milliseconds()}, &ans)
	if err != nil {
		return engine.Result{}, asActionError(err, "move leadership to "+m.Name, true)
	}
	if ans.Leader != m.ID {
		other := ans.Leader
		if o := v.find(ans.Leader); o != nil {
			other = o.Name
		}
		return engine.Result{}, &engine.ActionError{Code: engine.CodeFailed, Detail: m.Name + " did not win: " + other + " leads"}
	}
	took := float64(time.Since(start)) / 1e6
	return leaderValues(m.Name, ans.Term, took, false), nil
}

func leaderValues(name string, term uint64, tookMs float64, done bool) engine.Result {
	return engine.Result{Values: map[string]string{"leader": name, "term": strconv.FormatUint(term, 10),
		"tookMs": strconv.FormatFloat(tookMs, 'f', 3, 64), engine.ValueAlreadyDone: strconv.FormatBool(done)}}
}

func promoteClone(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	timeout, err := milliseconds(a, "timeoutMs", defaultClone)
	if err != nil {
		return engine.Result{}, err
	}
	v, err := n.view(ctx)
	if err != nil {
		return engine.Result{}, err
	}
	m, err := target(v, a, "node")
	if err != nil {
		return engine.Result{}, err
	}
	if isVoter(v, m) {
		return engine.Result{Values: map[string]string{"role": string(v.role(m)), engine.ValueAlreadyDone: "true"}}, nil
	}
	var ans promoteAnswer
	err = n.call(ctx, "POST", n.base, "/cluster/promote", promoteRequest{Node: m.ID, As: "follower", TimeoutMs: timeout.Milliseconds()}, &ans)
	if err != nil {
		return engine.Result{}, asActionError(err, "make "+m.Name+" a voter", true)
	}
	return engine.Result{Values: map[string]string{"role": string(engine.RoleReplica), engine.ValueAlreadyDone: "false",
		"tookMs": strconv.FormatInt(ans.TookMs, 10)}}, nil
}

func verifyLeader(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	wait, err := milliseconds(a, "waitMs", 0)
	if err != nil {
		return engine.Result{}, err
	}
	if a.Arg("node") == "" {
		return engine.Result{}, bad("verify-leader needs node")
	}
	start := time.Now()
	tick := time.NewTicker(verifyPoll)
	defer tick.Stop()
	for {
		v, err := n.view(ctx)
		if err != nil && (ctx.Err() != nil || time.Since(start) >= wait) {
			return engine.Result{}, err
		}
		if err == nil && leads(v, a.Arg("node")) {
			return leaderValues(a.Arg("node"), v.Term, float64(time.Since(start))/1e6, true), nil
		}
		if time.Since(start) >= wait {
			who := "nobody"
			if l := v.leader(); l != nil {
				who = l.Name
			}
			return engine.Result{}, &engine.ActionError{Code: engine.CodeRefused, Detail: n.in.Node + " sees " + who + " lead, not " + a.Arg("node")}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return engine.Result{}, &engine.ActionError{Code: engine.CodeTimeout, Detail: n.in.Node + " does not see " + a.Arg("node") + " lead", Err: ctx.Err()}
		}
	}
}

func resign(ctx context.Context, n *node, _ engine.Action) (engine.Result, error) {
	v, err := n.view(ctx)
	if err != nil {
		return engine.Result{}, err
	}
	if v.Leader != v.Self {
		return engine.Result{Values: map[string]string{engine.ValueAlreadyDone: "true"}}, nil
	}
	if err := n.call(ctx, "POST", n.base, "/admin/node/resign", struct{}{}, nil); err != nil {
		return engine.Result{}, asActionError(err, "resign", true)
	}
	return engine.Result{Values: map[string]string{engine.ValueAlreadyDone: "false"}}, nil
}

// checkAuth has as long as the order: a node that checks a password for the
// first time takes its time.
func checkAuth(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	if _, port, err := net.SplitHostPort(a.Arg("addr")); err != nil || port == "" {
		return engine.Result{}, bad("check-auth needs addr as host:port, not %q", a.Arg("addr"))
	}
	r := n.ask(ctx, a.Arg("addr"))
	if !r.OK {
		return engine.Result{}, &engine.ActionError{Code: r.Code, Detail: r.Err}
	}
	return engine.Result{Values: map[string]string{"rttMs": strconv.FormatFloat(r.RTTMs, 'f', 3, 64)}}, nil
}

func milliseconds(a engine.Action, name string, fallback time.Duration) (time.Duration, error) {
	if a.Arg(name) == "" {
		return fallback, nil
	}
	ms, err := strconv.ParseInt(a.Arg(name), 10, 64)
	if err != nil || ms < 0 || ms > time.Hour.Milliseconds() {
		return 0, bad("%s needs %s as milliseconds, not %q", a.Name, name, a.Arg(name))
	}
	return time.Duration(ms) * time.Millisecond, nil
}
