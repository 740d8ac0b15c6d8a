package index

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// benchNames makes n stream names.
func benchNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("order-%08d", i)
	}
	return names
}

func openBench(b *testing.B) *Pebble {
	p, err := OpenPebble(PebbleOptions{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	return p
}

// BenchmarkAdd includes every flush and the compactions that run beside it.
func BenchmarkAdd(b *testing.B) {
	for _, streams := range []int{100, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("streams=%d", streams), func(b *testing.B) {
			p := openBench(b)
			names := benchNames(streams)
			next := make([]int64, streams)
			rng := rand.New(rand.NewPCG(1, 1))
			var row [1]Row
			pos := uint64(0)
			b.ResetTimer()
			for b.Loop() {
				i := rng.IntN(streams)
				row[0] = Row{names[i], next[i], 1, pos, 400}
				next[i]++
				pos += 400
				p.Add(row[:])
				if p.ShouldFlush() {
					if err := p.FlushBehind(nil); err != nil {
						b.Fatal(err)
					}
				}
			}
			if err := p.Flush(nil); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			_ = p.Close()
		})
	}
}

// filled returns an index of a million rows on disk, a tenth more in memory.
func filled(b *testing.B, streams int) (*Pebble, []string) {
	p := openBench(b)
	names := benchNames(streams)
	per := 1_000_000 / streams
	pos := uint64(0)
	for rev := range int64(per) {
		for _, n := range names {
			p.Add([]Row{{n, rev, 1, pos, 400}})
			pos += 400
		}
		if p.ShouldFlush() {
			if err := p.FlushBehind(nil); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := p.Flush(nil); err != nil {
		b.Fatal(err)
	}
	for i := range streams / 10 {
		p.Add([]Row{{names[i], int64(per), 1, pos, 400}})
		pos += 400
	}
	b.Cleanup(func() { _ = p.Close() })
	return p, names
}

func BenchmarkLookup(b *testing.B) {
	const streams = 100_000
	p, names := filled(b, streams)
	rng := rand.New(rand.NewPCG(1, 1))
	b.Run("last-in-memory", func(b *testing.B) {
		for b.Loop() {
			_, _, _ = p.Last(names[rng.IntN(streams/10)])
		}
	})
	b.Run("last-on-disk", func(b *testing.B) {
		for b.Loop() {
			if _, ok, err := p.Last(names[streams/10+rng.IntN(streams*9/10)]); !ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	})
	b.Run("last-of-unknown", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, ok, err := p.Last(fmt.Sprintf("unknown-%d", i)); ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	})
	b.Run("at-on-disk", func(b *testing.B) {
		for b.Loop() {
			if _, ok, err := p.At(names[streams/10+rng.IntN(streams*9/10)], 5); !ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	})
}

func BenchmarkForward(b *testing.B) {
	p, names := filled(b, 100)
	var rows []Row
	b.ResetTimer()
	for b.Loop() {
		var err error
		if rows, err = p.Forward(rows[:0], names[50], 100, 1000); err != nil || len(rows) != 1000 {
			b.Fatal(len(rows), err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/row")
}
