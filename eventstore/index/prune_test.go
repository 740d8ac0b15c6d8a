package index

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// Goal: Prune removes what it is asked to but rows that are not stored yet and
// the last stored row of each stream, and a crash afterwards finds the last row
// of every stream as of the flush. Method: random rows, flushes and prunes
// against the naive index, then a crash.
func TestPruneKeepsTheLastStoredRow(t *testing.T) {
	each(t, func(t *testing.T, s subject) {
		rng := rand.New(rand.NewPCG(1, 2))
		m := model{}
		stored := map[string]int{} // rows of the model that a flush has stored
		next := map[string]int64{}
		flushed := model{}
		removed := 0
		for step := range 200 {
			name := fmt.Sprintf("s%d", rng.IntN(12))
			switch {
			case step%40 == 39:
				if err := s.ix.Flush([]byte("m")); err != nil {
					t.Fatal(err)
				}
				for name, rows := range m {
					stored[name] = len(rows)
				}
			case step%30 == 25:
				var ask []Row
				want := model{}
				count := 0
				for name, rows := range m {
					for i, r := range rows {
						if rng.IntN(3) > 0 {
							want[name] = append(want[name], r)
							continue
						}
						ask = append(ask, r)
						if i+1 < stored[name] {
							count++
						} else {
							want[name] = append(want[name], r)
						}
					}
				}
				for name := range m {
					stored[name] -= len(m[name]) - len(want[name])
				}
				m = want
				rng.Shuffle(len(ask), func(i, j int) { ask[i], ask[j] = ask[j], ask[i] })
				ask = append(ask, Row{Stream: "never", First: 3, Count: 1}, Row{Stream: name, First: 1 << 40, Count: 1})
				n, err := s.ix.Prune(ask)
				if err != nil || n != count {
					t.Fatalf("step %d: %d rows removed, %v; want %d", step, n, err, count)
				}
				removed += n
			default:
				r := Row{name, next[name], uint32(1 + rng.IntN(4)), uint64(step) * 100, 50}
				next[name] += int64(r.Count)
				s.ix.Add([]Row{r})
				m[name] = append(m[name], r)
			}
			if step%20 > 0 {
				continue
			}
			for n := range m {
				m.check(t, s.ix, n, -1, 0, next[n]/2, next[n], math.MaxInt64)
			}
		}
		if removed < 20 {
			t.Fatalf("only %d rows were removed", removed)
		}
		for name, rows := range m {
			flushed[name] = slices.Clone(rows[:stored[name]])
		}
		s.ix = s.crash(t)
		for n := range flushed {
			flushed.check(t, s.ix, n, -1, 0, next[n]/2, math.MaxInt64)
		}
	})
}
