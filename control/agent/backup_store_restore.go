package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"baton/control/agent/supervise"
	"baton/control/engine"
)

// Actions that make a new event store of a backup. What they make belongs to
// the operation and goes with ActionDropServer.
const (
	// ActionStoreFound{id,grant,job,operation,node,of}: reads the backup of cluster of
	// and makes the data directory of the first node of a new cluster of it: every byte
	// is proven and every entry applied. Nothing is started. Values: "events", "streams",
	// "position", "clusterId", "fetchMs", "loadMs".
	ActionStoreFound = "store-found"
	// ActionStoreServe{operation,node,port,insecure[,user,password]}: starts the node that
	// ActionStoreFound made, unless it runs, and watches it. insecure "true" is without TLS and
	// accounts; else the node makes an authority of its own, and is signed in to with the login.
	// CodeTimeout: it has not made its authority yet; ask again.
	ActionStoreServe = "store-serve"
)

// storeData is the node's data in the directory of a server that we made.
const storeData = "data"

// authorityPoll is how often it is looked for a new node's authority.
const authorityPoll = 50 * time.Millisecond

// founded is what both actions are about.
type founded struct {
	dir, name string // of the server
	node      string
	owner     owner
}

func foundedOf(a *Agent, o Order) (founded, error) {
	node, op := o.Action.Arg("node"), o.Action.Arg("operation")
	if !namePattern.MatchString(o.Cluster) || !namePattern.MatchString(node) || !operationForm.MatchString(op) {
		return founded{}, badArg("%s needs the names of a node and an operation", o.Action.Name)
	}
	return founded{a.serverDir(o.Cluster, node), serverName(o.Cluster, node), node, owner{o.Cluster, node, op}}, a.hasBaton()
}

func storeFound(_ context.Context, a *Agent, o Order) (map[string]string, error) {
	s, err := foundedOf(a, o)
	if err != nil {
		return nil, err
	}
	of := o.Action.Arg("of")
	if !namePattern.MatchString(of) {
		return nil, badArg("%s: %.80q is no cluster", o.Action.Name, of)
	}
	g, t, err := granted(a, o)
	if err != nil {
		return nil, err
	}
	f := &fetching{a: a, cluster: of, id: o.Action.Arg("id"), grant: g, target: t}
	return a.startJob(o, func(ctx context.Context, j *backupJob) (map[string]string, error) {
		return s.found(ctx, j, f)
	})
}

// found makes the data directory. It begins anew when it was cut short.
func (s *founded) found(ctx context.Context, j *backupJob, f *fetching) (map[string]string, error) {
	have, err := ownerOf(s.dir)
	switch {
	case err == nil && have != s.owner:
		return nil, refuse("the directory %s belongs to node %s of cluster %s", s.dir, have.Node, have.Cluster)
	case err == nil && f.a.supervises(s.name):
		return nil, refuse("the server %s is started already", s.name)
	case err != nil:
		if why := f.a.taken(s.owner.Cluster, s.node, f.a.opt.Advertise, 0); why != "" {
			return nil, &engine.ActionError{Code: engine.CodeRefused, Detail: why, Fix: "choose another host or name"}
		}
		if err := own(s.dir, s.owner); err != nil {
			return nil, fmt.Errorf("make the directory of %s: %w", s.node, err)
		}
	}
	data := filepath.Join(s.dir, storeData)
	if err := os.RemoveAll(data); err != nil {
		return nil, fmt.Errorf("remove what an earlier attempt left: %w", err)
	}
	scratch, err := f.a.scratchDir()
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(scratch)
	began, dir := time.Now(), filepath.Join(scratch, "store")
	h, err := f.fetchStore(ctx, j, dir)
	if err != nil {
		return nil, err
	}
	fetched := time.Now()
	j.enter("found a new cluster of it", 0)
	r, err := f.a.baton(ctx, "store", "restore", dir, "--db", data, "--cluster-size", "1", "--cluster-name", s.owner.Cluster, "-o", "json")
	if err != nil {
		return nil, err
	}
	if err := f.holds(r, &h); err != nil {
		return nil, err
	}
	return map[string]string{"events": strconv.FormatInt(r.Events, 10), "streams": strconv.FormatInt(r.Streams, 10), "position": r.Position, "clusterId": r.ClusterID,
		"fetchMs": strconv.FormatInt(fetched.Sub(began).Milliseconds(), 10), "loadMs": strconv.FormatInt(time.Since(fetched).Milliseconds(), 10)}, nil
}

// supervises tells whether there is a process of the name, running or not.
func (a *Agent) supervises(name string) bool {
	_, ok := a.super.Program(name)
	return ok
}

func storeServe(ctx context.Context, a *Agent, o Order) (map[string]string, error) {
	s, err := foundedOf(a, o)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(o.Action.Arg("port"))
	if err != nil || port < 1 || port > 65535 {
		return nil, badArg("%s needs a port", o.Action.Name)
	}
	if have, err := ownerOf(s.dir); err != nil || have != s.owner {
		return nil, refuse("this operation made no data in %s", s.dir)
	}
	data, insecure := filepath.Join(s.dir, storeData), o.Action.Arg("insecure") == "true"
	if a.supervises(s.name) {
		if _, _, err := a.super.Resume(s.name, nil); err != nil {
			return nil, err
		}
	} else {
		args, err := a.storeArgs(&s, data, port, insecure)
		if err != nil {
			return nil, err
		}
		spec := supervise.Spec{Name: s.name, Path: a.opt.Baton, Args: args, Dir: s.dir, Env: []string{"PATH=/usr/bin:/bin"}, StopGrace: stopGrace}
		if _, _, err := a.super.Start(spec); err != nil {
			return nil, err
		}
	}
	in := engine.Instance{Cluster: o.Cluster, Node: s.node, Engine: engine.EventStore, Host: a.opt.Advertise, Port: port, Dir: data, Process: s.name,
		Peers: []engine.Peer{{Node: s.node, Host: a.opt.Advertise, Port: port}}}
	if !insecure {
		in.Auth = engine.Auth{User: o.Action.Arg("user"), Password: o.Action.Arg("password"), CAFile: filepath.Join(data, "ca", "ca.crt")}
		if err := awaitFile(ctx, in.Auth.CAFile); err != nil {
			return nil, err
		}
	}
	return nil, a.putInstance(in)
}

// storeArgs are what the node is started with, on two free ports.
func (a *Agent) storeArgs(s *founded, data string, port int, insecure bool) ([]string, error) {
	host := a.opt.Advertise
	peer := a.freePort(s.owner.Cluster+"/"+s.node+"/replication", host, strconv.Itoa(port))
	if peer == 0 {
		return nil, refuse("no port is free on %s for the node's link to others", host)
	}
	args := []string{"serve", "--db", data, "--node-name", s.node, "--cluster-size", "1", "--node-port", strconv.Itoa(port), "--replication-port", strconv.Itoa(peer)}
	if insecure {
		args = append(args, "--insecure")
	}
	if net.ParseIP(host) != nil {
		return append(args, "--node-ip", host, "--replication-ip", host), nil
	}
	return append(args, "--node-ip", "0.0.0.0", "--replication-ip", "0.0.0.0", "--node-host-advertise-as", host, "--replication-host-advertise-as", host), nil
}

// awaitFile waits until a file is there.
func awaitFile(ctx context.Context, name string) error {
	tick := time.NewTicker(authorityPoll)
	defer tick.Stop()
	for {
		_, err := os.Stat(name)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return &engine.ActionError{Code: engine.CodeTimeout, Detail: "the node has not made " + name + " yet"}
		}
	}
}
