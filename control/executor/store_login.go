package executor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"baton/control/agent"
	"baton/control/audit"
	"baton/control/engine"
	"baton/control/inventory"
)

// StoreLogin is what Baton signs in to an event store with. Its String hides
// the password.
type StoreLogin struct {
	User     string
	Password string
	// CA is the authority that signed the nodes' certificates, in PEM form; "":
	// what the agents have stays.
	CA string
}

// String names the user only.
func (l StoreLogin) String() string { return fmt.Sprintf("user %q", l.User) }

// GoString keeps %#v from printing the password.
func (l StoreLogin) GoString() string { return l.String() }

// storeCA is the parameter under which the authority of a store is kept.
const storeCA = "baton.ca"

const (
	// loginTime bounds trying a login on one node, and telling one agent. A node
	// that checks a password for the first time takes its time.
	loginTime = 10 * time.Second
	// tellAgain is waited before a node that still asks for a login is told again.
	tellAgain = 30 * time.Second
)

// told remembers when nodes were last told their login by themselves.
type told struct {
	mu sync.Mutex
	at map[string]time.Time // by cluster/node
}

func (t *told) due(key string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if last, ok := t.at[key]; ok && now.Sub(last) < tellAgain {
		return false
	}
	if t.at == nil {
		t.at = map[string]time.Time{}
	}
	t.at[key] = now
	return true
}

// StoreLoginOf tells as whom Baton signs in to an event store; kept is false
// when it has no login.
func (e *Executor) StoreLoginOf(cluster string) (user string, kept bool) {
	c, ok := e.Inventory.Cluster(cluster)
	return c.Parameters[loginUser], ok && c.Secrets[inventory.SecretLogin] != ""
}

// SetStoreLogin tries a login on every node, keeps it sealed and tells the
// agents, who sign in with it from then on. missed are the nodes whose agents
// could not be told; they are told once they ask.
//
// Errors: ErrUnknownCluster, ErrNoSecrets, *AskError: a node refuses it, or none
// answered.
func (e *Executor) SetStoreLogin(ctx context.Context, cluster string, l StoreLogin, who audit.Who) (missed []string, err error) {
	c, err := e.known(cluster)
	if err != nil {
		return nil, err
	}
	if e.Secrets == nil {
		return nil, ErrNoSecrets
	}
	var last error
	answered := 0
	for _, m := range c.Members {
		err := e.sendLogin(ctx, cluster, m.Name, l, true)
		var ask *AskError
		switch {
		case err == nil:
			answered++
		case errors.As(err, &ask) && ask.Code == engine.CodeAuth:
			return nil, err
		default:
			last = err
		}
	}
	if answered == 0 {
		if last == nil {
			last = agent.ErrNotConnected
		}
		return nil, last
	}
	s := inventory.Settings{At: e.Now(), Parameters: map[string]*string{loginUser: &l.User},
		Secrets: map[string]string{inventory.SecretLogin: e.Secrets.Seal([]byte(l.Password), secretContext(cluster, inventory.SecretLogin))}}
	if l.CA != "" {
		s.Parameters[storeCA] = &l.CA
	}
	if err := e.Inventory.PutSettings(ctx, cluster, s, who, fmt.Sprintf("gave Baton a login for event store %s: user %s", cluster, l.User), -1); err != nil {
		return nil, err
	}
	return e.tellAll(ctx, &c, l), nil
}

// DropStoreLogin has Baton forget its login.
func (e *Executor) DropStoreLogin(ctx context.Context, cluster string, who audit.Who) (missed []string, err error) {
	c, err := e.known(cluster)
	if err != nil {
		return nil, err
	}
	s := inventory.Settings{At: e.Now(), Parameters: map[string]*string{loginUser: nil}, Secrets: map[string]string{inventory.SecretLogin: ""}}
	if err := e.Inventory.PutSettings(ctx, cluster, s, who, "took the login for event store "+cluster+" away from Baton", -1); err != nil {
		return nil, err
	}
	return e.tellAll(ctx, &c, StoreLogin{}), nil
}

func (e *Executor) tellAll(ctx context.Context, c *inventory.Cluster, l StoreLogin) (missed []string) {
	for _, m := range c.Members {
		if err := e.sendLogin(ctx, c.ID, m.Name, l, false); err != nil {
			missed = append(missed, m.Name)
			e.Log.Warn("an agent could not be told its login", "cluster", c.ID, "node", m.Name, "err", err)
		}
	}
	return missed
}

func (e *Executor) sendLogin(ctx context.Context, cluster, node string, l StoreLogin, try bool) error {
	args := map[string]string{"user": l.User, "password": l.Password, "ca": l.CA}
	if try {
		args["try"] = "true"
	}
	_, err := e.Ask(ctx, cluster, node, loginTime, engine.Action{Name: agent.ActionStoreLogin, Args: args})
	return err
}

// SendStoreLogin tells the agent beside a node the login that is kept, for one
// that missed it. Errors: those of Ask; there may be none to tell.
func (e *Executor) SendStoreLogin(ctx context.Context, cluster, node string) error {
	c, err := e.known(cluster)
	if err != nil {
		return err
	}
	a, err := e.login(&c)
	if err != nil {
		return err
	}
	return e.sendLogin(ctx, cluster, node, StoreLogin{User: a.User, Password: a.Password, CA: c.Parameters[storeCA]}, false)
}

// tellLogins tells agents the login of nodes that ask for one although there is
// one: agents that had no link when it was given, or that are new.
func (e *Executor) tellLogins(ctx context.Context) {
	for _, c := range e.Inventory.Clusters() {
		if c.Engine != engine.EventStore || c.Secrets[inventory.SecretLogin] == "" {
			continue
		}
		f, ok := e.Facts.Facts(c.ID)
		if !ok {
			continue
		}
		for i := range f.Nodes {
			n := &f.Nodes[i]
			if n.Seen == nil || n.Seen.State != engine.StateNoLogin || !e.told.due(c.ID+"/"+n.Name, e.Now()) {
				continue
			}
			if err := e.SendStoreLogin(ctx, c.ID, n.Name); err != nil && ctx.Err() == nil {
				e.Log.Warn("an agent could not be told its login", "cluster", c.ID, "node", n.Name, "err", err)
			}
		}
	}
}
