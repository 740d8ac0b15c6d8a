package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"baton/control/agent/guard"
	"baton/control/engine"
	"baton/control/lease"
	"baton/platform/identity"
)

// Agent-side actions about promises; see package lease.
const (
	// ActionBarPromises{}: for the order's generation no promise is given any
	// more. Values: "leftMs", how long the last one runs.
	ActionBarPromises = "bar-promises"
	// ActionAllowPromises{}: they are given again.
	ActionAllowPromises = "allow-promises"
)

// PromiseState is what an agent has promised for a cluster, in a report.
type PromiseState struct {
	Cluster    string `json:"cluster"`
	Generation uint64 `json:"generation,string"` // that is not to be superseded
	Holder     string `json:"holder"`
	LeftMs     int64  `json:"leftMs"` // 0: it is over
	// Barred is the generation below which none is given any more; 0: none.
	Barred uint64 `json:"barred,string,omitempty"`
}

// promises are what this agent has promised, by cluster, on disk before it
// counts. Its lock is taken before that of leases.
type promises struct {
	a    *Agent
	path string

	mu   sync.Mutex
	vows map[string]*vowRecord
}

// vowRecord is one cluster's. Moments are of the boot clock: another boot of
// the machine counts the whole length anew.
type vowRecord struct {
	Cluster string
	lease.Vow
	To     string        // id of the agent it was given to
	Length time.Duration // from when it was promised
	Boot   string
}

func bootID() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b))
}

func openPromises(a *Agent) (*promises, error) {
	p := &promises{a: a, path: filepath.Join(a.opt.Dir, "promises.json"), vows: map[string]*vowRecord{}}
	b, err := os.ReadFile(p.path)
	if errors.Is(err, os.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read promises: %w", err)
	}
	var list []*vowRecord
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, fmt.Errorf("read promises in %s: %w", p.path, err)
	}
	for _, v := range list {
		if boot := bootID(); v.Boot != boot || boot == "" {
			v.Until, v.Boot = guard.Now()+v.Length, boot
		}
		p.vows[v.Cluster] = v
	}
	return p, nil
}

// put stores a cluster's; p.mu is held. What could not be stored does not count.
func (p *promises) put(cluster, to string, v lease.Vow, length time.Duration) error {
	was := p.vows[cluster]
	p.vows[cluster] = &vowRecord{Cluster: cluster, Vow: v, To: to, Length: length, Boot: bootID()}
	list := make([]*vowRecord, 0, len(p.vows))
	for _, v := range p.vows {
		list = append(list, v)
	}
	slices.SortFunc(list, func(a, b *vowRecord) int { return strings.Compare(a.Cluster, b.Cluster) })
	b, err := json.MarshalIndent(list, "", "  ")
	if err == nil {
		err = identity.WriteFile(p.path, b, 0o600)
	}
	if err != nil {
		// What reached the disk is not known; the old one is as long or shorter.
		if was != nil {
			p.vows[cluster] = was
		} else {
			delete(p.vows, cluster)
		}
		return fmt.Errorf("store a promise: %w", err)
	}
	return nil
}

func (p *promises) of(cluster string) vowRecord {
	if v := p.vows[cluster]; v != nil {
		return *v
	}
	return vowRecord{}
}

// promise answers the agent of a primary: "" is a promise, else why not.
func (p *promises) promise(caller, cluster, node string, ask lease.Ask) (refused string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t, ok := p.a.leases.record(cluster)
	if !ok || t.HolderAgent != caller || p.a.find(cluster, node) == nil || node == "" {
		return lease.IsUnknown
	}
	v := p.of(cluster)
	now := guard.Now()
	next, refused := v.Promise(ask, lease.Known{Accepted: p.a.fences.All()[cluster].Generation, Generation: t.Generation, Holder: t.Holder}, now)
	if refused != "" {
		return refused
	}
	if next == v.Vow && v.To == caller {
		return ""
	}
	if err := p.put(cluster, caller, next, next.Until-now); err != nil {
		p.a.log.Error("a promise is not given", "cluster", cluster, "holder", ask.Holder, "err", err)
		return "not-stored"
	}
	if v.Left(now) == 0 {
		p.a.log.Warn("promised that no other node is promoted here: the primary hears no control node", "cluster", cluster, "holder", ask.Holder, "generation", ask.Generation)
	}
	return ""
}

// free takes a promise back that its holder does not rely on any more. It need
// not be stored: a promise that outlives its need only delays.
func (p *promises) free(caller, cluster, holder string, generation uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if v := p.vows[cluster]; v != nil && v.To == caller {
		v.Vow = v.Vow.Freed(generation, holder)
	}
}

// waitFor waits until no promise keeps a node from being promoted, or says so
// when ctx ends before.
func (p *promises) waitFor(ctx context.Context, cluster, node string, generation uint64) error {
	for {
		p.mu.Lock()
		v := p.of(cluster)
		p.mu.Unlock()
		left := v.Bars(generation, guard.Now())
		if left == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return &engine.ActionError{Code: engine.CodeRefused, Fix: "try again when that is over",
				Detail: fmt.Sprintf("this agent has promised %s, which heard no control node, that %s is not promoted for another %.1f s", v.Holder, node, left.Seconds())}
		case <-time.After(min(left, promisePoll)):
		}
	}
}

// promisePoll is how often an order that waits looks whether it may go on.
const promisePoll = 20 * time.Millisecond

// states are the promises that run or are barred, for the report.
func (p *promises) states() (out []PromiseState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := guard.Now()
	for _, v := range p.vows {
		if left := v.Left(now); left > 0 || v.Barred > 0 {
			out = append(out, PromiseState{Cluster: v.Cluster, Generation: v.Generation, Holder: v.Holder, LeftMs: left.Milliseconds(), Barred: v.Barred})
		}
	}
	slices.SortFunc(out, func(a, b PromiseState) int { return strings.Compare(a.Cluster, b.Cluster) })
	return out
}

func barPromises(_ context.Context, a *Agent, o Order) (map[string]string, error) {
	p := a.leases.promises
	p.mu.Lock()
	defer p.mu.Unlock()
	v := p.of(o.Cluster)
	if next := v.Bar(o.Generation); next != v.Vow {
		if err := p.put(o.Cluster, v.To, next, v.Length); err != nil {
			return nil, err
		}
		a.log.Warn("no more promises for this generation: another primary is to be named", "cluster", o.Cluster, "generation", o.Generation)
	}
	// Rounded up: whoever asks relies on it.
	return map[string]string{"leftMs": strconv.FormatInt(v.Left(guard.Now()).Milliseconds()+1, 10)}, nil
}

func allowPromises(_ context.Context, a *Agent, o Order) (map[string]string, error) {
	p := a.leases.promises
	p.mu.Lock()
	defer p.mu.Unlock()
	v := p.of(o.Cluster)
	if next := v.Unbar(o.Generation); next != v.Vow {
		return nil, p.put(o.Cluster, v.To, next, v.Length)
	}
	return nil, nil
}
