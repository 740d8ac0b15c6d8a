package log

import (
	"fmt"
	"io"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"baton/platform/vfs"
)

// benchEntries makes entries of 256 bytes that share one payload.
func benchEntries(first uint64, n int, data []byte) []*raftpb.Entry {
	out := make([]*raftpb.Entry, n)
	for i := range out {
		out[i] = newEntry(Frame{Index: first + uint64(i), Term: 1, Data: data})
	}
	return out
}

func BenchmarkAppend(b *testing.B) {
	data := make([]byte, 256)
	for i := range data {
		data[i] = byte(i)
	}
	for _, batch := range []int{1, 64, 512} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			l := openLog(b, Options{FS: vfs.OS(), Dir: b.TempDir(), Background: true})
			defer l.Close()
			b.SetBytes(int64(batch * 256))
			b.ReportAllocs()
			next := uint64(1)
			for b.Loop() {
				if err := l.Append(benchEntries(next, batch, data)); err != nil {
					b.Fatal(err)
				}
				next += uint64(batch)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/entry")
		})
	}
}

// BenchmarkFormat is Append without the disk: what frames cost.
func BenchmarkFormat(b *testing.B) {
	l := openLog(b, Options{FS: vfs.NewFault(vfs.NewMem(), func(vfs.Op) error { return nil }), Dir: "/log", SegmentBytes: 1 << 20})
	data := make([]byte, 256)
	buf := make([]byte, 0, 1<<20)
	for b.Loop() {
		buf = buf[:0]
		for i := range uint64(512) {
			buf = appendFrame(buf, i*296, 1, i+1, raftpb.EntryNormal, 296, data)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*512), "ns/entry")
	must(b, l.Close())
}

// BenchmarkScan reads entries of 256 bytes from disk, verifying them.
func BenchmarkScan(b *testing.B) {
	const n = 200_000
	l := openLog(b, Options{FS: vfs.OS(), Dir: b.TempDir(), CacheBytes: 1})
	defer l.Close()
	data := make([]byte, 256)
	for i := uint64(1); i <= n; i += 500 {
		must(b, l.Append(benchEntries(i, 500, data)))
	}
	b.SetBytes(int64(l.End()))
	b.ReportAllocs()
	for b.Loop() {
		s, seen := l.Scan(0), 0
		for {
			if _, err := s.Next(); err == io.EOF {
				break
			} else if err != nil {
				b.Fatal(err)
			}
			seen++
		}
		if seen != n {
			b.Fatalf("%d frames", seen)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/entry")
}

// BenchmarkReadAt reads one record each at random places of a warm log.
func BenchmarkReadAt(b *testing.B) {
	l := openLog(b, Options{FS: vfs.OS(), Dir: b.TempDir(), CacheBytes: 1})
	defer l.Close()
	data := make([]byte, 256)
	for i := uint64(1); i <= 100_000; i += 500 {
		must(b, l.Append(benchEntries(i, 500, data)))
	}
	p := make([]byte, 256)
	at := uint64(0)
	for b.Loop() {
		must(b, l.ReadAt(p, at%100_000*296+FrameHeaderBytes))
		at += 7919
	}
}

// BenchmarkOpen opens a log of several segments.
func BenchmarkOpen(b *testing.B) {
	o := Options{FS: vfs.OS(), Dir: b.TempDir()}
	l := openLog(b, o)
	data := make([]byte, 256)
	for i := uint64(1); i <= 1_000_000; i += 1000 {
		must(b, l.Append(benchEntries(i, 1000, data)))
	}
	must(b, l.Close())
	for b.Loop() {
		must(b, openLog(b, o).Close())
	}
}
