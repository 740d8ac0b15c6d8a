package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"baton/control/engine"
	"baton/platform/identity"
)

// rejoin makes a node that was primary a replica of the present one. What only
// it may hold is saved before anything can throw it away.
func rejoin(ctx context.Context, a *Agent, o Order) (map[string]string, error) {
	w := a.find(o.Cluster, o.Node)
	if w == nil || o.Node == "" {
		return nil, &engine.ActionError{Code: CodeUnknownInstance, Detail: fmt.Sprintf("this agent has no instance %q of cluster %q", o.Node, o.Cluster)}
	}
	addr := o.Action.Arg("addr")
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, badArg("rejoin needs addr as host:port, not %q", addr)
	}
	d, in := a.drivers[w.in.Engine], w.in
	bundle := o.Action.Arg("bundle") == "true"
	running := in.Process == ""
	if !running {
		_, _, running = a.super.Running(in.Process)
	}
	if !running {
		values := map[string]string{"bundle": ""}
		if bundle {
			if values, err = a.salvage(ctx, w, o); err != nil {
				return nil, err
			}
		}
		if _, _, err := a.super.Resume(in.Process, []string{"--replicaof", host, port}); err != nil {
			return nil, err
		}
		a.leases.back(in)
		w.lookNow()
		return values, nil
	}
	at, err := d.Do(ctx, in, engine.Action{Name: engine.ReadOffset})
	if err != nil {
		return nil, err
	}
	values := map[string]string{"bundle": "", "position": at.Values["offset"]}
	if at.Values["role"] == string(engine.RolePrimary) && bundle && !within(at.Values, o.Action) {
		if values, err = a.keepHeld(ctx, w, o); err != nil {
			return nil, err
		}
		values["position"] = at.Values["offset"]
	}
	if _, err := d.Do(ctx, in, engine.Action{Name: engine.Demote, Args: map[string]string{"addr": addr}}); err != nil {
		return nil, err
	}
	// It takes no writes any more; who waited is told so.
	if _, err := d.Do(ctx, in, engine.Action{Name: engine.UnpauseWrites}); err != nil {
		a.log.Warn("the hold on a demoted primary could not be ended; it ends by itself", "cluster", in.Cluster, "node", in.Node, "err", err)
	}
	a.leases.back(in)
	w.lookNow()
	return values, nil
}

// within tells whether a position is not beyond where the new primary's
// history parted from this one.
func within(at map[string]string, a engine.Action) bool {
	have, err1 := strconv.ParseUint(at["offset"], 10, 64)
	branch, err2 := strconv.ParseUint(a.Arg("branch"), 10, 64)
	return err1 == nil && err2 == nil && at["replid"] == a.Arg("branchHistory") && have <= branch
}

// keepData saves a copy of what a node holds, running or not.
func keepData(ctx context.Context, a *Agent, o Order) (map[string]string, error) {
	w := a.find(o.Cluster, o.Node)
	if w == nil || o.Node == "" {
		return nil, &engine.ActionError{Code: CodeUnknownInstance, Detail: fmt.Sprintf("this agent has no instance %q of cluster %q", o.Node, o.Cluster)}
	}
	return a.keep(ctx, w, o)
}

// bundle is where a node's lost writes are kept; made tells that they are there
// already.
func (a *Agent) bundle(o Order) (path string, made bool, err error) {
	dir := filepath.Join(a.opt.Dir, "lost-writes")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", false, fmt.Errorf("make the directory of lost writes: %w", err)
	}
	path = filepath.Join(dir, fmt.Sprintf("lost-writes-%s-%s-%d.rdb", o.Cluster, o.Node, o.Generation))
	st, err := os.Stat(path)
	return path, err == nil && st.Size() > 0, nil
}

// dropKept removes what was saved of a node in a generation. What is gone
// already is removed as well as can be.
func dropKept(_ context.Context, a *Agent, o Order) (map[string]string, error) {
	if a.find(o.Cluster, o.Node) == nil || o.Node == "" {
		return nil, &engine.ActionError{Code: CodeUnknownInstance, Detail: fmt.Sprintf("this agent has no instance %q of cluster %q", o.Node, o.Cluster)}
	}
	generation, err := strconv.ParseUint(o.Action.Arg("generation"), 10, 64)
	if err != nil {
		return nil, badArg("drop-kept needs a generation, not %q", o.Action.Arg("generation"))
	}
	o.Generation = generation
	path, _, err := a.bundle(o)
	if err != nil {
		return nil, err
	}
	var freed int64
	var files []string
	only := o.Action.Arg("file")
	for n := range maxBundles {
		file := numbered(path, n+1)
		if only != "" && only != filepath.Base(file) {
			continue
		}
		files = append(files, file, strings.TrimSuffix(file, ".rdb")+".aof", file+standsSuffix)
	}
	for _, file := range files {
		st, err := os.Lstat(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.Remove(file)
		}
		if err != nil {
			return nil, fmt.Errorf("remove saved writes: %w", err)
		}
		freed += st.Size()
	}
	return map[string]string{"bytes": strconv.FormatInt(freed, 10)}, nil
}

