package executor

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"baton/control/agent"
	"baton/control/audit"
	"baton/control/engine"
	"baton/control/inventory"
	"baton/control/journal"
	"baton/control/operation"
	"baton/control/plan"
)

// configureAll changes something on every node. It is recorded together with
// the operation's end, so what is recorded is in force.
var configureAll = procedure{
	{id: plan.StepApply, do: apply, undo: applyFormer},
	{id: plan.StepVerify, do: verifyMembers},
}

// change is what a configuration is about; it is the plan's "change" argument.
// No secret is in it: of passwords only hashes.
type change struct {
	// Values are set on running servers, Former are what they had.
	Values map[string]string `json:"values,omitempty"`
	Former map[string]string `json:"former,omitempty"`
	// Arguments are what servers are started with from now on.
	Arguments       []string `json:"arguments,omitempty"`
	FormerArguments []string `json:"formerArguments,omitempty"`
	// User is set, or with Access "" dropped; FormerUser is what it was, nil: none.
	User       *engine.NewUser `json:"user,omitempty"`
	FormerUser *engine.NewUser `json:"formerUser,omitempty"`
	// Record is what the inventory takes in at the end.
	Record inventory.Settings `json:"record"`
}

func (r *run) change() (change, []string, error) {
	var c change
	var members []string
	if err := json.Unmarshal([]byte(r.op.Plan.Arg("change")), &c); err != nil {
		return c, nil, err
	}
	return c, members, json.Unmarshal([]byte(r.op.Plan.Arg("members")), &members)
}

func apply(ctx context.Context, r *run) (outcome, error) {
	c, members, err := r.change()
	if err != nil {
		return outcome{}, err
	}
	if err := r.applyAll(ctx, members, c.Values, c.Arguments, c.User); err != nil {
		return outcome{}, err
	}
	return outcome{detail: "in force on " + strings.Join(members, ", ")}, nil
}

func applyFormer(ctx context.Context, r *run) (string, error) {
	c, members, err := r.change()
	if err != nil {
		return "", err
	}
	user := c.FormerUser
	if c.User != nil && user == nil {
		user = &engine.NewUser{Name: c.User.Name}
	}
	return "what was before is in force", r.applyAll(ctx, members, c.Former, c.FormerArguments, user)
}

