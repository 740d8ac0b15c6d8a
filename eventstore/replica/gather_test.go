package replica

import (
	"testing"
	"time"
)

// TestEntriesGatherCommands drives the decision alone: what a commit with
// commands waiting makes the next entry wait for.
func TestEntriesGatherCommands(t *testing.T) {
	queue := func(n int) []*Proposal { return make([]*Proposal, n) }
	for _, c := range []struct {
		name           string
		carried, queue int
		bytes          int
		wants          bool
	}{
		{"one client", 1, 0, 0, false},
		{"few clients", 3, 4, 0, false},
		{"nobody waits", 64, 0, 0, false},
		{"many", 20, 16, 0, true},
		{"enough bytes already", 20, 16, pipelineBytes, false},
	} {
		core := &Core{now: 40_000, queue: queue(c.queue), queueBytes: c.bytes}
		core.committed(&batch{at: 10_000, items: make([]item, c.carried)})
		if got := core.gathers(); got != c.wants {
			t.Errorf("%s: gathers %v, want %v", c.name, got, c.wants)
		}
	}
	core := &Core{now: 40_000, queue: queue(16)}
	for range 50 {
		core.committed(&batch{at: 10_000, items: make([]item, 24)}) // 3 ms each
	}
	if d := core.Gathering(); d < 2*time.Millisecond || d > 3*time.Millisecond {
		t.Errorf("waits %v where an entry takes 3 ms", d)
	}
	if n, _ := core.Enough(); n != 35-16 {
		t.Errorf("%d more commands end the wait, want 19", n)
	}
	core.queue = queue(35)
	if core.gathers() {
		t.Error("still waits although seven eighths came back")
	}
	core.queue = queue(16)
	core.committed(&batch{at: 10_000, items: make([]item, 24)})
	core.Gathered()
	if core.Gathering() != 0 {
		t.Error("still waits after the time was over")
	}
}

// TestPatienceWakesTheLoop: proposals that make no difference do not wake the
// loop; the one that does, or the last that fits, must.
func TestPatienceWakesTheLoop(t *testing.T) {
	woken := func(b *inbox) bool {
		select {
		case <-b.notify:
			return true
		default:
			return false
		}
	}
	b, p := newInbox(), &Proposal{Command: command(t, "a", 1)}
	b.propose(p)
	if !woken(b) {
		t.Fatal("a loop that waits for proposals is not woken")
	}
	b.settle(3, pipelineBytes) // one is there already
	if b.propose(p); woken(b) {
		t.Fatal("woken for the second of three")
	}
	if b.propose(p); !woken(b) {
		t.Fatal("not woken for the third")
	}
	b.take(work{})
	if b.settle(0, 0); woken(b) {
		t.Fatal("woken for nothing")
	}
	b.propose(p)
	woken(b)
	if b.settle(1, pipelineBytes); !woken(b) {
		t.Fatal("what came between taking and settling is forgotten")
	}
	b.settle(100, 1)
	if b.propose(p); !woken(b) {
		t.Fatal("not woken although the bytes suffice")
	}
}
