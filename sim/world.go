package sim

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// world is the simulated clock and the queue of what will happen. Everything happens inside run, one event
// after the other; events of the same instant happen in the order they were planned.
type world struct {
	now   time.Duration // since the seed began
	seq   uint64
	queue events
	rng   *rand.Rand
	trace trace
}

func newWorld(seed uint64) *world {
	return &world{rng: rand.New(rand.NewPCG(seed, seed^0x9e3779b97f4a7c15)), trace: newTrace()}
}

// after plans f at delay from now.
func (w *world) after(delay time.Duration, f func()) {
	w.seq++
	heap.Push(&w.queue, event{at: w.now + max(delay, 0), seq: w.seq, do: f})
}

// run lets events happen until the clock reaches end, stop answers true, or nothing is left to happen.
func (w *world) run(end time.Duration, stop func() bool) {
	for len(w.queue) > 0 && w.queue[0].at <= end {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		e.do()
		if stop != nil && stop() {
			return
		}
	}
	w.now = max(w.now, end)
}

// chance is true with probability p.
func (w *world) chance(p float64) bool { return p > 0 && w.rng.Float64() < p }

// between draws a duration from [lo, hi).
func (w *world) between(lo, hi time.Duration) time.Duration {
	if hi <= lo {
		return lo
	}
	return lo + time.Duration(w.rng.Int64N(int64(hi-lo)))
}

type event struct {
	at  time.Duration
	seq uint64
	do  func()
}

// events is a heap, soonest first.
type events []event

func (q events) Len() int { return len(q) }
func (q events) Less(i, j int) bool {
	return q[i].at < q[j].at || (q[i].at == q[j].at && q[i].seq < q[j].seq)
}
func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *events) Push(x any)   { *q = append(*q, x.(event)) }
func (q *events) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = event{}
	*q = old[:len(old)-1]
	return e
}
