package log

import (
	"errors"
	"math/rand"
	"syscall"
	"testing"

	"baton/platform/vfs"
)

func wantState(t *testing.T, s *State, term, vote, hint uint64) {
	t.Helper()
	gotTerm, gotVote, gotHint, err := s.Load()
	must(t, err)
	if gotTerm != term || gotVote != vote || gotHint != hint {
		t.Fatalf("term %d, vote %d, hint %d; want %d, %d, %d", gotTerm, gotVote, gotHint, term, vote, hint)
	}
}

func TestStateIsKept(t *testing.T) {
	fsys := vfs.NewMem()
	s, err := OpenState(fsys, "/node/log")
	must(t, err)
	wantState(t, s, 0, 0, 0)
	for term := range uint64(10) {
		s.SetCommitHint(term * 100)
		must(t, s.Save(term+1, 0))
		must(t, s.Save(term+1, 7))
		fsys = fsys.PowerCut()
		s, err = OpenState(fsys, "/node/log")
		must(t, err)
		wantState(t, s, term+1, 7, term*100)
	}
	before := fsys.Ops()
	must(t, s.Save(10, 7))
	if fsys.Ops() != before {
		t.Fatal("an unchanged state was written")
	}
	for _, bad := range [][2]uint64{{9, 7}, {10, 8}, {10, 0}} {
		if err := s.Save(bad[0], bad[1]); err == nil {
			t.Fatalf("term %d, vote %d replaced term 10, vote 7", bad[0], bad[1])
		}
	}
	must(t, s.Close())
}

// Goal: P3. A vote for which Save returned is never forgotten.
func TestStatePowerCuts(t *testing.T) {
	torn := 0
	for seed := range int64(300) {
		rng := rand.New(rand.NewSource(seed))
		fsys := vfs.NewMem()
		term, vote := uint64(0), uint64(0)
		var next [2]uint64
		for range 10 {
			fsys.CutPowerAt(1 + rng.Intn(12))
			s, err := OpenState(fsys, "/node/log")
			for err == nil {
				gotTerm, gotVote, _, lerr := s.Load()
				must(t, lerr)
				if (gotTerm != term || gotVote != vote) && (gotTerm != next[0] || gotVote != next[1]) {
					t.Fatalf("seed %d: term %d vote %d; want %d, %d or %v", seed, gotTerm, gotVote, term, vote, next)
				}
				if gotTerm != term {
					torn++
				}
				term, vote = gotTerm, gotVote
				next = [2]uint64{term + uint64(1+rng.Intn(3)), uint64(rng.Intn(4))}
				if err = s.Save(next[0], next[1]); err == nil {
					term, vote = next[0], next[1]
				}
			}
			if !errors.Is(err, vfs.ErrPowerCut) {
				t.Fatalf("seed %d: %v", seed, err)
			}
			fsys = fsys.Crash(rng)
		}
	}
	if torn == 0 {
		t.Fatal("no unfinished save was ever found done")
	}
}

// One damaged bit anywhere loses nothing; damage to all copies, or a missing
// file beside a log with entries, is an error and never "term 0".
func TestStateDamage(t *testing.T) {
	for bit := int64(0); bit < 2*stateSlotBytes*8; bit += 13 {
		fsys := vfs.NewMem()
		s, err := OpenState(fsys, "/node/log")
		must(t, err)
		must(t, s.Save(3, 0))
		must(t, s.Save(4, 9))
		must(t, fsys.FlipBit("/node/log/state", bit))
		s, err = OpenState(fsys, "/node/log")
		must(t, err)
		wantState(t, s, 4, 9, 0)
	}
	fsys := vfs.NewMem()
	s, err := OpenState(fsys, "/node/log")
	must(t, err)
	must(t, s.Save(3, 0))
	for at := int64(0); at < 2*stateSlotBytes; at += stateCopyAt {
		must(t, fsys.FlipBit("/node/log/state", (at+20)*8))
	}
	var damage *CorruptionError
	if _, err := OpenState(fsys, "/node/log"); !errors.As(err, &damage) {
		t.Fatalf("all copies damaged: %v", err)
	}
	must(t, fsys.Remove("/node/log/state"))
	l := openLog(t, testOptions(fsys, 4096)) // without entries: a first start
	must(t, l.Close())
	s, err = OpenState(fsys, "/node/log")
	must(t, err)
	must(t, s.Close())
	must(t, fsys.Remove("/node/log/state"))
	l = openLog(t, testOptions(fsys, 4096))
	must(t, l.Append(entries(1, 1, 1, 10)))
	must(t, l.Close())
	if _, err := OpenState(fsys, "/node/log"); !errors.As(err, &damage) {
		t.Fatalf("missing beside entries: %v", err)
	}
}

func TestStateFailsForGood(t *testing.T) {
	broken := false
	fsys := vfs.NewFault(vfs.NewMem(), func(op vfs.Op) error {
		if broken && op.Kind == vfs.OpWrite {
			return syscall.EIO
		}
		return nil
	})
	s, err := OpenState(fsys, "/node/log")
	must(t, err)
	broken = true
	if err := s.Save(1, 1); !errors.Is(err, ErrFailed) || !errors.Is(err, syscall.EIO) {
		t.Fatalf("save: %v", err)
	}
	broken = false
	if err := s.Save(1, 1); !errors.Is(err, ErrFailed) {
		t.Fatalf("save after a failed one: %v", err)
	}
}
