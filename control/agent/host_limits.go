package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"baton/platform/identity"
)

const (
	// ActionLimits{limits}: JSON of Limits; puts them in force on this host.
	// Values: "state" and "why" of LimitState.
	ActionLimits = "put-limits"
	// ActionClients: who is connected to the cluster's servers and endpoint on
	// this host. Values: "addresses", a JSON list, each once.
	ActionClients = "read-clients"
)

// States of limits on a host.
const (
	LimitsTrial   = "trial"        // in force, and taken back should the link be lost
	LimitsInForce = "in force"     // for good
	LimitsBack    = "taken back"   // what was before is in force; Why says why
	LimitsNot     = "not possible" // nothing limits direct connections here; Why says why
)

// LimitState is what became of a cluster's limits on a host, in its report.
type LimitState struct {
	Cluster string `json:"cluster"`
	Version string `json:"version"`
	State   string `json:"state"`
	Why     string `json:"why,omitempty"`
}

const (
	// limitsTrial is how long new limits are on trial.
	limitsTrial = 30 * time.Second
	// limitsLost is how long the link may be away meanwhile: a restart of the
	// control plane is no lock-out.
	limitsLost = 5 * time.Second
	// nftTime bounds one call.
	nftTime = 10 * time.Second
	// limitsLook is how often the link is looked at during a trial.
	limitsLook = 100 * time.Millisecond
)

// hostLimits keeps who may connect to the servers of this host. The file is
// written before anything is put in force, so that an agent that dies during a
// trial takes it back at its next start.
type hostLimits struct {
	file   string
	nft    func(ctx context.Context, script string) error
	linked func() bool
	own    func() []netip.Addr // the control nodes
	trial  time.Duration
	lost   time.Duration

	mu     sync.Mutex
	want   map[string]Limits  // by cluster
	before map[string]*Limits // of those on trial: what was so; nil: no limits
	states map[string]LimitState
	until  time.Time // end of the trial
	watch  bool      // a goroutine watches it
}

// limitsFile is what is stored.
type limitsFile struct {
	Want   map[string]Limits  `json:"want"`
	Before map[string]*Limits `json:"before,omitempty"`
}

func (a *Agent) openLimits() (*hostLimits, error) {
	h := &hostLimits{file: filepath.Join(a.opt.Dir, "limits.json"), nft: runNft, linked: a.leases.linked, own: a.controlAddresses, trial: limitsTrial, lost: limitsLost,
		want: map[string]Limits{}, before: map[string]*Limits{}, states: map[string]LimitState{}}
	return h, h.load()
}