// applyAll does it node by node, replicas and primary alike: users and
// settings are not replicated.
func (r *run) applyAll(ctx context.Context, members []string, values map[string]string, args []string, user *engine.NewUser) error {
	orders := [][]string{}
	if len(values) > 0 {
		b, err := json.Marshal(values)
		if err != nil {
			return err
		}
		orders = append(orders, []string{engine.Configure, "values", string(b)})
	}
	switch {
	case user != nil && user.Access == "":
		orders = append(orders, []string{engine.DropUser, "name", user.Name})
	case user != nil:
		orders = append(orders, []string{engine.SetUser, "name", user.Name, "access", user.Access, "hash", user.Hash})
	}
	f, _ := r.e.Facts.Facts(r.op.Plan.Cluster)
	for _, n := range members {
		for _, o := range orders {
			if err := r.again(ctx, func() error {
				_, err := r.order(ctx, n, o[0], orderTimeout, o[1:]...)
				return err
			}); err != nil {
				return err
			}
		}
		if args == nil {
			continue
		}
		b, err := json.Marshal(args)
		if err != nil {
			return err
		}
		node := f.Node(n)
		if node == nil {
			return fmt.Errorf("node %s is gone", n)
		}
		if err := r.again(ctx, func() error {
			_, err := r.orderAgent(ctx, node.Agent, agent.ActionArguments, orderTimeout, "node", n, "args", string(b))
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// verifyMembers makes sure that the change left everything as it was.
func verifyMembers(ctx context.Context, r *run) (outcome, error) {
	_, members, err := r.change()
	if err != nil {
		return outcome{}, err
	}
	primary := r.primaryOf()
	for _, n := range members {
		args := []string{"role", string(engine.RoleReplica), "addr", r.addr(primary), "waitMs", "3000"}
		if n == primary {
			args = []string{"role", string(engine.RolePrimary)}
		}
		if err := r.settle(ctx, appearTime, func() error {
			_, err := r.order(ctx, n, engine.VerifyRole, orderTimeout+readTimeout, args...)
			return err
		}); err != nil {
			return outcome{}, err
		}
	}
	return outcome{detail: "roles and links are as they were"}, nil
}

func recorded(r *run, state operation.State) ([]journal.Event, error) {
	if state != operation.StateDone {
		return nil, nil
	}
	c, _, err := r.change()
	if err != nil {
		return nil, err
	}
	c.Record.By, c.Record.At = r.op.Requester, r.e.Now()
	return events(c.Record.Event)
}

// configure begins a configuration. make decides the change from the record.
func (e *Executor) configure(ctx context.Context, cluster, title, command, reason string, who audit.Who, make func(*inventory.Cluster) (change, error)) (string, error) {
	return e.Submit(ctx, Submission{Cluster: cluster, Kind: operation.Configure, Reason: reason, Who: who, Build: func(f *plan.Facts) (plan.Plan, error) {
		c, err := e.known(cluster)
		if err != nil {
			return plan.Plan{}, err
		}
		ch, err := make(&c)
		if err != nil {
			return plan.Plan{}, err
		}
		b, err := json.Marshal(ch)
		if err != nil {
			return plan.Plan{}, err
		}
		return plan.Configure(f, title, command, map[string]string{"change": string(b)}), nil
	}})
}

// RequestParameters changes parameters of the engine.
type RequestParameters struct {
	Cluster string
	// Values to set at once, and Restart those that servers take at their next
	// start, both checked by the caller. Former are the present ones of Values.
	Values, Former, Restart map[string]string
	Reason                  string
	Who                     audit.Who
}

// SetParameters begins a change of parameters.
func (e *Executor) SetParameters(ctx context.Context, q RequestParameters) (string, error) {
	names := slices.Sorted(maps.Keys(q.Values))
	names = append(names, slices.Sorted(maps.Keys(q.Restart))...)
	return e.configure(ctx, q.Cluster, "set "+strings.Join(names, ", ")+" of cluster "+q.Cluster, "CONFIG SET; CONFIG REWRITE", q.Reason, q.Who, func(c *inventory.Cluster) (change, error) {
		ch := change{Values: q.Values, Former: q.Former, Record: inventory.Settings{Parameters: map[string]*string{}}}
		for _, m := range []map[string]string{q.Values, q.Restart} {
			for k, v := range m {
				ch.Record.Parameters[k] = &v
			}
		}
		if len(q.Restart) > 0 {
			if c.Made == nil {
				return ch, &inventory.SettingError{Field: slices.Sorted(maps.Keys(q.Restart))[0], Why: "it needs a restart, and Baton did not make these servers", Fix: "change it in their own files"}
			}
			ch.FormerArguments = startArguments(c.Parameters)
			next := maps.Clone(c.Parameters)
			maps.Copy(next, q.Restart)
			ch.Arguments = startArguments(next)
		}
		return ch, nil
	})
}

// restartOnly are the parameters that are arguments of the program.
var restartOnly = []string{"databases", "io-threads", "tcp-backlog"}

// startArguments are what a server with these parameters is started with.
func startArguments(parameters map[string]string) []string {
	args := []string{"redis.conf"}
	for _, name := range restartOnly {
		if v, ok := parameters[name]; ok {
			args = append(args, "--"+name, v)
		}
	}
	return args
}

// Refusals about users.
var (
	userForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)
)

// PutUser makes a user, or with rotate gives one a new password, on every node,
// and waits for it. The password is only in the answer.
func (e *Executor) PutUser(ctx context.Context, cluster, name, access string, rotate bool, who audit.Who) (string, Credentials, error) {
	switch {
	case !userForm.MatchString(name) || name == "default" || name == engine.LoginUser:
		return "", Credentials{}, &inventory.SettingError{Field: "name", Why: fmt.Sprintf("%.80q may not name a user", name), Fix: "use lower-case letters, digits and dashes, beginning with a letter"}
	case !rotate && !slices.Contains([]string{engine.AccessRead, engine.AccessReadWrite, engine.AccessAdmin}, access):
		return "", Credentials{}, &inventory.SettingError{Field: "access", Why: fmt.Sprintf("%.80q is not known", access), Fix: "give read, readwrite or admin"}
	}
	password, hash := newPassword()
	title := "make user " + name + " of cluster " + cluster
	if rotate {
		title = "give user " + name + " of cluster " + cluster + " a new password"
	}
	id, err := e.configure(ctx, cluster, title, "ACL SETUSER; ACL SAVE", "", who, func(c *inventory.Cluster) (change, error) {
		former := find(c.Users, name)
		switch {
		case c.Made == nil:
			return change{}, errNotOurs
		case rotate && former == nil:
			return change{}, errNoUser
		case !rotate && former != nil:
			return change{}, &inventory.SettingError{Field: "name", Why: "there is a user " + name + " already", Fix: "choose another name, or rotate its password"}
		case rotate:
			access = former.Access
		}
		ch := change{User: &engine.NewUser{Name: name, Access: access, Hash: hash}}
		if former != nil {
			ch.FormerUser = &engine.NewUser{Name: name, Access: former.Access, Hash: former.Hash}
		}
		ch.Record.Users = map[string]*inventory.EngineUser{name: {Name: name, Access: access, Hash: hash, At: e.Now()}}
		return ch, nil
	})
	return id, Credentials{User: name, Password: password}, err
}

// DropUser begins removing a user from every node.
func (e *Executor) DropUser(ctx context.Context, cluster, name string, who audit.Who) (string, error) {
	return e.configure(ctx, cluster, "remove user "+name+" of cluster "+cluster, "ACL DELUSER; ACL SAVE", "", who, func(c *inventory.Cluster) (change, error) {
		former := find(c.Users, name)
		switch {
		case c.Made == nil:
			return change{}, errNotOurs
		case former == nil:
			return change{}, errNoUser
		}
		return change{User: &engine.NewUser{Name: name}, FormerUser: &engine.NewUser{Name: name, Access: former.Access, Hash: former.Hash},
			Record: inventory.Settings{Users: map[string]*inventory.EngineUser{name: nil}}}, nil
	})
}

var (
	errNotOurs = &inventory.SettingError{Field: "users", Why: "Baton did not make the servers of this cluster", Fix: "manage its users where they are"}
	errNoUser  = &inventory.SettingError{Field: "name", Why: "the cluster has no such user", Fix: "baton users list lists them"}
)

func find(users []inventory.EngineUser, name string) *inventory.EngineUser {
	for i := range users {
		if users[i].Name == name {
			return &users[i]
		}
	}
	return nil
}

// SetPolicy records a policy. Where what servers demand of replicas changes
// too, that is an operation, whose id is given: raised on the servers before it
// is recorded and recorded before it is lowered, so that the record never
// claims more than is so.
//
// Networks that would shut out the person or connected clients are refused,
// unless overrides hold the refusal's code.
func (e *Executor) SetPolicy(ctx context.Context, cluster string, p inventory.Policy, seen int64, who audit.Who, overrides ...string) (operationID string, err error) {
	c, err := e.known(cluster)
	if err != nil {
		return "", err
	}
	if err := p.Check(max(len(c.Members)-1, 0)); err != nil {
		return "", err
	}
	if lock := e.lockedOut(ctx, &c, p.AllowCIDRs, who, overrides); lock.Refused() {
		return "", &RefusedError{lock}
	}
	was, now := c.Policy.SyncReplicas, p.SyncReplicas
	if was == now || c.Engine != engine.Redis {
		return "", e.Inventory.PutPolicyAt(ctx, cluster, p, who, seen)
	}
	if seen >= 0 && seen != c.SettingsRevision {
		return "", inventory.ErrMoved
	}
	raise := now > was
	if !raise {
		if err := e.Inventory.PutPolicyAt(ctx, cluster, p, who, seen); err != nil {
			return "", err
		}
	}
	return e.configure(ctx, cluster, fmt.Sprintf("take writes on %s only with %d replicas in step", cluster, now), "CONFIG SET min-replicas-to-write", "", who, func(*inventory.Cluster) (change, error) {
		ch := change{Values: syncValues(now), Former: syncValues(was)}
		if raise {
			ch.Record.Policy = &p
		}
		return ch, nil
	})
}

func syncValues(replicas int) map[string]string {
	return map[string]string{"min-replicas-to-write": strconv.Itoa(replicas), "min-replicas-max-lag": "3"}
}

// ReadParameters asks a node for its present parameters.
func (e *Executor) ReadParameters(ctx context.Context, cluster, node string) (map[string]string, error) {
	c, err := e.known(cluster)
	if err != nil {
		return nil, err
	}
	id, ok := e.Agents.Locate(cluster, node)
	if !ok {
		return nil, agent.ErrNotConnected
	}
	res, err := e.Agents.Order(ctx, id, agent.Order{Operation: "read", Cluster: cluster, Node: node, Generation: c.Generation, Term: e.Term, Timeout: orderTimeout,
		Action: engine.Action{Name: engine.ReadParameters}})
	if err != nil {
		return nil, err
	}
	if !res.OK() {
		return nil, &orderError{node: node, action: engine.ReadParameters, code: res.Code, detail: res.Detail, fix: res.Fix}
	}
	return res.Values, nil
}

// lapseEvery is how often the ends of tags and maintenance are looked at.
const lapseEvery = time.Second

// lapse lets tags and maintenance end when they were to, and audits it.
func (e *Executor) lapse(ctx context.Context) {
	now := e.Now()
	for _, c := range e.Inventory.Clusters() {
		for _, m := range c.Members {
			t, what := m.Tags.Lapsed(now)
			if !m.Tagged || what == "" {
				continue
			}
			err := e.Inventory.PutSettings(ctx, c.ID, inventory.Settings{Tags: map[string]*inventory.Tags{m.Name: &t}, At: now}, audit.Who{Name: "baton", Source: "auto"},
				fmt.Sprintf("%s of %s ended: %s", what, m.Name, t), -1)
			if err != nil && ctx.Err() == nil {
				e.Log.Warn("the end of tags is not recorded yet", "cluster", c.ID, "node", m.Name, "err", err)
			}
		}
		if until := c.Policy.MaintenanceUntil; !until.IsZero() && !until.After(now) {
			p := c.Policy
			p.MaintenanceUntil = time.Time{}
			if err := e.Inventory.PutSettings(ctx, c.ID, inventory.Settings{Policy: &p, At: now}, audit.Who{Name: "baton", Source: "auto"}, "maintenance of cluster "+c.ID+" ended", -1); err != nil && ctx.Err() == nil {
				e.Log.Warn("the end of maintenance is not recorded yet", "cluster", c.ID, "err", err)
			}
		}
	}
}

// ReplicaPriority is what Redis calls a node's priority: lower wins there, and
// 0 is never. Only others than Baton read it.
func ReplicaPriority(t inventory.Tags) int {
	if t.Priority <= 0 || t.Never || t.NoFailover {
		return 0
	}
	return 1001 - min(t.Priority, 1000)
}

// derivePriorities sets the engines' own priorities where people tagged nodes.
func (e *Executor) derivePriorities(ctx context.Context) {
	for _, c := range e.Inventory.Clusters() {
		if c.Engine != engine.Redis || c.Running != "" || !slices.ContainsFunc(c.Members, func(m inventory.Member) bool { return m.Tagged }) {
			continue
		}
		f, ok := e.Facts.Facts(c.ID)
		if !ok {
			continue
		}
		for _, m := range c.Members {
			n := f.Node(m.Name)
			if !m.Tagged || n == nil || !n.Up() {
				continue
			}
			want := strconv.Itoa(ReplicaPriority(m.Tags))
			if have, ok := n.Seen.Facts.Settings["replica-priority"]; !ok || have == want {
				continue
			}
			b, _ := json.Marshal(map[string]string{"replica-priority": want})
			if res, err := e.guardOrder(ctx, &c, m.Name, "tags", engine.Action{Name: engine.Configure, Args: map[string]string{"values": string(b)}}, orderTimeout); err != nil || !res.OK() {
				e.Log.Warn("the engine's own priority could not be set", "cluster", c.ID, "node", m.Name, "err", err, "detail", res.Detail)
			}
		}
	}
}

// upkeep does all of this until ctx ends.
func (e *Executor) upkeep(ctx context.Context) {
	tick := time.NewTicker(lapseEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		e.lapse(ctx)
		e.derivePriorities(ctx)
		e.tellLogins(ctx)
	}
}
