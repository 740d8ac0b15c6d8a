package machines

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"baton/control/provider"
)

func sealContext(account string) string { return "provider-account/" + account }

// PutAccount keeps access to a provider, after it was tried: an account that
// does not work is not taken. Errors: those of provider.Maker, ErrNoSecrets.
func (s *Store) PutAccount(ctx context.Context, a Account, token string) error {
	if s.Secrets == nil {
		return ErrNoSecrets
	}
	m, err := s.Connect(a.Kind, token, a.Endpoint)
	if err != nil {
		return err
	}
	if _, err := m.Locations(ctx); err != nil {
		return err
	}
	a.Sealed, a.At = s.Secrets.Seal([]byte(token), sealContext(a.Name)), s.Now()
	return s.record(ctx, typeAccount, func() (any, error) { return a, nil })
}

// RemoveAccount forgets one that no machine needs any more.
func (s *Store) RemoveAccount(ctx context.Context, name, by string) error {
	return s.record(ctx, typeNoMore, func() (any, error) {
		if _, ok := s.accounts[name]; !ok {
			return nil, ErrNoAccount
		}
		for _, m := range s.machines {
			if m.Account == name && m.State != Deleted {
				return nil, fmt.Errorf("%w: %s", ErrInUse, m.Wish.Name)
			}
		}
		return named{name, by, s.Now()}, nil
	})
}

// Provider reaches an account's provider.
func (s *Store) Provider(account string) (provider.Maker, error) {
	s.mu.Lock()
	a, ok := s.accounts[account]
	s.mu.Unlock()
	if !ok {
		return nil, ErrNoAccount
	}
	if s.Secrets == nil {
		return nil, ErrNoSecrets
	}
	token, err := s.Secrets.Open(a.Sealed, sealContext(account))
	if err != nil {
		return nil, fmt.Errorf("open the token of account %s: %w", account, err)
	}
	return s.Connect(a.Kind, string(token), a.Endpoint)
}

// Make begins a machine and returns its id. Errors: ErrNoAccount, ErrNameTaken.
func (s *Store) Make(ctx context.Context, w Wish) (id string, err error) {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	w.ID, w.At = "machine-"+hex.EncodeToString(b[:]), s.Now()
	return w.ID, s.record(ctx, typeAsked, func() (any, error) {
		if _, ok := s.accounts[w.Account]; !ok {
			return nil, ErrNoAccount
		}
		for _, m := range s.machines {
			if m.Wish.Name == w.Name && m.State != Deleted {
				return nil, ErrNameTaken
			}
		}
		return w, nil
	})
}

// Delete begins deleting a machine that is ready or failed.
func (s *Store) Delete(ctx context.Context, id, by string) error {
	return s.record(ctx, typeDelete, func() (any, error) {
		m := s.machines[id]
		switch {
		case m == nil || m.State == Deleted:
			return nil, ErrNoMachine
		case m.State == Making || m.State == Deleting:
			return nil, fmt.Errorf("%w: %s", ErrNotNow, m.State)
		}
		return named{id, by, s.Now()}, nil
	})
}

// Run carries on what is unfinished until ctx ends. Only the control node that
// leads runs it.
func (s *Store) Run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		s.mu.Lock()
		moved := s.moved
		for id, m := range s.machines {
			if (m.State == Making || m.State == Deleting) && !s.driving[id] {
				s.driving[id] = true
				w := *m
				all.Go(func() {
					s.drive(ctx, w)
					s.mu.Lock()
					delete(s.driving, id)
					s.mu.Unlock()
				})
			}
		}
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil
		case <-moved:
		}
	}
}

// drive makes or deletes one machine and records its end. What cannot be
// recorded is carried on by the next who leads.
func (s *Store) drive(ctx context.Context, m Machine) {
	var e ended
	if m.State == Deleting {
		e = s.unmake(ctx, m)
	} else {
		e = s.make(ctx, m)
	}
	e.ID, e.At = m.ID, s.Now()
	if ctx.Err() != nil {
		return
	}
	if err := s.record(ctx, typeEnded, func() (any, error) {
		if now := s.machines[m.ID]; now == nil || now.State != m.State {
			return nil, errMoved
		}
		return e, nil
	}); err != nil && ctx.Err() == nil && !errors.Is(err, errMoved) {
		s.Log.Error("what became of a machine is not recorded", "machine", m.ID, "err", err)
	}
}

