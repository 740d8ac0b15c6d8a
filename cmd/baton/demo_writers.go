package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"baton/control/demo"
	"baton/control/engine"
	"baton/control/engine/eventstore"
)

const (
	// demoWriteInterval makes the light load of the demo: 25 writes a second
	// on each cluster.
	demoWriteInterval = 40 * time.Millisecond
	// demoStreams is over how many streams, or keys, it is spread.
	demoStreams = 10
	// demoStreamLength bounds what is readable in each stream.
	demoStreamLength = 10_000
	demoWriteTimeout = 5 * time.Second
)

// runDemoWriters writes to the demo's clusters until ctx ends.
func runDemoWriters(ctx context.Context, d *demo.Demo, log *slog.Logger) {
	go writeEvents(ctx, d.EventStore()[0], log)
	if ins := d.Redis(); len(ins) > 0 {
		go writeKeys(ctx, ins, log)
	}
}

// eachInterval calls write until ctx ends and says once when writes begin to
// fail and once when they go on.
func eachInterval(ctx context.Context, log *slog.Logger, cluster string, write func(ctx context.Context, n int) error) {
	tick := time.NewTicker(demoWriteInterval)
	defer tick.Stop()
	failing := false
	for n := 0; ctx.Err() == nil; n++ {
		wctx, cancel := context.WithTimeout(ctx, demoWriteTimeout)
		err := write(wctx, n)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if failing != (err != nil) {
			failing = err != nil
			if failing {
				log.Warn("demo writes are not acknowledged", "cluster", cluster, "err", err)
			} else {
				log.Info("demo writes are acknowledged", "cluster", cluster)
			}
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

func writeEvents(ctx context.Context, in engine.Instance, log *slog.Logger) {
	w, err := eventstore.NewWriter(in)
	if err != nil {
		log.Warn("the demo's event writer cannot start", "err", err)
		return
	}
	defer w.Close()
	bounded := map[string]bool{}
	eachInterval(ctx, log, demo.EventStoreID, func(ctx context.Context, n int) error {
		stream := fmt.Sprintf("order-%d", n%demoStreams)
		if !bounded[stream] {
			if err := w.Append(ctx, "$$"+stream, "$metadata", fmt.Appendf(nil, `{"$maxCount":%d}`, demoStreamLength)); err != nil {
				return err
			}
			bounded[stream] = true
		}
		data, err := json.Marshal(map[string]any{"order": n, "items": n%7 + 1, "at": time.Now().UTC()})
		if err != nil {
			return err
		}
		return w.Append(ctx, stream, "order-placed", data)
	})
}

// writeKeys counts up keys on whichever server is primary, trying the others
// when the last one refuses.
func writeKeys(ctx context.Context, ins []engine.Instance, log *slog.Logger) {
	var clients []*goredis.Client
	for _, in := range ins {
		c := goredis.NewClient(&goredis.Options{Addr: in.Address(), Username: in.Auth.User, Password: in.Auth.Password, ClientName: "demo-writer",
			Protocol: 2, DisableIdentity: true, PoolSize: 2, MaxRetries: -1, DialTimeout: time.Second, ContextTimeoutEnabled: true})
		defer c.Close()
		clients = append(clients, c)
	}
	at := 0
	eachInterval(ctx, log, demo.RedisID, func(ctx context.Context, n int) error {
		var err error
		for ctx.Err() == nil {
			for i := range clients {
				c := (at + i) % len(clients)
				if err = clients[c].Incr(ctx, fmt.Sprintf("visits:%d", n%demoStreams)).Err(); err == nil {
					at = c
					return nil
				}
			}
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Millisecond):
			}
		}
		return err
	})
}
