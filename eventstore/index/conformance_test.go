package index

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

// subject is an index under test and the way to open it again: after a clean
// close or as a crash would leave it.
type subject struct {
	ix    Index
	crash func(t *testing.T) Index
}

var subjects = map[string]func(t *testing.T) subject{
	"memory": func(t *testing.T) subject {
		m := NewMemory()
		return subject{m, func(*testing.T) Index { return m.Crash() }}
	},
	"pebble": func(t *testing.T) subject {
		dir := t.TempDir()
		open := func(t *testing.T) Index {
			p, err := OpenPebble(PebbleOptions{Dir: dir, FlushRows: 50})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if p.db != nil {
					_ = p.Close()
				}
			})
			return p
		}
		ix := open(t)
		return subject{ix, func(t *testing.T) Index {
			// Rows in memory are lost by closing too; a second Pebble on the same
			// directory is refused, so this is the nearest to a crash.
			if err := ix.Close(); err != nil {
				t.Fatal(err)
			}
			ix.(*Pebble).db = nil
			return open(t)
		}}
	},
}

func each(t *testing.T, f func(t *testing.T, s subject)) {
	for name, open := range subjects {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			f(t, s)
		})
	}
}

// model is the naive index: all rows of a stream in order.
type model map[string][]Row

func (m model) check(t *testing.T, ix Index, stream string, revs ...int64) {
	t.Helper()
	rows := m[stream]
	same := func(what string, got Row, ok bool, err error, want *Row) {
		t.Helper()
		if err != nil || ok != (want != nil) || ok && got != *want {
			t.Fatalf("%s of %q: %+v %v %v, want %+v", what, stream, got, ok, err, want)
		}
	}
	var last *Row
	if len(rows) > 0 {
		last = &rows[len(rows)-1]
	}
	got, ok, err := ix.Last(stream)
	same("last", got, ok, err, last)
	for _, rev := range revs {
		var at, next, prev *Row
		var fwd, back []Row
		for i := range rows {
			r := &rows[i]
			if r.First <= rev && rev <= r.Last() {
				at = r
			}
			if r.First > rev && next == nil {
				next = r
			}
			if r.Last() < rev {
				prev = r
			}
			if r.Last() >= rev {
				fwd = append(fwd, *r)
			}
			if r.First <= rev {
				back = append([]Row{*r}, back...)
			}
		}
		got, ok, err := ix.At(stream, rev)
		same(fmt.Sprintf("at %d", rev), got, ok, err, at)
		got, ok, err = ix.Next(stream, rev)
		same(fmt.Sprintf("next %d", rev), got, ok, err, next)
		got, ok, err = ix.Prev(stream, rev)
		same(fmt.Sprintf("prev %d", rev), got, ok, err, prev)
		for _, n := range []int{0, 1, 3, 1000} {
			gotRows, err := ix.Forward([]Row{{Stream: "kept"}}, stream, rev, n)
			if err != nil || !slices.Equal(gotRows[1:], fwd[:min(n, len(fwd))]) {
				t.Fatalf("forward %q from %d, %d: %+v %v, want %+v", stream, rev, n, gotRows, err, fwd)
			}
			gotRows, err = ix.Backward([]Row{{Stream: "kept"}}, stream, rev, n)
			if err != nil || !slices.Equal(gotRows[1:], back[:min(n, len(back))]) {
				t.Fatalf("backward %q from %d, %d: %+v %v, want %+v", stream, rev, n, gotRows, err, back)
			}
		}
	}
}

