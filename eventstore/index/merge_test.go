package index

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
)

// Goal: a merge leaves the index's files in one level, without what was pruned, and every other row where it was; one that is
// called off does no harm. Method: many flushes of rows of the same streams, a prune, merges; the naive index beside it.
func TestMergeLeavesOneLevel(t *testing.T) {
	dir := t.TempDir()
	p, err := OpenPebble(PebbleOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	m := model{}
	next := map[string]int64{}
	flush := func(round int) {
		for i := range 50 {
			name := fmt.Sprintf("s%d", i%10)
			r := Row{name, next[name], 2, uint64(round*1000 + i), 50}
			next[name] += 2
			p.Add([]Row{r})
			m[name] = append(m[name], r)
		}
		if err := p.Flush([]byte("m")); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 6 {
		flush(round)
	}
	gone := m["s3"][:20]
	if n, err := p.Prune(gone); err != nil || n != len(gone) {
		t.Fatalf("%d rows removed, %v", n, err)
	}
	m["s3"] = m["s3"][20:]
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Merge(canceled); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		for name := range m {
			m.check(t, p, name, -1, 0, next[name]/2, next[name], math.MaxInt64)
		}
	}
	check()
	files := func() (above, lowest int64) {
		levels := p.db.Metrics().Levels
		for i := range levels {
			if i+1 < len(levels) {
				above += levels[i].TablesCount
			} else {
				lowest = levels[i].TablesCount
			}
		}
		return above, lowest
	}
	flush(7)
	above, lowest := files()
	t.Logf("before: %d files above the lowest level, %d in it", above, lowest)
	if err := p.Merge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if above, lowest := files(); above != 0 || lowest == 0 {
		t.Errorf("%d files above the lowest level, %d in it", above, lowest)
	}
	check()
	if err := p.Merge(t.Context()); err != nil {
		t.Errorf("with nothing to do: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if p, err = OpenPebble(PebbleOptions{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	check()
	if meta, err := p.Meta(); err != nil || string(meta) != "m" {
		t.Errorf("meta %q, %v", meta, err)
	}
}
