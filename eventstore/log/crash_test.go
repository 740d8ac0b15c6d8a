package log

import (
	"errors"
	"flag"
	"fmt"
	"math/rand"
	"strings"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"baton/eventstore/stream"
	"baton/platform/vfs"
)

var (
	crashSeeds = flag.Int64("crash.seeds", 300, "number of seeds for the power-cut tests")
	crashSeed  = flag.Int64("crash.seed", -1, "the one seed to run")
)

// crasher drives a log through appends, conflicts, restarts and power cuts at
// every kind of step, and knows what must be there afterwards.
type crasher struct {
	t    *testing.T
	rng  *rand.Rand
	fsys *vfs.Mem
	opts Options
	l    *Log
	// acked is what Append returned for; trying is the batch of an Append that
	// did not return, nil if there is none.
	acked  []*raftpb.Entry
	trying []*raftpb.Entry
	term   uint64
	did    map[string]int
	trace  []string
}

func (c *crasher) note(format string, args ...any) {
	c.trace = append(c.trace, fmt.Sprintf(format, args...))
}

func (c *crasher) fatal(format string, args ...any) {
	c.t.Helper()
	c.t.Fatalf("%s\nhistory:\n  %s", fmt.Sprintf(format, args...), strings.Join(c.trace[max(0, len(c.trace)-40):], "\n  "))
}

// open opens the log, through further power cuts, and checks what it holds.
func (c *crasher) open() {
	for {
		if c.rng.Intn(4) == 0 {
			c.fsys.CutPowerAt(1 + c.rng.Intn(12))
		}
		c.opts.FS = c.fsys
		l, err := Open(c.opts)
		if errors.Is(err, vfs.ErrPowerCut) {
			c.note("power cut during recovery")
			c.did["cut during recovery"]++
			c.fsys = c.fsys.Crash(c.rng)
			continue
		}
		if err != nil {
			c.fatal("recovery refused after a crash: %v", err)
		}
		c.fsys.CutPowerAt(0)
		c.l = l
		break
	}
	got, err := content(c.l)
	if err != nil {
		c.fatal("read after recovery: %v", err)
	}
	if err := c.judge(got); err != nil {
		c.fatal("after recovery: %v", err)
	}
	if err := c.zerosAfterEnd(); err != nil {
		c.fatal("after recovery: %v", err)
	}
	c.note("open: %d entries, end %d", len(got), c.l.End())
	c.acked, c.trying = got, nil
}

// zerosAfterEnd checks the first invariant: behind the end and its trailer there
// is nothing that could come back, in the full length of a segment.
func (c *crasher) zerosAfterEnd() error {
	segs := c.l.Segments()
	s := segs[len(segs)-1]
	b, err := vfs.ReadFile(c.fsys, s.Path)
	if err != nil {
		return err
	}
	if want := filledBytes(c.opts.SegmentBytes); int64(len(b)) < want {
		return fmt.Errorf("%s has %d bytes, want at least %d", s.Path, len(b), want)
	}
	end := segmentHeaderBytes + s.End - s.Base
	if s.End == s.Base {
		end = 0
	} else if start, ok := parseTrailer(b[end:], s.End); !ok || start != s.End {
		return fmt.Errorf("no trailer after recovery at %d: %d, %v", s.End, start, ok)
	} else {
		end += trailerBytes
	}
	if !allZero(b[end:]) {
		return fmt.Errorf("%s is not zeros from byte %d on", s.Path, end)
	}
	return nil
}

// judge compares what was recovered with what must and what may be there.
func (c *crasher) judge(got []*raftpb.Entry) error {
	intact := sameEntries(got, c.acked)
	if intact == nil {
		return nil
	}
	if c.trying == nil {
		return fmt.Errorf("nothing was under way: %w", intact)
	}
	// Entries that stay, then as many of the new ones as there are.
	stay := int(c.trying[0].GetIndex() - 1)
	if len(got) < stay {
		return fmt.Errorf("%d entries, %d were acknowledged and not to be replaced", len(got), stay)
	}
	if err := sameEntries(got[:stay], c.acked[:stay]); err != nil {
		return err
	}
	rest := got[stay:]
	if len(rest) > len(c.trying) {
		return fmt.Errorf("%d entries after %d, neither the old %d nor of the new %d (%w)",
			len(rest), stay, len(c.acked)-stay, len(c.trying), intact)
	}
	if err := sameEntries(rest, c.trying[:len(rest)]); err != nil {
		return err
	}
	if stay < len(c.acked) {
		c.did["conflict found done after a crash"]++
		return c.checkLost(c.acked[stay:])
	} else if len(rest) > 0 && len(rest) < len(c.trying) {
		c.did["batch found in part"]++
	}
	return nil
}

