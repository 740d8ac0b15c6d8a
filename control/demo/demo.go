package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"baton/control/agent"
	"baton/control/engine"
	"baton/control/inventory"
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

// Options of Start.
type Options struct {
	Dir    string // of the demo's data
	Binary string // baton itself, absolute
	// RedisServer is redis-server's absolute path, "" for none.
	RedisServer string
	// Order sends one order to this machine's agent.
	Order func(context.Context, agent.Order) (agent.Result, error)
	// Register records a cluster in the inventory.
	Register func(context.Context, inventory.Spec) error
	// Endpoint opens a cluster's endpoint on loopback, unless somebody decided
	// about it before; nil: there is none.
	Endpoint func(ctx context.Context, cluster string, readWritePort, readOnlyPort int) error
}

// Demo is what Start set up.
type Demo struct {
	opt   Options
	parts []part
	// Lines tell a person what there is, one line a cluster.
	Lines []string
	// ReadWrite is host:port of the Redis cluster's endpoint, "" for none.
	ReadWrite string
}

// Start starts what does not run yet, tells the agent and the inventory, and
// returns; the clusters form while it returns.
func Start(ctx context.Context, o Options) (*Demo, error) {
	data := filepath.Join(o.Dir, "data")
	l, err := load(o.Dir, o.RedisServer != "")
	if err != nil {
		return nil, err
	}
	d := &Demo{opt: o, parts: []part{l.eventStore(data, o.Binary)}}
	d.Lines = append(d.Lines, fmt.Sprintf("event store %q: %d nodes (%d voters, %d clones), clients on %s", EventStoreID, len(l.EventStore),
		voters, len(l.EventStore)-voters, ports(d.parts[0].instances)))
	if o.RedisServer == "" {
		d.Lines = append(d.Lines, NoRedis)
	} else {
		p, err := l.redis(data, o.RedisServer)
		if err != nil {
			return nil, err
		}
		d.parts = append(d.parts, p)
		d.Lines = append(d.Lines, fmt.Sprintf("Redis %q: 1 primary and %d replicas, clients on %s, password in %s", RedisID, len(l.Redis)-1,
			ports(p.instances), filepath.Join(o.Dir, "layout.json")))
	}
	for _, p := range d.parts {
		if err := d.begin(ctx, p); err != nil {
			return nil, fmt.Errorf("start demo cluster %s: %w", p.spec.ID, err)
		}
	}
	if o.Endpoint != nil && len(d.parts) > 1 {
		if err := o.Endpoint(ctx, RedisID, l.RedisReadWrite, l.RedisReadOnly); err != nil {
			return nil, fmt.Errorf("open the endpoint of demo cluster %s: %w", RedisID, err)
		}
		d.ReadWrite = net.JoinHostPort(host, strconv.Itoa(l.RedisReadWrite))
		d.Lines[1] += fmt.Sprintf("; endpoint on %s (reads %d)", d.ReadWrite, l.RedisReadOnly)
	}
	return d, nil
}

func (d *Demo) begin(ctx context.Context, p part) error {
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
	return d.opt.Register(ctx, p.spec)
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
	for {
		r, err := d.opt.Order(ctx, agent.Order{Timeout: orderTime, Action: engine.Action{Name: name, Args: map[string]string{arg: text}}})
		switch {
		case err == nil && r.OK():
			return nil
		case err == nil:
			return fmt.Errorf("%s: %s", name, r.Detail)
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

// Instances are all instances of a demonstration cluster, nil when it does not
// exist.
func (d *Demo) Instances(cluster string) []engine.Instance {
	for _, p := range d.parts {
		if p.spec.ID == cluster {
			return p.instances
		}
	}
	return nil
}

// Stop ends the processes, all at the same time, and keeps them stopped until
// the next Start.
func (d *Demo) Stop(ctx context.Context) error {
	var names []string
	for _, p := range d.parts {
		for _, s := range p.processes {
			names = append(names, s.Name)
		}
	}
	failed := make(chan error, len(names))
	for _, n := range names {
		go func() { failed <- d.order(ctx, agent.ActionProcessStop, "name", n) }()
	}
	var all error
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