// load reads the file, takes back what was on trial, and puts the rest in
// force: the kernel forgets it with a restart of the machine.
func (h *hostLimits) load() error {
	b, err := os.ReadFile(h.file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read limits: %w", err)
	}
	var f limitsFile
	if err := json.Unmarshal(b, &f); err != nil {
		return fmt.Errorf("read limits in %s: %w", h.file, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.Copy(h.want, f.Want)
	maps.Copy(h.before, f.Before)
	if len(h.before) > 0 {
		h.takeBack("the agent was restarted during the trial")
		return nil
	}
	if len(h.want) == 0 {
		return nil
	}
	err = h.enforce()
	for _, l := range h.want {
		h.states[l.Cluster] = stateOf(l, LimitsInForce, err)
	}
	return nil
}

// stateOf is a state, or that there is none because of err.
func stateOf(l Limits, state string, err error) LimitState {
	s := LimitState{Cluster: l.Cluster, Version: l.Version, State: state}
	if err != nil {
		s.State, s.Why = LimitsNot, err.Error()
	}
	return s
}

// store writes the file; h.mu is held.
func (h *hostLimits) store() error {
	b, err := json.MarshalIndent(limitsFile{h.want, h.before}, "", "  ")
	if err != nil {
		return err
	}
	return identity.WriteFile(h.file, b, 0o600)
}

// enforce puts all limits in force; h.mu is held.
func (h *hostLimits) enforce() error {
	ctx, cancel := context.WithTimeout(context.Background(), nftTime)
	defer cancel()
	all := slices.Collect(maps.Values(h.want))
	err := h.nft(ctx, ruleset(all, h.own(), true))
	if err != nil {
		if err = h.nft(ctx, ruleset(all, h.own(), false)); err == nil {
			return nil // this kernel cannot answer refused clients
		}
	}
	return err
}

// put begins a trial. Where nothing can be put in force that is a state and no
// error: the cluster's endpoint limits its own clients everywhere.
func (h *hostLimits) put(l Limits) (LimitState, error) {
	if err := l.Check(); err != nil {
		return LimitState{}, badArg("put-limits: %v", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	was, had := h.want[l.Cluster]
	state := h.states[l.Cluster]
	if len(l.Allow) == 0 && !had {
		delete(h.states, l.Cluster)
		return LimitState{Cluster: l.Cluster, State: LimitsInForce}, nil
	}
	if had && was.Version == l.Version && (state.State == LimitsInForce || state.State == LimitsTrial) {
		return state, nil
	}
	set := func(l Limits) {
		if len(l.Allow) == 0 {
			delete(h.want, l.Cluster)
			return
		}
		h.want[l.Cluster] = l
	}
	set(l)
	if _, trying := h.before[l.Cluster]; !trying {
		h.before[l.Cluster] = nil
		if had {
			h.before[l.Cluster] = &was
		}
	}
	undo := func() {
		if b := h.before[l.Cluster]; b != nil {
			h.want[l.Cluster] = *b
		} else {
			delete(h.want, l.Cluster)
		}
		delete(h.before, l.Cluster)
	}
	if err := h.store(); err != nil {
		undo()
		return LimitState{}, fmt.Errorf("store limits: %w", err)
	}
	if err := h.enforce(); err != nil {
		undo()
		h.states[l.Cluster] = stateOf(l, "", err)
		return h.states[l.Cluster], h.store()
	}
	if len(l.Allow) == 0 { // nobody can be shut out by no limits
		delete(h.before, l.Cluster)
		delete(h.states, l.Cluster)
		return LimitState{Cluster: l.Cluster, State: LimitsInForce}, h.store()
	}
	h.states[l.Cluster] = LimitState{Cluster: l.Cluster, Version: l.Version, State: LimitsTrial}
	h.until = time.Now().Add(h.trial)
	if !h.watch {
		h.watch = true
		go h.watchTrial()
	}
	return h.states[l.Cluster], nil
}

// watchTrial ends the trial, one way or the other.
func (h *hostLimits) watchTrial() {
	tick := time.NewTicker(limitsLook)
	defer tick.Stop()
	var away time.Time // since when the link is
	for range tick.C {
		now, linked := time.Now(), h.linked()
		switch {
		case linked:
			away = time.Time{}
		case away.IsZero():
			away = now
		}
		h.mu.Lock()
		switch {
		case len(h.before) == 0:
			h.watch = false
		case !linked && now.Sub(away) > h.lost:
			h.takeBack(fmt.Sprintf("the link to the control plane was lost for %s within %s of the change", h.lost, h.trial))
			h.watch = false
		case linked && now.After(h.until):
			h.confirm()
			h.watch = false
		}
		done := !h.watch
		h.mu.Unlock()
		if done {
			return
		}
	}
}

// confirm makes what is on trial count for good; h.mu is held.
func (h *hostLimits) confirm() {
	for c := range h.before {
		delete(h.before, c)
		if s := h.states[c]; s.State == LimitsTrial {
			s.State = LimitsInForce
			h.states[c] = s
		}
	}
	// Not stored, it is taken back at the next start, and then put anew.
	_ = h.store()
}

// takeBack puts what was before in force; h.mu is held.
func (h *hostLimits) takeBack(why string) {
	tried := map[string]Limits{}
	for c, b := range h.before {
		tried[c] = h.want[c]
		if b != nil {
			h.want[c] = *b
		} else {
			delete(h.want, c)
		}
		delete(h.before, c)
	}
	err := errors.Join(h.enforce(), h.store())
	for c, l := range tried {
		s := LimitState{Cluster: c, Version: l.Version, State: LimitsBack, Why: why}
		if err != nil {
			s.Why += "; and not wholly: " + err.Error()
		}
		h.states[c] = s
	}
	for c, l := range h.want {
		if _, of := tried[c]; !of {
			h.states[c] = stateOf(l, LimitsInForce, err)
		}
	}
}

// all are the states, sorted by cluster.
func (h *hostLimits) all() []LimitState {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.SortedFunc(maps.Values(h.states), func(a, b LimitState) int { return strings.Compare(a.Cluster, b.Cluster) })
}

// runNft gives a script to nft, which takes it as a whole or not at all.
func runNft(ctx context.Context, script string) error {
	path, err := exec.LookPath("nft")
	for _, p := range []string{"/usr/sbin/nft", "/sbin/nft"} {
		if err != nil && isProgram(p) {
			path, err = p, nil
		}
	}
	if err != nil {
		return errors.New("nft is not installed on this host (Debian: apt-get install nftables)")
	}
	cmd := exec.CommandContext(ctx, path, "-f", "-")
	cmd.Stdin, cmd.Env, cmd.WaitDelay = strings.NewReader(script), []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		if os.Geteuid() != 0 {
			return fmt.Errorf("the agent has no right to limit connections: it does not run as root (nft: %w)", err)
		}
		return fmt.Errorf("nft does not take the rules: %w: %.300s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

func isProgram(path string) bool {
	st, err := os.Stat(path)
	return err == nil && !st.IsDir() && st.Mode()&0o111 != 0
}

func putLimits(_ context.Context, a *Agent, o Order) (map[string]string, error) {
	var l Limits
	if err := json.Unmarshal([]byte(o.Action.Arg("limits")), &l); err != nil {
		return nil, badArg("put-limits: the limits do not decode")
	}
	if l.Cluster != o.Cluster {
		return nil, badArg("put-limits: the limits are of cluster %q, the order of %q", l.Cluster, o.Cluster)
	}
	s, err := a.limits.put(l)
	if err != nil {
		return nil, err
	}
	if s.State == LimitsNot {
		a.log.Warn("direct connections are not limited", "cluster", l.Cluster, "why", s.Why)
	}
	return map[string]string{"state": s.State, "why": s.Why}, nil
}

// linked tells whether the control plane is heard.
func (l *leases) linked() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out != nil
}

// controlAddresses are the control nodes' addresses as this agent keeps them;
// names that do not resolve at once are left out.
func (a *Agent) controlAddresses() []netip.Addr {
	me, err := loadMember(a.opt.Dir) // the link's own copy changes under it
	if err != nil {
		return nil
	}
	var out []netip.Addr
	for _, hostPort := range merge([]string{me.Address}, me.Addresses) {
		host, _, err := net.SplitHostPort(hostPort)
		if err != nil {
			continue
		}
		if x, err := netip.ParseAddr(host); err == nil {
			out = append(out, x)
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		found, _ := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		cancel()
		out = append(out, found...)
	}
	return out
}
