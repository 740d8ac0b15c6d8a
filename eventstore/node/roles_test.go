package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"baton/eventstore/membership"
	"baton/eventstore/stream"
)

// load writes from several goroutines through all running nodes until stopped,
// and remembers how many writes of each stream were acknowledged.
type load struct {
	c      *cluster
	cancel context.CancelFunc
	all    sync.WaitGroup
	acked  []atomic.Int64 // by writer
	failed atomic.Int64
	mu     sync.Mutex
	gap    time.Duration // longest time between two acknowledgements of one writer
}

func (c *cluster) load(writers int, through func(writer int) *Node) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{c: c, cancel: cancel, acked: make([]atomic.Int64, writers)}
	for w := range writers {
		l.all.Go(func() {
			last := time.Now()
			for i := 0; ctx.Err() == nil; i++ {
				e := event(i)
				for ctx.Err() == nil {
					n := through(w)
					outcome, err := n.Append(ctx, appendCommand(c.t, streamOf(w), stream.Any, e), false)
					if err != nil {
						l.failed.Add(1)
						if ctx.Err() == nil {
							c.t.Logf("writer %d: %v", w, err)
						}
						continue
					}
					if outcome.Kind != stream.Done {
						c.t.Errorf("writer %d: outcome %+v", w, outcome)
						return
					}
					break
				}
				if ctx.Err() != nil {
					return
				}
				l.acked[w].Add(1)
				l.mu.Lock()
				l.gap = max(l.gap, time.Since(last))
				l.mu.Unlock()
				last = time.Now()
			}
		})
	}
	return l
}

func streamOf(writer int) string { return fmt.Sprintf("load-%d", writer) }

func (l *load) stop() {
	l.cancel()
	l.all.Wait()
}

// check reads every acknowledged write back from every running node.
func (l *load) check() {
	l.c.t.Helper()
	for i, n := range l.c.nodes {
		if n == nil {
			continue
		}
		for w := range l.acked {
			l.c.holds(i, streamOf(w), int(l.acked[w].Load()))
		}
	}
}

// grow waits until so many more writes have been acknowledged.
func (l *load) grow(count int64) {
	l.c.t.Helper()
	total := func() (sum int64) {
		for w := range l.acked {
			sum += l.acked[w].Load()
		}
		return sum
	}
	want := total() + count
	eventually(l.c.t, "the load goes on", func() error {
		if sum := total(); sum < want {
			return fmt.Errorf("%d of %d", sum, want)
		}
		return nil
	})
}

func (l *load) takeGap() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	gap := l.gap
	l.gap = 0
	return gap
}

func TestLeaderKilledAnotherTakesOverWithoutLoss(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3, nil)
	c.startAll()
	c.roles(3, 0)
	old := c.waitLeader()
	other := (old + 1) % 3
	l := c.load(8, func(int) *Node { return c.nodes[other] })
	l.grow(100)
	killed := time.Now()
	n := c.nodes[old]
	n.stopWith(nil)
	eventually(t, "another leader", func() error {
		for i := range 3 {
			if i != old && c.nodes[i].Self().State == membership.StateLeader {
				return nil
			}
		}
		return errors.New("none")
	})
	took := time.Since(killed)
	<-n.stopped
	c.nodes[old] = nil
	l.grow(100)
	l.stop()
	t.Logf("failover %s, longest gap of a writer %s, failed calls %d", took, l.takeGap(), l.failed.Load())
	c.start(old)
	c.roles(3, 0)
	l.check()
}

func TestPromoteFollowerUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3, nil)
	c.startAll()
	c.roles(3, 0)
	l := c.load(16, func(w int) *Node { return c.nodes[w%3] })
	for range 5 {
		leader := c.waitLeader()
		target := (leader + 1) % 3
		l.takeGap()
		result, err := c.nodes[leader].Promote(context.Background(), fmt.Sprintf("n%d", target), true)
		if err != nil {
			t.Fatalf("promote: %v", err)
		}
		if result.Leader != c.nodes[target].ID() {
			t.Fatalf("leader is %s, asked for %s", result.Leader, c.nodes[target].ID())
		}
		eventually(t, "the target leads", func() error {
			if state := c.nodes[target].Self().State; state != membership.StateLeader {
				return fmt.Errorf("%s", state)
			}
			return nil
		})
		l.grow(200)
		t.Logf("promotion took %d ms, longest gap of a writer %s", result.TookMs, l.takeGap())
	}
	if failed := l.failed.Load(); failed > 0 {
		t.Errorf("%d calls failed", failed)
	}
	l.stop()
	l.check()
}

