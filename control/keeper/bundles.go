package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"baton/control/agent"
	"baton/control/audit"
	"baton/control/executor"
	"baton/control/health"
	"baton/control/journal"
)

// Refusals of RemoveBundle. Nothing was removed.
var (
	// ErrNoBundle: nothing of that name was saved, or it was removed already.
	ErrNoBundle = errors.New("no lost writes of that name are kept")
	// ErrBundleHost: the node they were saved beside is no member any more, so
	// that no agent can be asked.
	ErrBundleHost = errors.New("no agent reports on the node any more")
)

// removeBundleTime bounds the order to an agent.
const removeBundleTime = 10 * time.Second

// bundleRemoved says that a person had saved writes removed.
type bundleRemoved struct {
	Operation string    `json:"operation"`
	Node      string    `json:"node"`
	At        time.Time `json:"at"`
	Who       string    `json:"who"`
}

// Kept implements executor.Leases: it lists a file that a correction or an
// operation had saved.
func (k *Keeper) Kept(ctx context.Context, s executor.Saved) error {
	b := Bundle{Node: s.Node, Generation: s.Generation, At: k.Now(), Operation: s.Operation, Path: s.Path, Bytes: s.Bytes, Commands: -1,
		Sentence: s.Why + ", is in " + s.Path}
	if f, ok := k.Facts(s.Cluster); ok {
		if n := f.Node(s.Node); n != nil {
			b.Host = hostOf(n)
		}
	}
	data, err := json.Marshal(b)
	if err != nil {
		return err
	}
	_, err = k.Journal.Append(ctx, stream(s.Cluster), journal.Any, journal.Event{Type: eventKept, Data: data})
	return err
}

// hostOf is the name of a node's host, or of its agent where that is not known.
func hostOf(n *health.Node) string {
	if n.Host != nil && n.Host.Name != "" {
		return n.Host.Name
	}
	return n.Agent
}

// Bundles are the files of what nodes held alone, oldest first.
func (k *Keeper) Bundles(cluster string) []Bundle { return k.Memory.Bundles(cluster) }

// RemoveBundle removes saved writes for good: they expire by hand only. id is
// Bundle.Operation, typed the node's name. The attempt that succeeds is audited
// here; of refusals the caller tells.
func (k *Keeper) RemoveBundle(ctx context.Context, cluster, id, typed, reason string, who audit.Who) (Bundle, error) {
	c, ok := k.Inventory.Cluster(cluster)
	if !ok {
		return Bundle{}, executor.ErrUnknownCluster
	}
	var b *Bundle
	all := k.Bundles(cluster)
	for i := range all {
		if all[i].Operation == id {
			b = &all[i]
		}
	}
	switch {
	case b == nil:
		return Bundle{}, ErrNoBundle
	case typed != b.Node:
		return *b, executor.ErrTypedName
	}
	if _, ok := k.Hub.Locate(cluster, b.Node); !ok {
		return *b, fmt.Errorf("%w: the file is %s on %s", ErrBundleHost, b.Path, b.Host)
	}
	k.mu.Lock()
	term := k.term
	k.mu.Unlock()
	args := map[string]string{"generation": strconv.FormatUint(b.Generation, 10), "file": filepath.Base(b.Path)}
	if err := k.order(ctx, &c, term, b.Node, agent.ActionDropKept, removeBundleTime, args, nil); err != nil {
		return *b, fmt.Errorf("remove what was saved of %s on %s: %w", b.Node, b.Host, err)
	}
	if err := k.append(cluster, eventBundleRemoved, bundleRemoved{Operation: id, Node: b.Node, At: k.Now(), Who: who.Name}); err != nil {
		return *b, fmt.Errorf("record that what was saved of %s is removed: %w", b.Node, err)
	}
	detail := fmt.Sprintf("%s on %s, %d bytes, of generation %d", b.Path, b.Host, b.Bytes, b.Generation)
	if reason != "" {
		detail += ": " + reason
	}
	k.auditBy(who, cluster, b.Node, "removed the lost writes of "+b.Node, audit.Done, detail)
	return *b, nil
}
