package auth

import (
	"sync"
	"time"
)

// Limits on guessing. After some free wrong tries each further one must wait,
// twice as long each time, at most maxDelay: long enough to make guessing
// hopeless, short enough that nobody is locked out for good by somebody else.
const (
	firstDelay  = time.Second
	maxDelay    = time.Minute
	forgetAfter = 15 * time.Minute
	maxKeys     = 20_000
)

// Limiter counts failures per key: an account or an address. Safe for many
// goroutines.
type Limiter struct {
	now  func() time.Time
	free int
	mu   sync.Mutex
	all  map[string]*failures
}

type failures struct {
	n    int
	last time.Time
}

// NewLimiter returns a limiter that lets so many wrong tries of a key go free.
func NewLimiter(now func() time.Time, free int) *Limiter {
	return &Limiter{now: now, free: free, all: map[string]*failures{}}
}

// Wait is how long the key must still wait before it may try; 0: now.
func (l *Limiter) Wait(key string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.all[key]
	if f == nil || f.n < l.free {
		return 0
	}
	d := maxDelay
	if shift := f.n - l.free; shift < 6 {
		d = min(firstDelay<<shift, maxDelay)
	}
	return max(0, f.last.Add(d).Sub(l.now()))
}

// Fail counts a wrong try.
func (l *Limiter) Fail(key string) {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.all) >= maxKeys {
		for k, f := range l.all {
			if now.Sub(f.last) > forgetAfter {
				delete(l.all, k)
			}
		}
		if len(l.all) >= maxKeys { // a flood: begin anew rather than grow
			clear(l.all)
		}
	}
	f := l.all[key]
	if f == nil || now.Sub(f.last) > forgetAfter {
		f = &failures{}
		l.all[key] = f
	}
	f.n++
	f.last = now
}

// Forget clears a key after a right try.
func (l *Limiter) Forget(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.all, key)
}