func TestPromoteCloneKeepsTheNumberOfVoters(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 4, nil)
	c.startAll()
	c.roles(3, 1)
	l := c.load(8, func(w int) *Node { return c.nodes[w%4] })
	clone := ""
	for _, m := range c.nodes[0].View().Members {
		if m.Role == membership.RoleClone {
			clone = m.Name
		}
	}
	asked := c.nodes[c.byName(clone)] // any node takes the command
	if _, err := asked.Promote(context.Background(), clone, true); err != nil {
		t.Fatalf("promote %s: %v", clone, err)
	}
	c.roles(3, 1)
	eventually(t, "the clone leads", func() error {
		if leader := c.leader(); leader != c.byName(clone) {
			return fmt.Errorf("node %d leads", leader)
		}
		return nil
	})
	l.stop()
	l.check()
}

func TestDeadVoterIsReplacedByClone(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 4, func(_ int, cfg *Config) { cfg.ReplaceAfter = time.Second })
	c.startAll()
	c.roles(3, 1)
	leader := c.waitLeader()
	leading := c.nodes[leader]
	l := c.load(4, func(int) *Node { return leading })
	dead := -1
	for _, m := range c.nodes[leader].View().Members {
		if m.Role == membership.RoleFollower {
			dead = c.byName(m.Name)
		}
	}
	deadName := c.nodes[dead].cfg.Name
	c.kill(dead)
	eventually(t, "the dead voter is a clone", func() error {
		view := c.nodes[leader].View()
		for _, m := range view.Members {
			if m.Name == deadName && m.Role != membership.RoleClone {
				return fmt.Errorf("%s is %s, pending %+v", m.Name, m.Role, view.Pending)
			}
		}
		return nil
	})
	c.roles(3, 1)
	c.start(dead)
	c.roles(3, 1)
	l.stop()
	l.check()
}

func (c *cluster) leaderOr(other int) int {
	if leader := c.leader(); leader >= 0 {
		return leader
	}
	return other
}

func TestClusterSizeGrowsAndShrinksOnline(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 5, nil)
	c.startAll()
	c.roles(3, 2)
	l := c.load(4, func(w int) *Node { return c.nodes[w%5] })
	if err := c.nodes[1].SetClusterSize(context.Background(), 5); err != nil {
		t.Fatal(err)
	}
	c.roles(5, 0)
	if err := c.nodes[3].SetClusterSize(context.Background(), 3); err != nil {
		t.Fatal(err)
	}
	c.roles(3, 2)
	var refusal *membership.Refusal
	if err := c.nodes[0].SetClusterSize(context.Background(), 4); !errors.As(err, &refusal) || refusal.Code != membership.CodeBadSize {
		t.Errorf("size 4: %v", err)
	}
	l.stop()
	l.check()
}

func TestHigherPriorityTakesOverAndPromotionByNameStays(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3, func(i int, cfg *Config) {
		cfg.PriorityHoldOff = 500 * time.Millisecond
		if i == 2 {
			cfg.Priority = 10
		}
	})
	c.startAll()
	eventually(t, "the highest priority leads", func() error {
		if leader := c.leader(); leader != 2 {
			return fmt.Errorf("node %d leads", leader)
		}
		return nil
	})
	// On a machine that stands still an election that nobody asked for may make it leader again: what priority undoes, it
	// undoes each time.
	for tries := 1; ; tries++ {
		eventually(t, "the promotion by name", func() error {
			_, err := c.nodes[1].Promote(context.Background(), "n0", true)
			if leader := c.leader(); leader == 0 {
				return nil
			}
			return err
		})
		undone := false
		throughout(1500*time.Millisecond, func() { // three hold-offs
			undone = undone || c.leader() == 2
		})
		if !undone {
			break
		}
		if tries == 4 {
			t.Fatal("priority undid a promotion by name")
		}
	}
	eventually(t, "resigning", func() error {
		err := c.nodes[c.leaderOr(0)].Resign(context.Background())
		return err
	})
}

