package projection

import (
	"fmt"
	"runtime"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dop251/goja"
)

const (
	// tick is how often a running call is looked at.
	tick = 10 * time.Millisecond
	// mostPerTick is how much of a call's time may pass between two looks. When the process stands still, so does the one who looks: time nobody could
	// have used does not count against the script.
	mostPerTick = 2 * tick
	// restAfter is how many looks in a row find nothing running before the looking ends.
	restAfter = 100
)

// stopped is what a script is interrupted with.
type stopped struct {
	kind   Kind
	reason string
}

// watch looks at the calls of one engine from beside: how long one takes, and by how much the process grows meanwhile. Its goroutine runs while there are
// calls, and ends about a second after the last, or when it is closed.
type watch struct {
	memory int64 // Limits.Memory

	// stop is set while a call is to end. Go code that works for a script polls it.
	stop atomic.Bool

	mu      sync.Mutex
	vm      *goja.Runtime // what runs; nil: nothing
	call    uint64        // counts calls
	limit   time.Duration
	verb    string
	reason  *stopped
	looking bool // the goroutine runs
	closed  bool // it is to end
}

// begin starts the clock of a call.
func (w *watch) begin(vm *goja.Runtime, limit time.Duration, verb string) {
	w.mu.Lock()
	w.vm, w.limit, w.verb, w.reason = vm, limit, verb, nil
	w.call++
	if !w.looking {
		w.looking = true
		go w.look()
	}
	w.mu.Unlock()
}

// end stops it, and says why the call was interrupted if it was.
func (w *watch) end() *stopped {
	w.mu.Lock()
	defer w.mu.Unlock()
	vm, reason := w.vm, w.reason
	w.vm, w.reason = nil, nil
	if reason != nil {
		vm.ClearInterrupt()
		w.stop.Store(false)
	}
	return reason
}

// close ends the goroutine within two looks. Nothing may begin afterwards.
func (w *watch) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
}

func (w *watch) look() {
	t := time.NewTicker(tick)
	defer t.Stop()
	var (
		call  uint64
		used  time.Duration
		heap  = held()
		last  = time.Now()
		quiet int
	)
	for range t.C {
		now := time.Now()
		passed := min(now.Sub(last), mostPerTick)
		last = now

		w.mu.Lock()
		running, same := w.vm != nil, w.call == call
		call = w.call
		if quiet++; running {
			quiet = 0
		}
		if quiet > restAfter || w.closed && !running {
			w.looking = false
			w.mu.Unlock()
			return
		}
		if running && same {
			used += passed
		} else {
			used = 0
		}
		if running && w.reason == nil && used > w.limit {
			w.interrupt(stopped{TooLong, fmt.Sprintf("the script took longer than %v to %s; it was stopped", w.limit, w.verb)})
		}
		w.mu.Unlock()

		if !running || !same {
			heap = held()
			continue
		}
		if grown := held() - heap; grown > w.memory {
			// Most of it may be garbage by now: only what is still held counts.
			runtime.GC()
			if grown = held() - heap; grown > w.memory {
				w.mu.Lock()
				if w.vm != nil && w.call == call && w.reason == nil {
					w.interrupt(stopped{TooMuch, fmt.Sprintf("memory grew by %d MiB while the script was to %s, more than the %d MiB allowed; it was stopped", grown>>20, w.verb, w.memory>>20)})
				}
				w.mu.Unlock()
			}
		}
	}
}

// interrupt is called with the lock held.
func (w *watch) interrupt(s stopped) {
	w.reason = &s
	w.stop.Store(true)
	w.vm.Interrupt(s)
}

// held is how many bytes the objects of this process take, garbage that was not collected yet included.
func held() int64 { return metric("/memory/classes/heap/objects:bytes") }

// live is how many bytes the last collection found in use.
func live() int64 { return metric("/gc/heap/live:bytes") }

func metric(name string) int64 {
	s := []metrics.Sample{{Name: name}}
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return int64(s[0].Value.Uint64())
}
