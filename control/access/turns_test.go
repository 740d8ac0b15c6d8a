package access

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"baton/control/journal"
)

// conflicting counts the appends that came too late.
type conflicting struct {
	journal.Journal
	conflicts atomic.Int64
}

func (c *conflicting) Append(ctx context.Context, stream string, expected int64, events ...journal.Event) (int64, error) {
	rev, err := c.Journal.Append(ctx, stream, expected, events...)
	var conflict *journal.ConflictError
	if errors.As(err, &conflict) {
		c.conflicts.Add(1)
	}
	return rev, err
}

// TestManyHostsJoinAtOnce: tokens that are made and used at the same time on
// one control node wait for each other; none is refused because another was
// faster.
func TestManyHostsJoinAtOnce(t *testing.T) {
	j := &conflicting{Journal: journal.NewMemory(time.Now)}
	s := node(t, j, time.Now)
	const hosts = 50
	var all sync.WaitGroup
	for range hosts {
		all.Go(func() {
			secret, _, err := s.Issue(PurposeAgent)
			if err == nil {
				err = s.Redeem(secret, PurposeAgent)
			}
			if err == nil {
				err = s.JoinHost(Host{Agent: secret[:8], Name: "h"})
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := j.conflicts.Load(); n != 0 {
		t.Errorf("%d appends made others start anew", n)
	}
	if n := len(s.Hosts()); n != hosts {
		t.Errorf("%d of %d hosts joined", n, hosts)
	}
}
