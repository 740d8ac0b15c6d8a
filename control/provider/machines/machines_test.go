package machines_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"baton/control/journal"
	"baton/control/provider"
	"baton/control/provider/hetznertest"
	"baton/control/provider/machines"
	"baton/platform/seal"
)

// world is a store over a journal in memory, with the contract server as its
// provider.
type world struct {
	t      *testing.T
	j      *journal.Memory
	server *hetznertest.Server
	box    *seal.Box

	mu        sync.Mutex
	joined    map[string]string
	forgotten []string
}

func newWorld(t *testing.T) *world {
	box, err := seal.New([]byte(strings.Repeat("k", 32)))
	if err != nil {
		t.Fatal(err)
	}
	return &world{t: t, j: journal.NewMemory(time.Now), server: hetznertest.Start(t), box: box, joined: map[string]string{}}
}

// store is what a control node has. run makes it the one that leads, until the
// returned function is called.
func (w *world) store(lead bool) (s *machines.Store, stop func()) {
	w.t.Helper()
	s = machines.New(machines.Options{Journal: w.j, Secrets: w.box, Now: time.Now, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Connect: func(kind, token, endpoint string) (provider.Maker, error) {
			if kind != "hetzner" {
				return nil, provider.ErrInput
			}
			return provider.NewHetzner(token, endpoint, "test"), nil
		},
		Token: func() (string, error) { return "join-token", nil }, Sum: func() (string, error) { return strings.Repeat("0", 64), nil },
		Joined: func(name string, _ time.Time) (string, bool) {
			w.mu.Lock()
			defer w.mu.Unlock()
			id, ok := w.joined[name]
			return id, ok
		},
		Forget: func(id string) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.forgotten = append(w.forgotten, id)
			return nil
		}, Poll: 2 * time.Millisecond})
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { _ = w.j.Follow(ctx, 0, func(r journal.Recorded) error { s.Take(r); return nil }, nil) })
	if lead {
		all.Go(func() { _ = s.Run(ctx) })
	}
	stop = sync.OnceFunc(func() { cancel(); all.Wait() })
	w.t.Cleanup(stop)
	return s, stop
}

func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	limit, tick := time.Now().Add(time.Minute), time.NewTicker(2*time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(limit) {
			w.t.Fatal("waited in vain: " + what)
		}
		<-tick.C
	}
}

func (w *world) in(s *machines.Store, id, state string) machines.Machine {
	w.t.Helper()
	var m machines.Machine
	w.eventually("the machine is "+state, func() bool { m, _ = s.Machine(id); return m.State == state })
	return m
}

func (w *world) account(s *machines.Store) {
	w.t.Helper()
	if err := s.PutAccount(context.Background(), machines.Account{Name: "main", Kind: "hetzner", Endpoint: w.server.URL, By: "ann"}, hetznertest.Token); err != nil {
		w.t.Fatal(err)
	}
}

var wish = machines.Wish{Account: "main", Name: "db-1", Location: "fsn1", Size: "cx22", Program: "https://control.example/api/v1/program", By: "ann"}

// TestAMachineIsMadeOnceWhoeverLeads: the answer to the creation is lost, the
// leader changes while the agent is awaited, and there is one machine all the
// time; deleting it revokes its agent. The token is in the journal only sealed.
func TestAMachineIsMadeOnceWhoeverLeads(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	first, stop := w.store(true)
	w.account(first)
	w.server.Lock()
	w.server.LoseAnswer = true
	w.server.Unlock()
	id, err := first.Make(ctx, wish)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Make(ctx, wish); !errors.Is(err, machines.ErrNameTaken) {
		t.Errorf("the same name twice: %v", err)
	}
	w.eventually("its agent is awaited", func() bool {
		m, _ := first.Machine(id)
		return len(m.Steps) > 0 && m.Steps[len(m.Steps)-1].Step == machines.StepJoin
	})
	if err := first.Delete(ctx, id, "ann"); !errors.Is(err, machines.ErrNotNow) {
		t.Errorf("deleted while it is made: %v", err)
	}
	stop()
	second, _ := w.store(true)
	w.mu.Lock()
	w.joined["db-1"] = "agent-1"
	w.mu.Unlock()
	m := w.in(second, id, machines.Ready)
	if m.Agent != "agent-1" || m.Address == "" || w.server.Count() != 1 {
		t.Errorf("%+v, %d machines", m, w.server.Count())
	}
	w.server.Lock()
	data := w.server.Made[0].UserData
	w.server.Unlock()
	if !strings.Contains(data, "join-token") || !strings.Contains(data, wish.Program) {
		t.Errorf("user data:\n%s", data)
	}
	if err := second.RemoveAccount(ctx, "main", "ann"); !errors.Is(err, machines.ErrInUse) {
		t.Errorf("an account in use is removed: %v", err)
	}
	if err := second.Delete(ctx, id, "ann"); err != nil {
		t.Fatal(err)
	}
	w.in(second, id, machines.Deleted)
	w.mu.Lock()
	if len(w.forgotten) != 1 || w.forgotten[0] != "agent-1" || w.server.Count() != 0 {
		t.Errorf("revoked %v, %d machines left", w.forgotten, w.server.Count())
	}
	w.mu.Unlock()
	if err := second.RemoveAccount(ctx, "main", "ann"); err != nil || len(second.Accounts()) != 0 {
		t.Errorf("remove the account: %v", err)
	}
	page, err := w.j.Read(ctx, machines.Stream, 0, 100)
	if err != nil || len(page) == 0 {
		t.Fatal(err)
	}
	for _, r := range page {
		if strings.Contains(string(r.Data), hetznertest.Token) || strings.Contains(string(r.Data), "join-token") {
			t.Errorf("a secret is in the journal: %s", r.Data)
		}
	}
}

// TestAMachineThatCannotBeSaysWhy: refusals of the provider end it at once, and
// what is not ours is never deleted.
func TestAMachineThatCannotBeSaysWhy(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	s, _ := w.store(true)
	if _, err := s.Make(ctx, wish); !errors.Is(err, machines.ErrNoAccount) {
		t.Errorf("without an account: %v", err)
	}
	if err := s.PutAccount(ctx, machines.Account{Name: "main", Kind: "hetzner", Endpoint: w.server.URL}, "wrong"); !errors.Is(err, provider.ErrCredentials) {
		t.Errorf("a token that is not taken: %v", err)
	}
	w.account(s)
	w.server.Lock()
	w.server.Fail = "resource_limit_exceeded"
	w.server.Unlock()
	id, err := s.Make(ctx, wish)
	if err != nil {
		t.Fatal(err)
	}
	if m := w.in(s, id, machines.Failed); !strings.Contains(m.Why, "not made") {
		t.Errorf("why: %s", m.Why)
	}
	if err := s.Delete(ctx, id, "ann"); err != nil {
		t.Fatal(err)
	}
	w.in(s, id, machines.Deleted)
	w.server.Lock()
	w.server.Fail = ""
	w.server.Unlock()
	w.mu.Lock()
	w.joined["db-1"] = "agent-1"
	w.mu.Unlock()
	if id, err = s.Make(ctx, wish); err != nil {
		t.Fatal(err)
	}
	w.in(s, id, machines.Ready)
	w.server.Relabel()
	if err := s.Delete(ctx, id, "ann"); err != nil {
		t.Fatal(err)
	}
	if m := w.in(s, id, machines.Failed); !strings.Contains(m.Why, "left alone") || w.server.Count() != 1 {
		t.Errorf("why: %s, %d machines", m.Why, w.server.Count())
	}
}
