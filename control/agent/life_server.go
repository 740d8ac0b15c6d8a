package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"baton/control/agent/supervise"
	"baton/control/engine"
	"baton/platform/identity"

	"golang.org/x/sys/unix"
)

// ownerFile in a server's directory tells which operation made it: only that
// one may take it back.
const ownerFile = ".made-by-baton"

type owner struct {
	Cluster   string `json:"cluster"`
	Node      string `json:"node"`
	Operation string `json:"operation"`
}

// stopGrace is how long a server may take to write its data at its end.
const stopGrace = 30 * time.Second

func refuse(format string, args ...any) error {
	return &engine.ActionError{Code: engine.CodeRefused, Detail: fmt.Sprintf(format, args...)}
}

// makeServer makes a server's files and starts it. What the same operation
// made before is started as it is: the server may have rewritten its files.
func makeServer(_ context.Context, a *Agent, o Order) (map[string]string, error) {
	var s engine.NewServer
	if err := json.Unmarshal([]byte(o.Action.Arg("server")), &s); err != nil {
		return nil, badArg("make-server: the server does not decode")
	}
	if s.Cluster != o.Cluster || !namePattern.MatchString(s.Cluster) || !namePattern.MatchString(s.Node) || s.Port < 1 || s.Port > 65535 || s.Operation == "" {
		return nil, badArg("make-server: the server has no usable name, port or operation")
	}
	maker, ok := a.drivers[s.Engine].(engine.Maker)
	if !ok {
		return nil, badArg("this agent makes no servers of engine %q", s.Engine)
	}
	program, ok := a.program(s.Engine, s.Version)
	if !ok {
		return nil, refuse("%s %s is not installed on this host", s.Engine, s.Version)
	}
	dir, name := a.serverDir(s.Cluster, s.Node), serverName(s.Cluster, s.Node)
	mine := owner{s.Cluster, s.Node, s.Operation}
	have, err := ownerOf(dir)
	switch {
	case err == nil && have != mine:
		return nil, refuse("the directory %s belongs to node %s of cluster %s", dir, have.Node, have.Cluster)
	case err != nil:
		if why := a.taken(s.Cluster, s.Node, s.Host, s.Port); why != "" {
			return nil, &engine.ActionError{Code: engine.CodeRefused, Detail: why, Fix: "choose another port or host"}
		}
		if err := own(dir, mine); err != nil {
			return nil, fmt.Errorf("make the directory of %s: %w", s.Node, err)
		}
	}
	files, args, err := maker.Make(s, dir)
	if err != nil {
		return nil, &engine.ActionError{Code: engine.CodeBadAction, Detail: err.Error()}
	}
	spec := supervise.Spec{Name: name, Path: program.Path, Args: args, Dir: dir, Env: []string{"PATH=/usr/bin:/bin"}, StopGrace: stopGrace}
	// Written here and not by the supervisor, which would keep their text.
	if err := createFiles(dir, files); err != nil {
		return nil, fmt.Errorf("write the files of %s: %w", s.Node, err)
	}
	pid, already, err := a.super.Start(spec)
	if err != nil {
		return nil, err
	}
	in := engine.Instance{Cluster: s.Cluster, Node: s.Node, Engine: s.Engine, Host: s.Host, Port: s.Port, Dir: dir, Process: name, Peers: s.Peers, Auth: s.Login}
	if err := a.putInstance(in); err != nil {
		return nil, err
	}
	return map[string]string{"dir": dir, "pid": strconv.Itoa(pid), engine.ValueAlreadyDone: strconv.FormatBool(already)}, nil
}

func ownerOf(dir string) (owner, error) {
	var o owner
	b, err := os.ReadFile(filepath.Join(dir, ownerFile))
	if err == nil {
		err = json.Unmarshal(b, &o)
	}
	return o, err
}

func own(dir string, o owner) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	b, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return identity.WriteFile(filepath.Join(dir, ownerFile), b, 0o600)
}