// keep saves what a running node holds. Asked again while it stands where it
// stood, it makes no second file; what it took since then gets one of its own.
func (a *Agent) keep(ctx context.Context, w *watched, o Order) (map[string]string, error) {
	d := a.drivers[w.in.Engine]
	stands, err := d.Do(ctx, w.in, engine.Action{Name: engine.ReadOffset})
	if err != nil {
		return nil, err
	}
	at := stands.Values["replid"] + " " + stands.Values["offset"] + "\n"
	path, _, err := a.bundle(o)
	if err != nil {
		return nil, err
	}
	for n := 1; n <= maxBundles; n++ {
		file := numbered(path, n)
		st, err := os.Stat(file)
		switch {
		case err != nil && !errors.Is(err, os.ErrNotExist):
			return nil, fmt.Errorf("look for saved writes: %w", err)
		case err == nil && st.Size() > 0:
			if was, err := os.ReadFile(file + standsSuffix); err == nil && string(was) == at {
				return bundled(file, nil), nil
			}
			continue
		}
		r, err := d.Do(ctx, w.in, engine.Action{Name: engine.KeepData, Args: map[string]string{"out": file}})
		if err != nil {
			return nil, err
		}
		if err := identity.WriteFile(file+standsSuffix, []byte(at), 0o600); err != nil {
			return nil, fmt.Errorf("write down where %s stood: %w", o.Node, err)
		}
		return bundled(file, r.Values), nil
	}
	return nil, &engine.ActionError{Code: engine.CodeRefused, Detail: fmt.Sprintf("%d files of what %s took since generation %d are in %s already: look at them and remove some",
		maxBundles, o.Node, o.Generation, filepath.Dir(path))}
}

const (
	// maxBundles of one node and generation: each may be as large as its data.
	maxBundles = 16
	// standsSuffix ends the file with the position at which a bundle was saved.
	standsSuffix = ".at"
)

// numbered is the file of a node's nth bundle in a generation, from 1.
func numbered(path string, n int) string {
	if n == 1 {
		return path
	}
	return fmt.Sprintf("%s-%d.rdb", strings.TrimSuffix(path, ".rdb"), n)
}

func (a *Agent) salvage(ctx context.Context, w *watched, o Order) (map[string]string, error) {
	path, made, err := a.bundle(o)
	if err != nil || made {
		return bundled(path, nil), err
	}
	spec, ok := a.super.SpecOf(w.in.Process)
	if !ok {
		return nil, &engine.ActionError{Code: engine.CodeRefused, Detail: "how " + w.in.Node + " is started is not known"}
	}
	args, err := json.Marshal(spec.Args)
	if err != nil {
		return nil, err
	}
	r, err := a.drivers[w.in.Engine].Do(ctx, w.in, engine.Action{Name: engine.Salvage,
		Args: map[string]string{"binary": spec.Path, "args": string(args), "out": path, "from": o.Action.Arg("from")}})
	if err != nil {
		return nil, err
	}
	if r.Values["none"] == "true" {
		return map[string]string{"bundle": "", "sentence": w.in.Node + " had no data on disk"}, nil
	}
	return bundled(path, r.Values), nil
}

func bundled(path string, v map[string]string) map[string]string {
	out := map[string]string{"bundle": path, "bytes": v["bytes"], "commands": v["commands"]}
	if out["bytes"] == "" {
		if st, err := os.Stat(path); err == nil {
			out["bytes"] = strconv.FormatInt(st.Size(), 10)
		}
	}
	out["sentence"] = "everything it held is in " + path
	switch n := out["commands"]; n {
	case "", "0":
	case "1":
		out["sentence"] += "; its last command, which may not be lost, is in the .aof file beside it"
	default:
		out["sentence"] += fmt.Sprintf("; its last %s commands, of which the first may not be lost, are in the .aof file beside it", n)
	}
	return out
}