func TestRemovedMemberLeavesAndStops(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 4, nil)
	c.startAll()
	c.roles(3, 1)
	leader := c.waitLeader()
	gone := c.nodes[leader]
	if err := c.nodes[(leader+1)%4].RemoveMember(context.Background(), gone.cfg.Name); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-gone.Done():
		if !errors.Is(err, ErrRemoved) {
			t.Errorf("stopped because of %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the removed node goes on")
	}
	<-gone.stopped
	c.nodes[leader] = nil
	c.roles(3, 0)
	c.write((leader+1)%4, "orders", 1)
}

func TestWipedNodeTakesItsPlaceUnderANewID(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3, nil)
	c.startAll()
	c.roles(3, 0)
	c.write(0, "orders", 0)
	wiped := (c.waitLeader() + 1) % 3
	old := c.nodes[wiped].ID()
	c.stop(wiped)
	c.dirs[wiped] = t.TempDir()
	c.start(wiped)
	c.roles(3, 0)
	c.holds(wiped, "orders", 1)
	if view := c.nodes[wiped].View(); view.Find(old) != nil && view.Find(old).Role != membership.RoleClone {
		t.Errorf("the old id still votes: %+v", view.Find(old))
	}
}

func TestWithoutQuorumNothingIsPromoted(t *testing.T) {
	t.Parallel()
	// On a machine that stands still the two voters may end so long after each other that the clone rightly takes the
	// place of the first. What is promoted without a quorum is promoted each time.
	for tries := 1; !withoutQuorum(t); tries++ {
		if tries == 4 {
			t.Fatal("without a quorum the clone became a voter")
		}
	}
}

// withoutQuorum ends two of three voters; held tells that the clone stayed what it was.
func withoutQuorum(t *testing.T) (held bool) {
	c := newCluster(t, 3, 4, func(_ int, cfg *Config) { cfg.ReplaceAfter = 500 * time.Millisecond })
	c.startAll()
	c.roles(3, 1)
	clone, voters := -1, []int{}
	for _, m := range c.nodes[0].View().Members {
		if i := c.byName(m.Name); m.Role == membership.RoleClone {
			clone = i
		} else {
			voters = append(voters, i)
		}
	}
	names := []string{c.nodes[voters[0]].cfg.Name, c.nodes[voters[1]].cfg.Name}
	var both sync.WaitGroup
	for _, i := range voters[:2] {
		n := c.nodes[i]
		c.nodes[i] = nil
		both.Go(func() { n.stopWith(nil); <-n.stopped })
	}
	both.Wait()
	votes := func() bool {
		view := c.nodes[clone].View()
		m := view.Find(c.nodes[clone].ID())
		return m != nil && m.Role != membership.RoleClone
	}
	eventually(t, "the refusal names the missing", func() error {
		if votes() {
			return nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := c.nodes[clone].Promote(ctx, c.nodes[clone].cfg.Name, true)
		var refusal *membership.Refusal
		if !errors.As(err, &refusal) || refusal.Code != membership.CodeNoQuorum {
			return fmt.Errorf("%v", err)
		}
		for _, name := range names {
			if !contains(refusal.Detail, name) {
				return fmt.Errorf("%q does not name %s", refusal.Detail, name)
			}
		}
		return nil
	})
	held = true
	throughout(time.Second, func() { // twice ReplaceAfter
		held = held && !votes()
	})
	if !held {
		return false
	}
	c.start(voters[0])
	c.waitLeader()
	c.write(clone, "orders", 1)
	return true
}

func contains(text, part string) bool {
	for i := 0; i+len(part) <= len(text); i++ {
		if text[i:i+len(part)] == part {
			return true
		}
	}
	return false
}

func TestRestartOfAllKeepsEverything(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3, nil)
	c.startAll()
	c.roles(3, 0)
	for i := range 50 {
		c.write(i%3, "orders", i)
	}
	for i := range 3 {
		if i == 1 {
			c.stop(i)
		} else {
			c.kill(i)
		}
	}
	c.startAll()
	c.roles(3, 0)
	for i := range 3 {
		c.holds(i, "orders", 50)
	}
	c.write(0, "orders", 50)
}
