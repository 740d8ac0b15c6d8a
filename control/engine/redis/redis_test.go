package redis_test

import (
	"context"
	"fmt"
	"testing"

	"baton/control/engine"
	"baton/control/engine/enginetest"
	"baton/control/engine/redis"
	"baton/control/engine/redis/redistest"
)

// switchover is the planned promotion of promotion.md 4.2 by actions.
func switchover(ctx context.Context, d engine.Driver, all []engine.Instance, from, to engine.Instance) ([]enginetest.Step, error) {
	var steps []enginetest.Step
	do := func(in engine.Instance, name string, kv ...string) (map[string]string, error) {
		a := engine.Action{Name: name, Args: map[string]string{}}
		for i := 0; i+1 < len(kv); i += 2 {
			a.Args[kv[i]] = kv[i+1]
		}
		r, err := d.Do(ctx, in, a)
		if err != nil {
			return nil, fmt.Errorf("%s on %s: %w", name, in.Node, err)
		}
		switch name {
		case engine.Demote, engine.Promote, engine.Repoint, engine.VerifyRole:
			steps = append(steps, enginetest.Step{Instance: in, Action: a})
		}
		return r.Values, nil
	}
	if _, err := do(from, engine.CheckAuth, "addr", to.Address()); err != nil {
		return nil, err
	}
	if _, err := do(from, engine.PauseWrites, "ms", "30000"); err != nil {
		return nil, err
	}
	off, err := do(from, engine.ReadOffset)
	if err != nil {
		return nil, err
	}
	if off["stable"] != "true" {
		return nil, fmt.Errorf("offset moves during the pause: %v", off)
	}
	if _, err := do(to, engine.WaitOffset, "offset", off["offset"], "replid", off["replid"], "deadlineMs", "20000"); err != nil {
		return nil, err
	}
	if _, err := do(from, engine.Demote, "addr", to.Address()); err != nil {
		return nil, err
	}
	promoted, err := do(to, engine.Promote, "history", off["replid"], "offset", off["offset"])
	if err != nil {
		return nil, err
	}
	for _, in := range all {
		if in.Node != to.Node {
			if _, err := do(in, engine.Repoint, "addr", to.Address()); err != nil {
				return nil, err
			}
		}
	}
	if _, err := do(from, engine.UnpauseWrites); err != nil {
		return nil, err
	}
	if _, err := do(from, engine.KickClients); err != nil {
		return nil, err
	}
	for _, in := range all {
		if _, err := do(in, engine.Persist); err != nil {
			return nil, err
		}
	}
	for _, in := range all {
		if in.Node == to.Node {
			continue
		}
		if _, err := do(in, engine.VerifyRole, "role", "replica", "addr", to.Address(), "waitMs", "20000"); err != nil {
			return nil, err
		}
	}
	_, err = do(to, engine.VerifyRole, "role", "primary", "syncFull", promoted["syncFull"], "replicas", fmt.Sprint(len(all)-1), "waitMs", "20000")
	return steps, err
}

func TestConformance(t *testing.T) {
	redistest.Binary(t)
	enginetest.Run(t, enginetest.Harness{
		Driver:  func() engine.Driver { return redis.New() },
		Secrets: []string{redistest.Password, "wo#rd"},
		Start: func(t *testing.T) *enginetest.Cluster {
			servers := redistest.Cluster(t, 3)
			c := &enginetest.Cluster{}
			byNode := map[string]*redistest.Server{}
			for _, s := range servers {
				c.Instances = append(c.Instances, s.Instance)
				byNode[s.Instance.Node] = s
			}
			c.Switch = func(ctx context.Context, d engine.Driver, from, to engine.Instance) ([]enginetest.Step, error) {
				return switchover(ctx, d, c.Instances, from, to)
			}
			c.Write = func(ctx context.Context) error {
				var err error
				for _, s := range servers {
					if err = s.Client().Incr(ctx, "written").Err(); err == nil {
						return nil
					}
				}
				return err
			}
			c.Stop = func(in engine.Instance) { byNode[in.Node].Kill() }
			c.Start = func(in engine.Instance) { byNode[in.Node].Start() }
			return c
		},
	})
}