// Goal: every query equals the naive model's, wherever rows happen to be: in
// memory, being flushed, on disk. Method: random rows, flushes and queries.
func TestConformance(t *testing.T) {
	each(t, func(t *testing.T, s subject) {
		rng := rand.New(rand.NewPCG(1, 2))
		m := model{}
		names := []string{"a", "ab", "a\x00", "b", "", "$$a", "stream-with-a-long-name"}
		next := map[string]int64{}
		pos := uint64(1000)
		for step := range 500 {
			var batch []Row
			for range rng.IntN(4) {
				name := names[rng.IntN(len(names))]
				if next[name] < 0 {
					continue
				}
				r := Row{name, next[name], uint32(1 + rng.IntN(5)), pos, uint32(50 + rng.IntN(100))}
				if rng.IntN(400) == 0 && name == "b" {
					r.First, r.Count = math.MaxInt64, 1
				}
				pos += uint64(r.Len)
				next[name] = r.First + int64(r.Count)
				m[name] = append(m[name], r)
				batch = append(batch, r)
			}
			s.ix.Add(batch)
			if s.ix.ShouldFlush() || rng.IntN(100) == 0 {
				if err := s.ix.FlushBehind([]byte{byte(step)}); err != nil {
					t.Fatal(err)
				}
			}
			name := names[rng.IntN(len(names))]
			top := max(next[name], 1)
			m.check(t, s.ix, name, rng.Int64N(top), -1, 0, top-1, top, top+1, math.MaxInt64)
		}
		for _, name := range append(names, "never") {
			m.check(t, s.ix, name, 0, 1, 5, next[name], math.MaxInt64)
		}
		if err := s.ix.Flush([]byte("end")); err != nil {
			t.Fatal(err)
		}
		ix := s.crash(t)
		for _, name := range names {
			m.check(t, ix, name, 0, 1, 5, next[name], math.MaxInt64)
		}
		if meta, err := ix.Meta(); err != nil || string(meta) != "end" {
			t.Errorf("meta %q %v", meta, err)
		}
	})
}

func TestCrashLosesOnlyWhatWasNotFlushed(t *testing.T) {
	each(t, func(t *testing.T, s subject) {
		if meta, err := s.ix.Meta(); meta != nil || err != nil {
			t.Fatalf("meta of an empty index: %q %v", meta, err)
		}
		m := model{"a": {{"a", 0, 2, 10, 50}, {"a", 2, 1, 60, 50}}}
		s.ix.Add(m["a"])
		if err := s.ix.Flush([]byte("one")); err != nil {
			t.Fatal(err)
		}
		s.ix.Add([]Row{{"a", 3, 1, 110, 50}, {"b", 0, 1, 160, 50}})
		ix := s.crash(t)
		m.check(t, ix, "a", 0, 1, 2, 3)
		m.check(t, ix, "b", 0)
		if meta, err := ix.Meta(); err != nil || string(meta) != "one" {
			t.Errorf("meta %q %v", meta, err)
		}
		// The lost rows come again by replay.
		ix.Add([]Row{{"a", 3, 1, 110, 50}})
		m["a"] = append(m["a"], Row{"a", 3, 1, 110, 50})
		m.check(t, ix, "a", 0, 2, 3, 4)
	})
}

// Goal: readers beside the writer never miss a row that was added before they
// looked, also while it moves to disk.
func TestReadersBesideWriter(t *testing.T) {
	each(t, func(t *testing.T, s subject) {
		const rows = 3000
		var mu sync.Mutex
		added := int64(0)
		var wg sync.WaitGroup
		for g := range 2 {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(g), 1))
				for {
					mu.Lock()
					n := added
					mu.Unlock()
					if n > 0 {
						if r, ok, err := s.ix.Last("s"); err != nil || !ok || r.First < n-1 {
							t.Errorf("last: %+v %v %v after %d rows", r, ok, err, n)
							return
						}
						rev := rng.Int64N(n)
						if r, ok, err := s.ix.At("s", rev); err != nil || !ok || r.First != rev {
							t.Errorf("at %d of %d: %+v %v %v", rev, n, r, ok, err)
							return
						}
						from := max(0, n-100)
						if got, err := s.ix.Forward(nil, "s", from, 1000); err != nil || int64(len(got)) < n-from {
							t.Errorf("forward from %d of %d: %d rows %v", from, n, len(got), err)
							return
						}
					}
					if n == rows {
						return
					}
				}
			})
		}
		for i := range int64(rows) {
			s.ix.Add([]Row{{"s", i, 1, uint64(i * 10), 10}})
			mu.Lock()
			added = i + 1
			mu.Unlock()
			if i%97 == 0 {
				if err := s.ix.FlushBehind(nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		wg.Wait()
	})
}
