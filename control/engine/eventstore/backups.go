package eventstore

import (
	"context"
	"strconv"

	"baton/control/engine"
)

// backupRun is the answer of GET /admin/backup, as far as it is needed here.
type backupRun struct {
	State     string   `json:"state"`
	Directory string   `json:"directory"`
	Bytes     int64    `json:"bytes"`
	DoneBytes int64    `json:"bytesDone"`
	Refusal   *refusal `json:"refusal"`
	Error     string   `json:"error"`
}

const backupPath = "/admin/backup"

func storeBackup(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	dir := a.Arg("directory")
	if dir == "" {
		return engine.Result{}, bad("%s needs a directory", a.Name)
	}
	var r backupRun
	err := n.call(ctx, "POST", n.base, backupPath, map[string]string{"directory": dir}, &r)
	return engine.Result{}, asActionError(err, "begin the backup", true)
}

func storeBackupState(ctx context.Context, n *node, _ engine.Action) (engine.Result, error) {
	var r backupRun
	if err := n.call(ctx, "GET", n.base, backupPath, nil, &r); err != nil {
		return engine.Result{}, asActionError(err, "look at the backup", false)
	}
	v := map[string]string{"state": r.State, "directory": r.Directory, "bytes": strconv.FormatInt(r.Bytes, 10), "bytesDone": strconv.FormatInt(r.DoneBytes, 10), "why": r.Error}
	if r.Refusal != nil {
		v["why"], v["fix"] = r.Refusal.Error(), r.Refusal.Fix
	}
	return engine.Result{Values: v}, nil
}

// storeBackupEnd looks first: a run of somebody else goes on.
func storeBackupEnd(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	var r backupRun
	if err := n.call(ctx, "GET", n.base, backupPath, nil, &r); err != nil {
		return engine.Result{}, asActionError(err, "look at the backup", false)
	}
	if r.State != "running" || r.Directory != a.Arg("directory") {
		return engine.Result{Values: map[string]string{engine.ValueAlreadyDone: "true"}}, nil
	}
	return engine.Result{}, asActionError(n.call(ctx, "DELETE", n.base, backupPath, nil, &r), "end the backup", true)
}
