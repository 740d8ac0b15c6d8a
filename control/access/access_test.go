package access

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"baton/control/journal"
	"baton/platform/auth"
	"baton/platform/identity"
)

// node is one control node's store over a shared journal.
func node(t *testing.T, j journal.Journal, now func() time.Time) *Store {
	t.Helper()
	s := New(j, now)
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		_ = j.Follow(ctx, 0, s.Take, func() { close(ready) })
	}()
	<-ready
	t.Cleanup(func() { cancel(); <-ended })
	return s
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick, limit := time.NewTicker(time.Millisecond), time.NewTimer(time.Minute)
	defer tick.Stop()
	defer limit.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatal("never: " + what)
		}
	}
}

type wallClock struct {
	mu sync.Mutex
	at time.Time
}

func (c *wallClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *wallClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// TestSessionsHoldOnEveryNodeAndAfterRestarts: a session begun on one control
// node is known to another and to one started later, lives as long as it is
// used, ends everywhere, and is in the journal only as a hash.
func TestSessionsHoldOnEveryNodeAndAfterRestarts(t *testing.T) {
	c := &wallClock{at: time.Unix(1_700_000_000, 0).UTC()}
	j := journal.NewMemory(c.now)
	one, two := node(t, j, c.now), node(t, j, c.now)
	id, _, err := one.Begin("ann", "admin")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other node knows it", func() bool { return two.Alive(id) })
	if v, ok := two.Lookup(id); !ok || v.User != "ann" || v.Role != "admin" {
		t.Errorf("%+v %v", v, ok)
	}
	page, err := j.Read(context.Background(), SessionStream, 0, 10)
	if err != nil || len(page) != 1 || strings.Contains(string(page[0].Data), id) {
		t.Errorf("%s %v", page[0].Data, err)
	}
	for h := 0; h < 23; h++ { // used every 29 minutes it lives, at most 12 hours
		c.add(29 * time.Minute)
		if _, ok := one.Lookup(id); !ok {
			t.Fatalf("ended after %d uses", h)
		}
		eventually(t, "the use is journalled", func() bool { page, _ := j.Read(context.Background(), SessionStream, 0, 99); return len(page) == h+2 })
	}
	if !node(t, j, c.now).Alive(id) {
		t.Error("a node started later does not know it")
	}
	c.add(auth.SessionAbsolute)
	if one.Alive(id) || two.Alive(id) || node(t, j, c.now).Alive(id) {
		t.Error("a session outlives its absolute end")
	}
	a, _, _ := one.Begin("ann", "admin")
	b, _, _ := two.Begin("ann", "admin")
	d, _, _ := two.Begin("bob", "viewer")
	eventually(t, "all are known", func() bool { return one.Alive(a) && one.Alive(b) && one.Alive(d) && two.Alive(a) })
	if err := one.End(a); err != nil || one.Alive(a) {
		t.Errorf("End: %v", err)
	}
	eventually(t, "it ended on the other", func() bool { return !two.Alive(a) })
	if err := one.EndAll("ann"); err != nil {
		t.Error(err)
	}
	eventually(t, "all of the user ended, and only these", func() bool { return !two.Alive(b) && two.Alive(d) && one.Alive(d) })
	c.add(auth.SessionIdle)
	if two.Alive(d) || two.Alive("") {
		t.Error("an idle session lives")
	}
}

// TestTokensWorkOnceOverAllNodes: of many that redeem a token at once, on two
// nodes, one succeeds; a wrong purpose or an old one never does.
func TestTokensWorkOnceOverAllNodes(t *testing.T) {
	c := &wallClock{at: time.Unix(1_700_000_000, 0).UTC()}
	j := journal.NewMemory(c.now)
	one, two := node(t, j, c.now), node(t, j, c.now)
	secret, expires, err := one.Issue(PurposeAgent)
	if err != nil || expires.Sub(c.now()) != identity.TokenLife {
		t.Fatalf("%v %v", expires, err)
	}
	for _, bad := range []struct{ secret, purpose string }{{secret, PurposeControl}, {secret + "x", PurposeAgent}, {"", PurposeAgent}} {
		if err := one.Redeem(bad.secret, bad.purpose); !errors.Is(err, identity.ErrToken) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	eventually(t, "the other node knows it", func() bool { return two.Valid(secret, PurposeAgent) })
	var wg sync.WaitGroup
	results := make(chan error, 8)
	for i := range 8 {
		wg.Go(func() { results <- []*Store{one, two}[i%2].Redeem(secret, PurposeAgent) })
	}
	wg.Wait()
	close(results)
	won := 0
	for err := range results {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, identity.ErrToken):
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("redeemed %d times", won)
	}
	late, _, _ := one.Issue(PurposeAgent)
	first, _, _ := one.Issue(PurposeSetup)
	second, _, _ := one.Issue(PurposeSetup)
	c.add(identity.TokenLife)
	if err := one.Redeem(late, PurposeAgent); !errors.Is(err, identity.ErrToken) {
		t.Errorf("a late token: %v", err)
	}
	if one.Valid(first, PurposeSetup) || !one.Valid(second, PurposeSetup) {
		t.Error("the newer set-up link does not replace the older")
	}
	page, _ := j.Read(context.Background(), TokenStream, 0, 99)
	all, _ := json.Marshal(page)
	if strings.Contains(string(all), secret) || strings.Contains(string(all), second) {
		t.Error("a secret is in the journal")
	}
}

// TestARemovedHostIsRevokedForGood: also one that joined before hosts were
// recorded, and on every node.
func TestARemovedHostIsRevokedForGood(t *testing.T) {
	j := journal.NewMemory(time.Now)
	one, two := node(t, j, time.Now), node(t, j, time.Now)
	for _, h := range []Host{{Agent: "a2", Name: "b"}, {Agent: "a1", Name: "a", Addr: "10.0.0.1:9"}} {
		if err := one.JoinHost(h); err != nil {
			t.Fatal(err)
		}
	}
	if hosts := one.Hosts(); len(hosts) != 2 || hosts[0].Agent != "a1" || hosts[0].At.IsZero() {
		t.Errorf("%+v", hosts)
	}
	for _, id := range []string{"a1", "a1", "never-recorded"} {
		if err := one.RemoveHost(id); err != nil {
			t.Error(err)
		}
	}
	eventually(t, "the other node refuses it", func() bool { return two.Revoked("a1") && two.Revoked("never-recorded") })
	if two.Revoked("a2") || len(two.Hosts()) != 1 || len(node(t, j, time.Now).Hosts()) != 1 {
		t.Errorf("%+v", two.Hosts())
	}
	if page, _ := j.Read(context.Background(), HostStream, 0, 9); len(page) != 4 {
		t.Errorf("%d events: removing twice is recorded twice", len(page))
	}
}
