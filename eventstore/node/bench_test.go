package node

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"baton/eventstore/stream"
)

// BenchmarkAppend measures appends through the leader of three nodes in this
// process, by so many writers at a time.
func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 64, 512} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			n := benchLeader(b)
			var next atomic.Int64
			var all sync.WaitGroup
			b.ResetTimer()
			for w := range writers {
				all.Go(func() {
					name := streamOf(w)
					for next.Add(1) <= int64(b.N) {
						if _, err := n.Append(context.Background(), appendCommand(b, name, stream.Any, event(w)), false); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
		})
	}
}

// BenchmarkPromotion measures the longest gap of 64 writers at each promotion.
func BenchmarkPromotion(b *testing.B) {
	c := benchCluster(b)
	l := c.load(64, func(w int) *Node { return c.nodes[w%3] })
	var gaps []time.Duration
	for b.Loop() {
		leader := c.waitLeader()
		target := (leader + 1) % 3
		l.grow(500)
		l.takeGap()
		if _, err := c.nodes[leader].Promote(context.Background(), fmt.Sprintf("n%d", target), true); err != nil {
			b.Fatal(err)
		}
		l.grow(500)
		gaps = append(gaps, l.takeGap())
	}
	failed := l.failed.Load()
	l.stop()
	slices.Sort(gaps)
	b.ReportMetric(float64(gaps[len(gaps)/2].Microseconds())/1000, "median-gap-ms")
	b.ReportMetric(float64(gaps[len(gaps)-1].Microseconds())/1000, "max-gap-ms")
	b.ReportMetric(float64(failed), "failed")
}

func benchLeader(b *testing.B) *Node {
	c := benchCluster(b)
	return c.nodes[c.leader()]
}

func benchCluster(b *testing.B) *cluster {
	b.Helper()
	c := &cluster{t: b, size: 3, nodes: make([]*Node, 3)}
	for range c.nodes {
		c.dirs = append(c.dirs, b.TempDir())
		c.addrs = append(c.addrs, freeAddress(b))
	}
	b.Cleanup(func() {
		for i := range c.nodes {
			c.stop(i)
		}
	})
	c.startAll()
	c.roles(3, 0)
	c.waitLeader()
	return c
}
