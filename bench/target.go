package main

import (
	"context"
	"time"
)

// target is one kind of server cluster under measurement: three processes that this program started.
type target interface {
	name() string
	start(settle time.Duration) error
	close()
	pids() []int // of the living server processes
	logs() string

	// appender returns a client of its own stream that writes one event at a time and names the revision it
	// expects. Clients with the same conn number share a connection.
	appender(ctx context.Context, conn int, stream string) (appender, error)
	// pipeline keeps up to window events in flight on a connection of its own and calls acked for each.
	pipeline(ctx context.Context, stream string, window int, payload []byte, acked func()) error
	// fill writes n events as fast as it can, for reading back.
	fill(ctx context.Context, n int, payload []byte) error
	// read reads n events from the start of everything and returns how many came.
	read(ctx context.Context, n int) (int, error)

	killLeader() error                    // kill -9
	recover(settle time.Duration) error   // the killed node is started again; returns when all is well
	moveLeader(ctx context.Context) error // planned move to another node
	settled(settle time.Duration) error   // a leader is there and all nodes take part
}

// appender writes to one stream. It finds the leader again by itself after an error.
type appender interface {
	append(ctx context.Context, payload []byte) error
}
