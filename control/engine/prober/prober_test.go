package prober

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

// fakeNode is a node that acknowledges, refuses, or holds writes.
type fakeNode struct {
	name string
	mu   sync.Mutex
	mode string // "primary", "replica", "paused", "unknown"
	have map[int64]int
	held int           // writes that wait for another mode
	wake chan struct{} // closed and replaced when the mode changes
}

func newFake(name, mode string) *fakeNode {
	return &fakeNode{name: name, mode: mode, have: map[int64]int{}, wake: make(chan struct{})}
}

func (f *fakeNode) set(mode string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mode = mode
	close(f.wake)
	f.wake = make(chan struct{})
}

func (f *fakeNode) Address() string { return f.name }

func (f *fakeNode) Write(ctx context.Context, seq int64) error {
	for {
		f.mu.Lock()
		mode, wake := f.mode, f.wake
		if mode == "primary" {
			f.have[seq]++
			f.mu.Unlock()
			return nil
		}
		f.mu.Unlock()
		switch mode {
		case "replica":
			return errors.New("READONLY")
		case "unknown":
			return ErrUnknown
		}
		f.wait(+1)
		select {
		case <-wake:
			f.wait(-1)
		case <-ctx.Done():
			f.wait(-1)
			return ctx.Err()
		}
	}
}

func (f *fakeNode) wait(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held += n
}

func (f *fakeNode) holds() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.held > 0
}

func (f *fakeNode) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.have)
}

func poll(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline, tick := time.Now().Add(time.Minute), time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain: " + what)
		}
		<-tick.C
	}
}

func start(t *testing.T, nodes ...Target) (w *Writer, stop func() error) {
	t.Helper()
	w = New(nodes, time.Millisecond)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, nil) }()
	return w, func() error { cancel(); return <-done }
}

func TestWriterLeavesAPausedPrimaryForTheNewOneAndMeasuresTheGap(t *testing.T) {
	a, b := newFake("a", "primary"), newFake("b", "replica")
	w, stop := start(t, a, b)
	poll(t, "first writes", func() bool { return w.Acked() > 5 })
	a.set("paused")
	poll(t, "a write waits", a.holds)
	paused := time.Now()
	n := w.Acked()
	poll(t, "the pause holds for a while", func() bool { return time.Since(paused) > 30*time.Millisecond })
	if w.Acked() > n+1 {
		t.Error("writes were acknowledged while nobody took any")
	}
	b.set("primary") // a stays paused: the outstanding write must not hold up the writer
	poll(t, "writes at the new primary", func() bool { return w.Acked() > n+5 })
	a.set("replica")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	r := w.Report()
	if r.LongestGap < 30*time.Millisecond || r.LongestWait < 25*time.Millisecond {
		t.Errorf("gap %s, wait %s, want at least the pause", r.LongestGap, r.LongestWait)
	}
	if w.Preferred() != 1 || int64(a.count()+b.count()) < r.Acked {
		t.Errorf("preferred %d; %d acknowledged, %d + %d stored", w.Preferred(), r.Acked, a.count(), b.count())
	}
}

func TestEveryAcknowledgedNumberIsStoredSomewhereAndNoneIsSkipped(t *testing.T) {
	a, b := newFake("a", "primary"), newFake("b", "replica")
	w, stop := start(t, a, b)
	for i := range 20 {
		at := w.Acked()
		poll(t, "writes go on", func() bool { return w.Acked() > at+3 })
		from, to := a, b
		if i%2 == 1 {
			from, to = b, a
		}
		from.set([]string{"replica", "unknown"}[i/2%2])
		to.set("primary")
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	r := w.Report()
	for seq := int64(1); seq <= r.Acked; seq++ {
		if a.have[seq]+b.have[seq] == 0 {
			t.Fatalf("number %d was acknowledged and is nowhere", seq)
		}
	}
	if r.Errors == 0 || r.Unknown == 0 || r.Unknown > r.Errors {
		t.Errorf("errors %d, unknown %d", r.Errors, r.Unknown)
	}
}

func TestWriterThatNeverWroteReportsTheLastRefusal(t *testing.T) {
	a, b := newFake("a", "replica"), newFake("b", "replica")
	w := New([]Target{a, b}, time.Millisecond)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := w.Run(ctx, func() { t.Error("started") }); err == nil || err.Error() != "READONLY" {
		t.Errorf("got %v", err)
	}
	if r := w.Report(); r.Acked != 0 || r.Errors == 0 {
		t.Errorf("report %+v", r)
	}
}
