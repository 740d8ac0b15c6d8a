package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// gapWriters write all the time and remember the longest pause between two acknowledgements of any of them.
type gapWriters struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	last    time.Time     // of the newest acknowledgement
	longest time.Duration // since reset
	acks    int           // since reset
	lastErr error
}

// attempt bounds one append of a gap writer: longer than any healthy append, short against the gaps measured.
const attempt = 500 * time.Millisecond

func startGapWriters(tg target, clients int, s settings) *gapWriters {
	ctx, cancel := context.WithCancel(context.Background())
	g := &gapWriters{cancel: cancel, last: time.Now()}
	for i := range clients {
		g.wg.Go(func() {
			var a appender
			for ctx.Err() == nil {
				c, done := context.WithTimeout(ctx, attempt)
				var err error
				if a == nil {
					a, err = tg.appender(ctx, i%8, fmt.Sprintf("gap-%d", i))
				}
				if err == nil {
					err = a.append(c, s.payload)
				}
				done()
				g.note(err)
				if err != nil { // do not spin on a refused connection
					select {
					case <-ctx.Done():
					case <-time.After(5 * time.Millisecond):
					}
				}
			}
		})
	}
	return g
}

func (g *gapWriters) note(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil {
		g.lastErr = err
		return
	}
	now := time.Now()
	g.longest = max(g.longest, now.Sub(g.last))
	g.last = now
	g.acks++
}

// around runs act while writes flow, waits until they flow again, and returns the longest pause meanwhile.
func (g *gapWriters) around(settle time.Duration, act func() error) (time.Duration, error) {
	if err := g.flow(settle, 200); err != nil {
		return 0, fmt.Errorf("before: %w", err)
	}
	g.mu.Lock()
	g.longest = 0
	g.mu.Unlock()
	if err := act(); err != nil {
		return 0, err
	}
	if err := g.flow(settle, 200); err != nil {
		return 0, fmt.Errorf("after: %w", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.longest, nil
}

// flow waits until n more writes were acknowledged.
func (g *gapWriters) flow(settle time.Duration, n int) error {
	g.mu.Lock()
	g.acks = 0
	g.mu.Unlock()
	deadline := time.Now().Add(settle)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		g.mu.Lock()
		acks, lastErr := g.acks, g.lastErr
		g.mu.Unlock()
		if acks >= n {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("only %d acknowledgements in %v; last error: %v", acks, settle, lastErr)
		}
		<-tick.C
	}
}

func (g *gapWriters) stop() {
	g.cancel()
	g.wg.Wait()
}