// checkLost checks that entries which were removed stand in a lost-writes file.
func (c *crasher) checkLost(removed []*raftpb.Entry) error {
	hasData := false
	for _, e := range removed {
		hasData = hasData || len(e.Data) > 0
	}
	if !hasData {
		return nil
	}
	names, err := c.fsys.ReadDir("/node/log/lost-writes")
	if err != nil {
		return err
	}
	tried := 0
	for _, name := range names {
		if !strings.HasSuffix(name, lostSuffix) || !strings.Contains(name, fmt.Sprintf("-entries-%d-%d", removed[0].GetIndex(), removed[len(removed)-1].GetIndex())) {
			continue
		}
		data, err := vfs.ReadFile(c.fsys, "/node/log/lost-writes/"+name)
		if err != nil {
			return err
		}
		lost, err := DecodeLostWrites(data)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		var got []*raftpb.Entry
		for _, f := range lost.Frames {
			got = append(got, newEntry(f))
		}
		if sameEntries(got, removed) == nil {
			c.did["removed entries found saved"]++
			return nil
		}
		tried++
	}
	return fmt.Errorf("entries %d..%d were removed and are in no lost-writes file (%d of that range)",
		removed[0].GetIndex(), removed[len(removed)-1].GetIndex(), tried)
}

// batch draws entries: mostly new ones, sometimes from a leader that knows
// otherwise.
func (c *crasher) batch() []*raftpb.Entry {
	first := uint64(len(c.acked)) + 1
	if len(c.acked) > 0 && c.rng.Intn(5) == 0 {
		first -= uint64(c.rng.Intn(min(len(c.acked), 30)) + 1)
		c.term++
		c.did["conflict"]++
	}
	if c.rng.Intn(6) == 0 {
		c.term++
	}
	n := 1 + c.rng.Intn(3)
	if c.rng.Intn(3) == 0 {
		n = 1 + c.rng.Intn(25)
	}
	var out []*raftpb.Entry
	for i := range uint64(n) {
		data := randomData(c.rng, 1500)
		if c.rng.Intn(12) == 0 {
			data = stream.NewSegmentMark().Bytes()
		}
		out = append(out, entry(first+i, c.term, data))
	}
	return out
}

// marks checks that each entry that begins a segment does.
func (c *crasher) marks() {
	begins := map[uint64]bool{}
	for _, s := range c.l.Segments() {
		begins[s.FirstIndex] = true
	}
	for _, e := range c.acked {
		if stream.BeginsSegment(e.Data) {
			c.did["segment begun by a mark"]++
			if !begins[e.GetIndex()] {
				c.fatal("entry %d begins no segment", e.GetIndex())
			}
		}
	}
}

// step appends a batch and reports whether power failed.
func (c *crasher) step() (failed bool) {
	b := c.batch()
	c.note("append %d..%d of term %d to %d", b[0].GetIndex(), b[len(b)-1].GetIndex(), b[0].GetTerm(), len(c.acked))
	err := c.l.Append(b)
	if err == nil {
		if err := c.checkLost(c.acked[b[0].GetIndex()-1:]); err != nil {
			c.fatal("after a conflict: %v", err)
		}
		c.acked = append(c.acked[:b[0].GetIndex()-1:b[0].GetIndex()-1], b...)
		return false
	}
	if !errors.Is(err, vfs.ErrPowerCut) || !errors.Is(err, ErrFailed) {
		c.fatal("append: %v", err)
	}
	if err := c.l.Append(b); !errors.Is(err, ErrFailed) {
		c.fatal("append after a failed one: %v", err)
	}
	c.trying = b
	return true
}

func (c *crasher) run(crashes int) {
	c.open()
	for range crashes {
		c.fsys.CutPowerAt(1 + c.rng.Intn(40))
		for !c.step() {
			switch c.rng.Intn(30) {
			case 0: // stop and start
				err := c.l.Close()
				c.note("close: %v", err)
				if err != nil {
					c.crash()
				}
				c.open()
				c.fsys.CutPowerAt(1 + c.rng.Intn(40))
			case 1: // the process is killed, the machine stays up
				c.note("kill")
				c.did["kill"]++
				c.fsys = c.fsys.Clone()
				c.open()
				c.fsys.CutPowerAt(1 + c.rng.Intn(40))
			}
		}
		c.crash()
		c.open()
	}
	checkReads(c.t, c.l, c.rng, c.acked)
	c.marks()
	must(c.t, c.l.Close())
}

