package reader

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"baton/eventstore/log"
	"baton/eventstore/stream"
	"baton/platform/vfs"
)

// filled makes a node on disk with n events of 256 bytes: single appends over
// 100 streams, 64 to an entry.
func filled(b *testing.B, n int) *node {
	b.Helper()
	b.Chdir(b.TempDir())
	nd := newNode(b, log.Options{FS: vfs.OS()})
	data := strings.Repeat("x", 256)
	for i := 0; i < n; i += 64 {
		cmds := make([]*stream.Command, 64)
		for k := range cmds {
			cmds[k] = nd.events(fmt.Sprintf("order-%08d", (i+k)%100), data)
		}
		nd.entry(cmds...)
	}
	return nd
}

func BenchmarkAll(b *testing.B) {
	nd := filled(b, 200_000)
	ctx := context.Background()
	for _, c := range []struct {
		name string
		q    AllQuery
	}{
		{"forwards", AllQuery{FromStart: true, Count: many}},
		{"backwards", AllQuery{FromEnd: true, Backwards: true, Count: 20_000}},
	} {
		b.Run(c.name, func(b *testing.B) {
			events := 0
			b.ReportAllocs()
			for b.Loop() {
				events = 0
				if err := nd.r.All(ctx, c.q, func(*Event) error { events++; return nil }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(events), "ns/event")
		})
	}
}

func BenchmarkStream(b *testing.B) {
	nd := filled(b, 200_000)
	ctx := context.Background()
	for _, backwards := range []bool{false, true} {
		b.Run(fmt.Sprintf("1000-events/backwards=%v", backwards), func(b *testing.B) {
			q := StreamQuery{Stream: "order-00000050", From: 500, Count: 1000, Backwards: backwards}
			if backwards {
				q.From = 1499
			}
			b.ReportAllocs()
			for b.Loop() {
				events := 0
				if _, err := nd.r.Stream(ctx, q, func(*Event) error { events++; return nil }); err != nil || events != 1000 {
					b.Fatal(events, err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/event")
		})
	}
}
