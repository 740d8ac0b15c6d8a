package agent

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"baton/control/engine"
)

const (
	// holdFor is how long clients' writes wait at once on a primary that is about
	// to be demoted; the hold is renewed every holdAgain while a file is written.
	holdFor   = 30 * time.Second
	holdAgain = 5 * time.Second
	// holdTime bounds one order to the server.
	holdTime = 3 * time.Second
)

// keepHeld saves what a deposed primary holds while its clients' writes wait, so
// that the file is everything it ever acknowledged. A primary without a lease
// takes writes from its start until it is demoted. The hold stands for moments
// after the return; the demotion that follows makes it last.
func (a *Agent) keepHeld(ctx context.Context, w *watched, o Order) (map[string]string, error) {
	d := a.drivers[w.in.Engine]
	hold := func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, holdTime)
		defer cancel()
		_, err := d.Do(ctx, w.in, engine.Action{Name: engine.PauseWrites, Args: map[string]string{"ms": strconv.FormatInt(holdFor.Milliseconds(), 10)}})
		return err
	}
	until := time.Now().Add(holdFor)
	if err := hold(ctx); err != nil {
		return nil, fmt.Errorf("hold the writes of %s: %w", o.Node, err)
	}
	held, stop := context.WithCancel(ctx)
	var renewing sync.WaitGroup
	renewing.Go(func() {
		tick := time.NewTicker(holdAgain)
		defer tick.Stop()
		for {
			select {
			case <-held.Done():
				return
			case <-tick.C:
			}
			asked := time.Now()
			if asked.Before(until) && hold(held) == nil { // one that ended in between is not made up for
				until = asked.Add(holdFor)
			}
		}
	})
	values, err := a.keep(ctx, w, o)
	saved := time.Now()
	stop()
	renewing.Wait()
	if err == nil && saved.Add(holdAgain).After(until) {
		err = fmt.Errorf("the writes of %s were not surely held while they were saved", o.Node)
	}
	return values, err
}
