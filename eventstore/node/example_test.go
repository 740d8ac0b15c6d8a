package node_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"baton/eventstore/node"
	"baton/eventstore/reader"
	"baton/eventstore/stream"
)

// A program that holds its own event store: one node in this process, appended
// to and read without a network between. The same Config with seeds and a
// ClusterSize of 3 makes it a member of a cluster.
func ExampleStart() {
	dir, err := os.MkdirTemp("", "orders")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	n, err := node.Start(node.Config{Dir: dir, PeerListen: "127.0.0.1:0", Name: "local"})
	if err != nil {
		panic(err)
	}
	defer n.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := n.WaitReady(ctx); err != nil {
		panic(err)
	}

	cmd, err := stream.NewAppend(stream.Limits{}, stream.Write{Stream: "order-7", Expected: stream.NoStream, Events: []stream.Event{
		{ID: [16]byte{1}, Type: "placed", JSON: true, Data: []byte(`{"items": 2}`)},
		{ID: [16]byte{2}, Type: "paid", JSON: true, Data: []byte(`{"euro": 40}`)},
	}})
	if err != nil {
		panic(err)
	}
	outcome, err := n.Append(ctx, cmd, true)
	if err != nil {
		panic(err)
	}
	fmt.Println("outcome:", outcome.Kind)

	_, err = n.Reader().Stream(ctx, reader.StreamQuery{Stream: "order-7", Count: 10}, func(e *reader.Event) error {
		fmt.Printf("%d@%s %s %s\n", e.Revision, e.Stream, e.Type, e.Data())
		return nil
	})
	if err != nil {
		panic(err)
	}
	// Output:
	// outcome: done
	// 0@order-7 placed {"items": 2}
	// 1@order-7 paid {"euro": 40}
}
