package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"baton/control/agent"
	"baton/control/audit"
	"baton/control/engine"
	"baton/control/executor"
	"baton/control/inventory"
	"baton/control/operation"
)

// NoRedis is the line for machines without Redis.
const NoRedis = "Redis: redis-server is not installed, so there is no Redis cluster (Debian: apt-get install redis-server)"

const (
	// orderTime bounds one order; starting a process is quick, ending one
	// takes up to its grace time.
	orderTime = 20 * time.Second
	// againAfter is waited before an order to an agent without a link is repeated.
	againAfter = 100 * time.Millisecond
)

// Clusters are the records of clusters; *inventory.Inventory is one.
type Clusters interface {
	Register(context.Context, inventory.Spec) error
	Cluster(id string) (inventory.Cluster, bool)
	Operation(id string) (operation.Operation, bool)
	PutPolicyAt(ctx context.Context, cluster string, p inventory.Policy, who audit.Who, seen int64) error
}

// Options of Start. All but Endpoint and Log are required.
type Options struct {
	Dir    string // of the demo's data
	Binary string // baton itself, absolute
	// RedisServer is redis-server's absolute path, "" for none.
	RedisServer string
	// Agent is the id of this machine's agent; Order sends it one order.
	Agent    string
	Order    func(context.Context, agent.Order) (agent.Result, error)
	Clusters Clusters
	// Create begins to make a cluster; see executor.Create.
	Create func(context.Context, executor.RequestCreate) (operation string, c executor.Credentials, err error)
	// Primary is the node that is seen as a cluster's one primary, "" for none.
	Primary func(cluster string) string
	// Leased tells whether the agent keeps a lease of the cluster.
	Leased func(cluster string) bool
	// Endpoint opens a cluster's endpoint on loopback, unless somebody decided
	// about it before; nil: there is none.
	Endpoint func(ctx context.Context, cluster string, readWritePort, readOnlyPort int) error
	Log      *slog.Logger
}

// Demo is what Start set up.
type Demo struct {
	opt    Options
	layout *Layout
	parts  []part // of processes of the demo's own
	// clients are the instances that clients of the Redis cluster begin with.
	clients []engine.Instance
	// arming is the goroutine that puts the policy back which Leave took away.
	arming     sync.WaitGroup
	stopArming context.CancelFunc
	// Lines tell a person what there is, one line a cluster.
	Lines []string
	// ReadWrite is host:port of the Redis cluster's endpoint, "" for none.
	ReadWrite string
}

// Start starts what does not run yet, tells the agent and the inventory, and
// returns; the clusters form while it returns.
func Start(ctx context.Context, o Options) (*Demo, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	data := filepath.Join(o.Dir, "data")
	l, err := load(o.Dir, o.RedisServer != "")
	if err != nil {
		return nil, err
	}
	d := &Demo{opt: o, layout: l, stopArming: func() {}}
	if err := d.begin(ctx, l.eventStore(data, o.Binary)); err != nil {
		return nil, fmt.Errorf("start demo cluster %s: %w", EventStoreID, err)
	}
	d.Lines = append(d.Lines, fmt.Sprintf("event store %q: %d nodes (%d voters, %d clones), clients on %s", EventStoreID, len(l.EventStore),
		voters, len(l.EventStore)-voters, ports(d.parts[0].instances)))
	there := false
	switch {
	case o.RedisServer == "":
		d.Lines = append(d.Lines, NoRedis)
	case l.RedisMade:
		there, err = d.makeRedis(ctx)
	default:
		there, err = true, d.watchRedis(ctx, data)
	}
	if err != nil {
		return nil, fmt.Errorf("start demo cluster %s: %w", RedisID, err)
	}
	if o.Endpoint != nil && there {
		if err := o.Endpoint(ctx, RedisID, l.RedisReadWrite, l.RedisReadOnly); err != nil {
			return nil, fmt.Errorf("open the endpoint of demo cluster %s: %w", RedisID, err)
		}
		d.ReadWrite = net.JoinHostPort(host, strconv.Itoa(l.RedisReadWrite))
		d.Lines[1] += fmt.Sprintf("; endpoint on %s (reads %d)", d.ReadWrite, l.RedisReadOnly)
	}
	return d, nil
}

// watchRedis starts the servers of a layout without RedisMade.
func (d *Demo) watchRedis(ctx context.Context, data string) error {
	p, err := d.layout.watchedRedis(data, d.opt.RedisServer)
	if err != nil {
		return err
	}
	d.clients = p.instances
	d.Lines = append(d.Lines, fmt.Sprintf("Redis %q: 1 primary and %d replicas, clients on %s, password in %s", RedisID, len(p.instances)-1,
		ports(p.instances), filepath.Join(d.opt.Dir, layoutFile)))
	return d.begin(ctx, p)
}

func (d *Demo) begin(ctx context.Context, p part) error {
	d.parts = append(d.parts, p)
	for _, s := range p.processes {
		if err := d.order(ctx, agent.ActionProcessStart, "spec", s); err != nil {
			return err
		}
	}
	for _, in := range p.instances {
		if err := d.order(ctx, agent.ActionInstancePut, "instance", in); err != nil {
			return err
		}
	}
	return d.opt.Clusters.Register(ctx, p.spec)
}

// order sends an order whose argument is v as JSON, again while the agent has
// no link: it may be about to connect. Its actions may be repeated.
func (d *Demo) order(ctx context.Context, name, arg string, v any) error {
	text, ok := v.(string)
	if !ok {
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		text = string(b)
	}
	return d.act(ctx, engine.Action{Name: name, Args: map[string]string{arg: text}})
}

// act is order for any action.
func (d *Demo) act(ctx context.Context, a engine.Action) error {
	for {
		r, err := d.opt.Order(ctx, agent.Order{Timeout: orderTime, Action: a})
		switch {
		case err == nil && r.OK():
			return nil
		case err == nil:
			return fmt.Errorf("%s: %s", a.Name, r.Detail)
		case !errors.Is(err, agent.ErrNotConnected) && !errors.Is(err, agent.ErrOutcomeUnknown):
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-time.After(againAfter):
		}
	}
}

// EventStore are the instances of the event store.
func (d *Demo) EventStore() []engine.Instance { return d.parts[0].instances }

// Redis is where clients of the Redis cluster connect, with their password: its
// endpoint, or its servers where there is none; nil when it does not exist or
// its password is not known.
func (d *Demo) Redis() []engine.Instance {
	if d.ReadWrite == "" || len(d.clients) == 0 {
		return d.clients
	}
	in := d.clients[0] // the endpoint follows the primary
	in.Host, in.Port = host, d.layout.RedisReadWrite
	return []engine.Instance{in}
}

// Stop ends the processes, all at the same time, and keeps them stopped until
// the next Start.
func (d *Demo) Stop(ctx context.Context) error {
	all := d.Leave(ctx)
	var names []string
	for _, p := range d.parts {
		for _, s := range p.processes {
			names = append(names, s.Name)
		}
	}
	names = append(names, d.servers()...)
	failed := make(chan error, len(names))
	for _, n := range names {
		go func() { failed <- d.order(ctx, agent.ActionProcessStop, "name", n) }()
	}
	for range names {
		all = errors.Join(all, <-failed)
	}
	return all
}

func ports(ins []engine.Instance) string {
	first, last := ins[0].Port, ins[len(ins)-1].Port
	if last-first == len(ins)-1 {
		return fmt.Sprintf("%s:%d-%d", host, first, last)
	}
	text := host + ":"
	for i, in := range ins {
		if i > 0 {
			text += ","
		}
		text += fmt.Sprint(in.Port)
	}
	return text
}
