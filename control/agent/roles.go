package agent

import (
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"sync"

	"baton/control/engine"
	"baton/platform/identity"
)

// roles remembers of each supervised server whom it was told to follow, until
// its own configuration file says so. A server that is killed in between and
// started again by its agent would otherwise come back in the role on file: a
// second primary, whose writes are lost when it is demoted again.
//
// What is remembered counts at once for the next start and is written to disk
// behind that: the writes of clients wait meanwhile, and only the agent's own
// end in the same moment could forget it. Leases, where they are kept, say more
// and come first.
type roles struct {
	path string
	log  *slog.Logger

	mu     sync.Mutex
	follow map[string]string // process -> host:port of the primary

	writing sync.Mutex
	pending sync.WaitGroup // writes
}

// close returns when everything remembered is on disk.
func (r *roles) close() { r.pending.Wait() }

// openRoles reads what an agent before this one remembered in dir.
func openRoles(dir string, log *slog.Logger) (*roles, error) {
	r := &roles{path: filepath.Join(dir, "roles.json"), log: log, follow: map[string]string{}}
	b, err := os.ReadFile(r.path)
	if errors.Is(err, os.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	return r, json.Unmarshal(b, &r.follow)
}

// ordered takes note of an action before it is carried out. The function it
// returns is called with the outcome.
func (r *roles) ordered(in engine.Instance, a engine.Action) (done func(error)) {
	if in.Process == "" || in.Engine != engine.Redis {
		return func(error) {}
	}
	switch a.Name {
	case engine.Demote, engine.Repoint:
		was := r.set(in.Process, a.Arg("addr"))
		return func(err error) {
			if err != nil && engine.CodeOf(err) != engine.CodeUnknown {
				r.set(in.Process, was) // it surely was not told
			}
		}
	case engine.Promote, engine.Persist:
		return func(err error) {
			if err == nil {
				r.set(in.Process, "")
			}
		}
	}
	return func(error) {}
}

// set returns what was there; "" is nothing.
func (r *roles) set(process, addr string) (was string) {
	r.mu.Lock()
	was = r.follow[process]
	if was == addr {
		r.mu.Unlock()
		return was
	}
	if addr == "" {
		delete(r.follow, process)
	} else {
		r.follow[process] = addr
	}
	r.pending.Go(r.store)
	r.mu.Unlock()
	return was
}

func (r *roles) store() {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.mu.Lock()
	follow := maps.Clone(r.follow)
	r.mu.Unlock()
	b, err := json.Marshal(follow)
	if err == nil {
		err = identity.WriteFile(r.path, b, 0o600)
	}
	if err != nil {
		r.log.Warn("roles that are not in their servers' files yet are not stored", "err", err)
	}
}

// arguments are what a server is started with beside its own, so that it does
// not come back in a role it was relieved of.
func (r *roles) arguments(process string) []string {
	r.mu.Lock()
	addr := r.follow[process]
	r.mu.Unlock()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil
	}
	return []string{"--replicaof", host, port}
}
