package scrub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"baton/eventstore/log"
	"baton/platform/clock"
	"baton/platform/vfs"
)

const segmentBytes = 8 << 10

// filled is a log of several segments.
func filled(t *testing.T, suspect func(*log.CorruptionError)) (*log.Log, *vfs.Mem) {
	t.Helper()
	fsys := vfs.NewMem()
	l, err := log.Open(log.Options{FS: fsys, Dir: "/log", SegmentBytes: segmentBytes, CacheBytes: 1, Suspect: suspect})
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(60) {
		index, term := i+1, uint64(1)
		e := &raftpb.Entry{Index: &index, Term: &term, Type: raftpb.EntryNormal.Enum(), Data: bytes.Repeat([]byte{byte(i) | 1}, 700)}
		if err := l.Append([]*raftpb.Entry{e}); err != nil {
			t.Fatal(err)
		}
	}
	return l, fsys
}

func flip(t *testing.T, fsys *vfs.Mem, s log.SegmentInfo) {
	t.Helper()
	if err := fsys.FlipBit(s.Path, 8*s.FileBytes/2); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, s *Scrubber) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(30 * time.Second); !holds(); <-poll.C {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// Goal: damage is kept in the status with the reason why it is not mended, is tried
// again sooner at first, and is gone when another node gives the frames.
func TestDamageStaysUntilItIsMended(t *testing.T) {
	l, fsys := filled(t, nil)
	twin, _ := filled(t, nil)
	var down atomic.Bool
	var asked, changed atomic.Int32
	down.Store(true)
	manual := clock.NewManual()
	s := New(Config{
		Log: l, Committed: l.End, BytesPerSecond: 1 << 40, Clock: manual, Changed: func() { changed.Add(1) },
		Fetch: func(_ context.Context, pos uint64) ([]byte, string, error) {
			asked.Add(1)
			if down.Load() {
				return nil, "", errors.New("n2 is away")
			}
			frames, err := twin.Frames(pos, twin.End(), 1<<20)
			return frames, "n2", err
		},
	})
	segments := l.Segments()
	flip(t, fsys, segments[1])
	flip(t, fsys, segments[len(segments)-1])
	run(t, s)
	if s.Damaged() != "" {
		t.Fatalf("damage is known before anybody looked: %s", s.Damaged())
	}
	if !s.Start() {
		t.Fatal("a round was running")
	}
	eventually(t, "both are found", func() bool {
		manual.Advance(time.Millisecond)
		status := s.Status()
		return len(status.Damaged) == 2 && status.Damaged[0].Tries > 0 && status.Damaged[1].Tries > 0 && !status.Running
	})
	status := s.Status()
	if d := status.Damaged[0]; d.Base != segments[1].Base || d.File == "" || d.Reason == "" || d.Trouble == "" || status.Rounds != 1 || status.Segments != len(segments) {
		t.Errorf("status %+v", status)
	}
	if got := s.Damaged(); got == "" || changed.Load() != 2 {
		t.Errorf("%q, told %d times", got, changed.Load())
	}
	before := asked.Load()
	for range 60 {
		manual.Advance(time.Second)
		eventually(t, "it waits again", func() bool { return manual.Waiters() > 0 })
	}
	if tries := asked.Load() - before; tries < 4 || tries > 30 {
		t.Errorf("%d tries in a minute: sooner at first and more seldom then is due", tries)
	}
	down.Store(false)
	s.Retry()
	eventually(t, "both are whole", func() bool { return s.Damaged() == "" })
	status = s.Status()
	if len(status.Mended) != 2 || status.Mended[0].From[0] != "n2" || status.Frames < 2 || status.Found != 2 || changed.Load() != 4 {
		t.Errorf("status %+v, told %d times", status, changed.Load())
	}
	for _, info := range segments {
		if err := l.Verify(info.Base, l.End(), nil); err != nil {
			t.Error(err)
		}
	}
}

// Goal: damage that a reader meets is mended without a round; a reader's mistake
// costs one reading a minute at most.
func TestReadersTellOfDamage(t *testing.T) {
	var s atomic.Pointer[Scrubber]
	var told atomic.Int32
	l, fsys := filled(t, func(e *log.CorruptionError) {
		told.Add(1)
		s.Load().Suspect(e)
	})
	twin, _ := filled(t, nil)
	s.Store(New(Config{Log: l, Committed: l.End, Fetch: func(_ context.Context, pos uint64) ([]byte, string, error) {
		frames, err := twin.Frames(pos, twin.End(), 1<<20)
		return frames, "n2", err
	}}))
	run(t, s.Load())
	info := l.Segments()[2]
	flip(t, fsys, info)
	scan := l.Scan(info.Base)
	for {
		if _, err := scan.Next(); err != nil {
			break
		}
	}
	eventually(t, "the reader's segment is whole", func() bool { return len(s.Load().Status().Mended) == 1 })
	if err := l.Verify(info.Base, l.End(), nil); err != nil || told.Load() == 0 {
		t.Errorf("%v, told %d times", err, told.Load())
	}
	if status := s.Load().Status(); status.Rounds != 0 {
		t.Errorf("status %+v", status)
	}

	sound := l.Segments()[0]
	mistake := &log.CorruptionError{File: sound.Path, Pos: sound.Base}
	s.Load().Suspect(mistake)
	eventually(t, "the sound segment was read", func() bool {
		s.Load().mu.Lock()
		defer s.Load().mu.Unlock()
		return !s.Load().sound[sound.Base].IsZero()
	})
	s.Load().Suspect(mistake)
	s.Load().mu.Lock()
	defer s.Load().mu.Unlock()
	if len(s.Load().suspects) != 0 {
		t.Error("a sound segment is to be read again at once")
	}
}

// Goal: rounds begin by themselves, and read no faster than they may.
func TestRoundsKeepTheirTimeAndPace(t *testing.T) {
	l, _ := filled(t, nil)
	manual := clock.NewManual()
	s := New(Config{Log: l, Committed: l.End, Every: time.Hour, BytesPerSecond: 1 << 10, Clock: manual,
		Fetch: func(context.Context, uint64) ([]byte, string, error) { return nil, "", errors.New("nobody is asked") }})
	run(t, s)
	began := manual.Now()
	eventually(t, "the first round begins", func() bool {
		manual.Advance(time.Second)
		return !s.Status().Began.IsZero()
	})
	eventually(t, "the first round ends", func() bool {
		manual.Advance(100 * time.Millisecond)
		return s.Status().Rounds == 1
	})
	status := s.Status()
	if wait := status.Began.Sub(began); wait < firstRound || wait > firstRound+5*time.Second {
		t.Errorf("the first round began after %v", wait)
	}
	if took := status.Ended.Sub(status.Began); took < time.Duration(status.Bytes)*time.Second/(1<<10) || status.Bytes != int64(l.End()) {
		t.Errorf("%d bytes of %d took %v", status.Bytes, l.End(), took)
	}
	if next := status.Next.Sub(status.Began); next < time.Hour-time.Second || next > time.Hour+time.Second {
		t.Errorf("the next begins %v after this one", next)
	}
	if fmt.Sprint(status.Damaged) != "[]" {
		t.Errorf("damaged %v", status.Damaged)
	}
}

// Goal: P10. A write to the segment being written that fails while it is mended is
// told at once, for the process to exit; damage of a closed segment is tried again.
func TestAFailedWriteWhileMendingEndsTheProcess(t *testing.T) {
	_, fsys := filled(t, nil)
	fsys = fsys.Clone()
	var broken atomic.Bool
	l, err := log.Open(log.Options{Dir: "/log", SegmentBytes: segmentBytes, CacheBytes: 1, FS: vfs.NewFault(fsys, func(op vfs.Op) error {
		if broken.Load() && op.Kind == vfs.OpWrite {
			return syscall.EIO
		}
		return nil
	})})
	if err != nil {
		t.Fatal(err)
	}
	twin, _ := filled(t, nil)
	failed := make(chan error, 100)
	s := New(Config{Log: l, Committed: l.End, Failed: func(err error) { failed <- err }, Fetch: func(_ context.Context, pos uint64) ([]byte, string, error) {
		frames, err := twin.Frames(pos, twin.End(), 1<<20)
		return frames, "n2", err
	}})
	run(t, s)
	broken.Store(true)
	segments := l.Segments()
	flip(t, fsys, segments[0])
	s.Start()
	eventually(t, "a closed segment was tried twice", func() bool {
		status := s.Status()
		return len(status.Damaged) == 1 && status.Damaged[0].Tries > 1
	})
	if len(failed) > 0 {
		t.Fatalf("for a closed segment: %v", <-failed)
	}
	eventually(t, "the round ended", func() bool { return !s.Status().Running })
	flip(t, fsys, segments[len(segments)-1])
	s.Start()
	select {
	case err := <-failed:
		if !errors.Is(err, log.ErrFailed) || !errors.Is(err, syscall.EIO) {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Error("nobody was told")
	}
}