func (s *Store) make(ctx context.Context, m Machine) ended {
	fail := func(format string, args ...any) ended { return ended{State: Failed, Why: fmt.Sprintf(format, args...)} }
	var made provider.Machine
	if m.ProviderID == "" {
		s.step(ctx, Step{ID: m.ID, Step: StepMake, Detail: m.Size + " in " + m.Location})
		err := s.insist(ctx, s.MakeTime, func() (err error) {
			made, err = s.ask(ctx, m)
			return err
		})
		if err != nil {
			return fail("the machine was not made: %v", err)
		}
		m.ProviderID = made.ID
	}
	s.step(ctx, Step{ID: m.ID, Step: StepBoot, Detail: "machine " + m.ProviderID + " at " + made.Address, ProviderID: m.ProviderID, Address: made.Address})
	if err := s.insist(ctx, s.MakeTime, func() error {
		p, err := s.Provider(m.Account)
		if err != nil {
			return err
		}
		now, err := p.Look(ctx, m.ProviderID)
		if err == nil && !now.Running {
			err = fmt.Errorf("%w: %s", errNotRunning, now.State)
		}
		if err == nil {
			made = now
		}
		return err
	}); err != nil {
		return fail("the machine was made and does not run: %v. Look at it at the provider, or delete it", err)
	}
	s.step(ctx, Step{ID: m.ID, Step: StepJoin, Detail: "it runs at " + made.Address + "; its agent is to join by itself", Address: made.Address})
	agent := ""
	if err := s.insist(ctx, s.JoinTime, func() error {
		var ok bool
		if agent, ok = s.Joined(m.Wish.Name, m.At); !ok {
			return errors.New("its agent has not joined")
		}
		return nil
	}); err != nil {
		return fail("the machine runs at %s and its agent did not join within %s: see /var/log/cloud-init-output.log there. It must reach %s", made.Address, s.JoinTime, m.Program)
	}
	return ended{State: Ready, Agent: agent}
}

// ask asks the provider for the machine; a repeat finds the one made before.
func (s *Store) ask(ctx context.Context, m Machine) (provider.Machine, error) {
	p, err := s.Provider(m.Account)
	if err != nil {
		return provider.Machine{}, err
	}
	token, err := s.Token()
	if err != nil {
		return provider.Machine{}, err
	}
	sum, err := s.Sum()
	if err != nil {
		return provider.Machine{}, err
	}
	data, err := provider.CloudInit(provider.Boot{Program: m.Program, Sum: sum, Token: token, Name: m.Wish.Name})
	if err != nil {
		return provider.Machine{}, fmt.Errorf("%w: %w", provider.ErrInput, err)
	}
	return p.Make(ctx, provider.NewMachine{Key: m.ID, Name: m.Wish.Name, Location: m.Location, Size: m.Size, Image: m.Image, UserData: data})
}

func (s *Store) unmake(ctx context.Context, m Machine) ended {
	if m.ProviderID != "" {
		if err := s.insist(ctx, s.MakeTime, func() error {
			p, err := s.Provider(m.Account)
			if err != nil {
				return err
			}
			return p.Remove(ctx, m.ProviderID, m.ID)
		}); err != nil {
			return ended{State: Failed, Why: fmt.Sprintf("the machine was not deleted: %v", err)}
		}
	}
	if m.Agent != "" {
		if err := s.Forget(m.Agent); err != nil {
			return ended{State: Deleted, Why: "its agent's certificate is not revoked: " + err.Error() + "; baton hosts remove " + m.Agent}
		}
	}
	return ended{State: Deleted}
}

// step records a step; one that is not recorded is only not shown, but for the
// provider's id, which the next who leads finds by the machine's key.
func (s *Store) step(ctx context.Context, st Step) {
	st.At = s.Now()
	if err := s.record(ctx, typeStep, func() (any, error) { return st, nil }); err != nil && ctx.Err() == nil {
		s.Log.Warn("a step of a machine is not recorded", "machine", st.ID, "step", st.Step, "err", err)
	}
}

// insist repeats f until it succeeds, its error is one that waiting does not
// mend, or the time is over.
func (s *Store) insist(ctx context.Context, limit time.Duration, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(s.Poll)
	defer tick.Stop()
	for {
		err := f()
		if err == nil || errors.Is(err, provider.ErrCredentials) || errors.Is(err, provider.ErrInput) || errors.Is(err, provider.ErrLimit) ||
			errors.Is(err, provider.ErrNoMachine) || errors.Is(err, provider.ErrNotOurs) || errors.Is(err, ErrNoAccount) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}
