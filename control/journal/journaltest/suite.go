// Package journaltest is the suite every journal passes.
package journaltest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"baton/control/journal"
)

func event(kind, data string) journal.Event { return journal.Event{Type: kind, Data: []byte(data)} }

// Run checks the journal that open returns; each case gets streams of its own
// name, so one journal may serve all cases.
func Run(t *testing.T, open func(t *testing.T) journal.Journal) {
	t.Run("appends_read_back_in_order", func(t *testing.T) { readBack(t, open(t)) })
	t.Run("of_two_writers_at_one_revision_one_wins", func(t *testing.T) { oneWins(t, open(t)) })
	t.Run("follow_delivers_past_then_future_once", func(t *testing.T) { follow(t, open(t)) })
}

func readBack(t *testing.T, j journal.Journal) {
	ctx := context.Background()
	if got, err := j.Read(ctx, "readback", 0, 10); err != nil || len(got) != 0 {
		t.Fatalf("a stream that does not exist reads as %v, %v", got, err)
	}
	rev, err := j.Append(ctx, "readback", journal.NoStream, event("a", `{"n":0}`), event("b", `{"n":1}`))
	if err != nil || rev != 1 {
		t.Fatalf("append: revision %d, %v", rev, err)
	}
	if rev, err = j.Append(ctx, "readback", journal.Any, event("c", `{"n":2}`)); err != nil || rev != 2 {
		t.Fatalf("append any: revision %d, %v", rev, err)
	}
	got, err := j.Read(ctx, "readback", 1, 10)
	if err != nil || len(got) != 2 {
		t.Fatalf("read: %v, %v", got, err)
	}
	for i, r := range got {
		if r.Revision != int64(i+1) || r.Stream != "readback" || r.Position == 0 || r.At.IsZero() {
			t.Errorf("event %d: %+v", i, r)
		}
		if want := fmt.Sprintf(`{"n":%d}`, i+1); string(r.Data) != want {
			t.Errorf("data %s, want %s", r.Data, want)
		}
	}
	if got[0].Type != "b" || got[0].Position >= got[1].Position {
		t.Errorf("order: %+v", got)
	}
	if one, _ := j.Read(ctx, "readback", 0, 1); len(one) != 1 || one[0].Revision != 0 {
		t.Errorf("max 1: %+v", one)
	}
}

func oneWins(t *testing.T, j journal.Journal) {
	ctx := context.Background()
	if _, err := j.Append(ctx, "race", journal.NoStream, event("begin", `{}`)); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	won, refused := 0, 0
	for i := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			_, err := j.Append(ctx, "race", 0, event("mine", fmt.Sprintf(`{"writer":%d}`, i)))
			mu.Lock()
			defer mu.Unlock()
			var c *journal.ConflictError
			switch {
			case err == nil:
				won++
			case errors.As(err, &c) && c.Actual == 1:
				refused++
			default:
				t.Errorf("writer %d: %v", i, err)
			}
		}()
	}
	wg.Wait()
	if won != 1 || refused != 7 {
		t.Errorf("%d won, %d refused", won, refused)
	}
	var c *journal.ConflictError
	if _, err := j.Append(ctx, "race", journal.NoStream, event("x", `{}`)); !errors.As(err, &c) {
		t.Errorf("no-stream on an existing stream: %v", err)
	}
}

func follow(t *testing.T, j journal.Journal) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for i := range 3 {
		if _, err := j.Append(ctx, "past", journal.Any, event("p", fmt.Sprintf(`{"n":%d}`, i))); err != nil {
			t.Fatal(err)
		}
	}
	caught := make(chan struct{})
	stop := errors.New("seen enough")
	done := make(chan error, 1)
	var seen []string
	var last, before uint64
	go func() {
		done <- j.Follow(ctx, 0, func(r journal.Recorded) error {
			if r.Position <= last {
				return fmt.Errorf("position %d after %d", r.Position, last)
			}
			before, last = last, r.Position
			if r.Stream == "past" || r.Stream == "future" {
				seen = append(seen, r.Stream+string(r.Data))
			}
			if r.Type == "end" {
				return stop
			}
			return nil
		}, func() { close(caught) })
	}()
	select {
	case <-caught:
	case err := <-done:
		t.Fatalf("follow ended early: %v", err)
	}
	if _, err := j.Append(ctx, "future", journal.Any, event("f", `{"n":3}`), event("end", `{"n":4}`)); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, stop) {
		t.Fatalf("follow: %v", err)
	}
	want := []string{`past{"n":0}`, `past{"n":1}`, `past{"n":2}`, `future{"n":3}`, `future{"n":4}`}
	if fmt.Sprint(seen) != fmt.Sprint(want) {
		t.Errorf("seen %v, want %v", seen, want)
	}
	// After a position only what follows it comes.
	var resumed []string
	err := j.Follow(ctx, before, func(r journal.Recorded) error {
		resumed = append(resumed, string(r.Data))
		return stop
	}, nil)
	if !errors.Is(err, stop) || fmt.Sprint(resumed) != `[{"n":4}]` {
		t.Errorf("resumed %v, %v", resumed, err)
	}
}
