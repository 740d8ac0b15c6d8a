package log

import (
	"bytes"
	"errors"
	"io"
	"math/rand"
	"sync"
	"sync/atomic"
	"testing"

	"go.etcd.io/raft/v3"

	"baton/platform/vfs"
)

// Goal: readers see only whole, right frames while one goroutine appends and
// now and then replaces the end; below the committed entry reads never fail.
// Run it with -race.
func TestReadersBesideTheAppender(t *testing.T) {
	for _, fsys := range []vfs.FS{vfs.NewMem(), vfs.OS()} {
		o := testOptions(fsys, 8000)
		o.Background = true
		if _, ok := fsys.(*vfs.Mem); !ok {
			o.Dir, o.LostWritesDir = t.TempDir(), ""
		}
		l := openLog(t, o)
		var committed atomic.Uint64 // index below which nothing is replaced
		var wg sync.WaitGroup
		check := func(f Frame) {
			want := entries(f.Index, 1, f.Term, len(f.Data))[0].Data
			if !bytes.Equal(f.Data, want) {
				t.Errorf("entry %d of term %d holds something else", f.Index, f.Term)
			}
		}
		// Readers wait for the appender now and then, or they would keep it off
		// the processors.
		var ticks [3]chan struct{}
		for reader := range ticks {
			ticks[reader] = make(chan struct{}, 4)
			wg.Add(1)
			go func() {
				defer wg.Done()
				rng := rand.New(rand.NewSource(int64(reader)))
				s := l.Scan(0)
				s.uncached = reader == 1
				seen := uint64(0)
				for range ticks[reader] {
					safe := committed.Load()
					for seen < safe {
						f, err := s.Next()
						if err != nil || f.Index != seen+1 {
							t.Errorf("scan at entry %d of %d: entry %d, %v", seen+1, safe, f.Index, err)
							return
						}
						check(f)
						seen++
					}
					if safe < 2 {
						continue
					}
					lo := 1 + uint64(rng.Int63n(int64(safe-1)))
					ents, err := l.Entries(lo, min(lo+20, safe), 10000)
					if err != nil || len(ents) == 0 || ents[0].GetIndex() != lo {
						t.Errorf("entries from %d: %v", lo, err)
						return
					}
					pos, err := l.PositionOf(lo)
					if err != nil {
						t.Errorf("position of %d: %v", lo, err)
						return
					}
					f, err := l.FrameContaining(pos + 1)
					if err != nil || f.Index != lo {
						t.Errorf("frame of %d: %v", lo, err)
						return
					}
					check(f)
					if _, err := l.Term(lo); err != nil {
						t.Errorf("term of %d: %v", lo, err)
						return
					}
					// At the end anything may go away, but nothing wrong comes.
					if last, _ := l.LastIndex(); last > 0 {
						_, err := l.Term(last)
						if err != nil && !errors.Is(err, raft.ErrUnavailable) {
							t.Errorf("term of the last: %v", err)
						}
						if f, err := l.PrevFrame(l.End()); err == nil {
							check(f)
						} else if err != io.EOF && !errors.Is(err, ErrOutOfRange) && !errors.Is(err, ErrNotAFrame) {
							t.Errorf("last frame: %v", err)
						}
					}
					l.Segments()
				}
			}()
		}
		rng := rand.New(rand.NewSource(9))
		last, term := uint64(0), uint64(1)
		rounds := 800
		for range rounds {
			first := last + 1
			if rng.Intn(20) == 0 && last > committed.Load() {
				first = committed.Load() + 1 + uint64(rng.Int63n(int64(last-committed.Load())))
				term++
			}
			n := 1 + rng.Intn(10)
			if err := l.Append(entries(first, n, term, rng.Intn(600))); err != nil {
				t.Error(err)
				break
			}
			last = first + uint64(n) - 1
			if last > committed.Load()+30 {
				committed.Store(last - 15)
			}
			for _, tick := range ticks {
				select {
				case tick <- struct{}{}:
				default:
				}
			}
		}
		for _, tick := range ticks {
			close(tick)
		}
		wg.Wait()
		must(t, l.Close())
	}
}
