package executor

import "context"

// Lead is Start in a term of its own: the first time, and again after the
// context of the time before has ended. Nothing runs in two terms at once.
func (e *Executor) Lead(ctx context.Context, term uint64) {
	e.Wait()
	e.mu.Lock()
	e.Term = term
	e.left = map[string]bool{} // what another control node drove is ours now
	e.mu.Unlock()
	e.Start(ctx)
}