func (c *crasher) crash() {
	if c.rng.Intn(4) == 0 {
		// Killed in the middle of a write: readers see all of it, the disk not.
		killed := c.fsys.Clone()
		if c.rng.Intn(2) == 0 {
			c.note("killed during a write")
			c.did["killed during a write"]++
			c.fsys = killed
			return
		}
		c.fsys = killed
	}
	if c.rng.Intn(4) == 0 {
		c.note("power cut, everything un-synced lost")
		c.fsys = c.fsys.PowerCut()
	} else {
		c.note("power cut")
		c.fsys = c.fsys.Crash(c.rng)
	}
	c.did["crash"]++
}

// Goal: P1 and P2 on one node. After every crash everything acknowledged is
// there, recovery never refuses, and what it finds of an unfinished Append is a
// part of it from its beginning. Method: seeded histories with power cuts at
// every kind of step, also during recovery, with sectors lost at random.
func TestPowerCuts(t *testing.T) {
	did := map[string]int{}
	for seed := range *crashSeeds {
		if *crashSeed >= 0 {
			seed = *crashSeed
		}
		rng := rand.New(rand.NewSource(seed))
		c := &crasher{t: t, rng: rng, fsys: vfs.NewMem(), term: 1, did: did}
		c.note("seed %d: go test ./eventstore/log -run TestPowerCuts -crash.seed=%d", seed, seed)
		segmentBytes := []int64{700, 3000, 20000}[rng.Intn(3)]
		c.opts = testOptions(nil, segmentBytes)
		c.run(10)
		if *crashSeed >= 0 {
			break
		}
	}
	if *crashSeed >= 0 || *crashSeeds < 100 {
		return
	}
	for _, want := range []string{
		"crash", "kill", "killed during a write", "conflict", "cut during recovery",
		"conflict found done after a crash", "batch found in part", "removed entries found saved", "segment begun by a mark",
	} {
		if did[want] == 0 {
			t.Errorf("in all seeds it never happened: %s", want)
		}
	}
	t.Log(did)
}

// Goal: a conflict that spans segments is interrupted at every single write
// step, with many outcomes each, and neither resurrects nor refuses.
func TestConflictCrashedAtEveryStep(t *testing.T) {
	prepare := func() (*crasher, []*raftpb.Entry) {
		c := &crasher{t: t, rng: rand.New(rand.NewSource(1)), fsys: vfs.NewMem(), term: 2, did: map[string]int{}}
		c.opts = testOptions(nil, 2000)
		c.open0()
		for i := range uint64(30) {
			c.acked = append(c.acked, entries(i+1, 1, 1, 400)...)
		}
		must(t, c.l.Append(c.acked))
		c.fsys.CutPowerAt(0)
		return c, append(entries(12, 2, 2, 700), entries(14, 1, 2, 3000)...)
	}
	c, b := prepare()
	before := c.fsys.Ops()
	must(t, c.l.Append(b))
	steps := c.fsys.Ops() - before
	if steps < 15 {
		t.Fatalf("only %d steps", steps)
	}
	for step := 1; step <= steps; step++ {
		for seed := range int64(25) {
			c, b := prepare()
			c.note("step %d of %d, seed %d", step, steps, seed)
			c.rng = rand.New(rand.NewSource(seed))
			c.fsys.CutPowerAt(step)
			if err := c.l.Append(b); !errors.Is(err, vfs.ErrPowerCut) {
				c.fatal("append: %v", err)
			}
			c.trying = b
			c.crash()
			c.open()
			// Going on must be possible, and nothing old may come back later.
			next := entries(uint64(len(c.acked))+1, 3, 3, 100)
			must(t, c.l.Append(next))
			c.acked = append(c.acked, next...)
			c.fsys = c.fsys.Crash(c.rng)
			c.open()
			must(t, c.l.Close())
		}
	}
}

// open0 opens without cutting power.
func (c *crasher) open0() {
	c.opts.FS = c.fsys
	c.l = openLog(c.t, c.opts)
}