// createFiles writes the files that are not there yet, whole or not at all.
func createFiles(dir string, files []engine.ServerFile) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, f := range files {
		if !filepath.IsLocal(f.Name) {
			return fmt.Errorf("file %q is outside the directory", f.Name)
		}
		if _, err := root.Lstat(f.Name); err == nil {
			continue
		}
		if err := identity.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// dropServer ends a server that an agent made, and forgets it. A node that is
// only watched is forgotten; its server goes on.
func dropServer(ctx context.Context, a *Agent, o Order) (map[string]string, error) {
	node := o.Action.Arg("node")
	if !namePattern.MatchString(node) || !namePattern.MatchString(o.Cluster) {
		return nil, badArg("drop-server needs a node's name")
	}
	dir, name := a.serverDir(o.Cluster, node), serverName(o.Cluster, node)
	have, err := ownerOf(dir)
	made := err == nil && have.Cluster == o.Cluster && have.Node == node
	if by := o.Action.Arg("operation"); by != "" && (!made || have.Operation != by) {
		return map[string]string{engine.ValueAlreadyDone: "true"}, nil
	}
	if w := a.find(o.Cluster, node); w != nil && w.in.Process != "" {
		name = w.in.Process
	}
	if err := a.super.Stop(ctx, name, 0, true); err != nil && !errors.Is(err, supervise.ErrUnknown) {
		return nil, err
	}
	if err := a.removeInstance(o.Cluster, node); err != nil {
		return nil, err
	}
	if !made {
		return map[string]string{}, nil
	}
	if o.Action.Arg("wipe") != "true" {
		// Out of the way, so that the name may be used again.
		kept := dir + ".kept-" + time.Now().UTC().Format("20060102T150405.000")
		if err := os.Rename(dir, kept); err != nil {
			return nil, fmt.Errorf("set the directory of %s aside: %w", node, err)
		}
		return map[string]string{"kept": kept}, nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("remove %s: %w", dir, err)
	}
	return map[string]string{}, nil
}

// emptyServer makes a replica copy everything anew. Its files of data are the
// server's own: only they are removed.
func emptyServer(ctx context.Context, a *Agent, o Order) (map[string]string, error) {
	w := a.find(o.Cluster, o.Action.Arg("node"))
	if w == nil || o.Action.Arg("node") == "" {
		return nil, &engine.ActionError{Code: CodeUnknownInstance, Detail: fmt.Sprintf("this agent has no instance %q of cluster %q", o.Action.Arg("node"), o.Cluster)}
	}
	have, err := ownerOf(w.in.Dir)
	if err != nil || have.Cluster != o.Cluster || w.in.Process == "" {
		return nil, refuse("the server of %s was not made by Baton: empty it by hand", w.in.Node)
	}
	r, err := a.drivers[w.in.Engine].Do(ctx, w.in, engine.Action{Name: engine.ReadSync})
	if err == nil && r.Values["role"] != string(engine.RoleReplica) {
		return nil, refuse("%s is a primary; only a replica may be emptied", w.in.Node)
	}
	if err != nil && engine.CodeOf(err) != engine.CodeUnreachable {
		return nil, err
	}
	if err := a.super.Stop(ctx, w.in.Process, time.Second, false); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(w.in.Dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	for _, name := range []string{"appendonlydir", "dump.rdb", "appendonly.aof"} {
		if err := root.RemoveAll(name); err != nil {
			return nil, fmt.Errorf("remove the data of %s: %w", w.in.Node, err)
		}
	}
	_, _, err = a.super.Resume(w.in.Process, nil)
	return nil, err
}

// putArguments changes what a server's program is started with the next time.
func putArguments(_ context.Context, a *Agent, o Order) (map[string]string, error) {
	var args []string
	if err := json.Unmarshal([]byte(o.Action.Arg("args")), &args); err != nil {
		return nil, badArg("put-arguments: args are not a list")
	}
	w := a.find(o.Cluster, o.Action.Arg("node"))
	if w == nil || w.in.Process == "" || o.Action.Arg("node") == "" {
		return nil, refuse("the server of %q was not made by Baton", o.Action.Arg("node"))
	}
	if have, err := ownerOf(w.in.Dir); err != nil || have.Cluster != o.Cluster {
		return nil, refuse("the server of %s was not made by Baton", w.in.Node)
	}
	for _, arg := range args {
		if strings.ContainsAny(arg, "\x00\r\n") {
			return nil, badArg("put-arguments: an argument holds a line break or NUL")
		}
	}
	return nil, a.super.SetArguments(w.in.Process, args)
}

func diskFree(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}
