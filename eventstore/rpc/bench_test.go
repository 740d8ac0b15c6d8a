package rpc_test

import (
	"sync"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/emptypb"

	"baton/gen/eventstore/streams"
)

// BenchmarkUnaryAppend measures one event a call from 64 callers to the leader of three nodes, all in this process.
func BenchmarkUnaryAppend(b *testing.B) {
	s := newHouse(b, houseOptions{nodes: 3, size: 3}).leader()
	payload := string(make([]byte, 256))
	b.SetParallelism(32)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		stream := uuid.NewString()
		for pb.Next() {
			if resp, err := s.write(b.Context(), stream, nil, event("t", payload)); err != nil || resp.GetSuccess() == nil {
				b.Error(resp, err)
				return
			}
		}
	})
}

// BenchmarkBatchAppend measures one event an append, 512 in flight on each of four calls.
func BenchmarkBatchAppend(b *testing.B) {
	s := newHouse(b, houseOptions{nodes: 3, size: 3}).leader()
	const calls, window = 4, 512
	payload := make([]byte, 256)
	b.ReportAllocs()
	b.ResetTimer()
	var all sync.WaitGroup
	for range calls {
		all.Add(1)
		go func() {
			defer all.Done()
			call, err := s.streams().BatchAppend(b.Context())
			if err != nil {
				b.Error(err)
				return
			}
			slots := make(chan struct{}, window)
			count := b.N/calls + 1
			go func() {
				stream := uuid.NewString()
				for range count {
					slots <- struct{}{}
					u := uuid.New()
					_ = call.Send(&streams.BatchAppendReq{CorrelationId: id(u), IsFinal: true,
						Options:          &streams.BatchAppendReq_Options{StreamIdentifier: name(stream), ExpectedStreamPosition: &streams.BatchAppendReq_Options_Any{Any: &emptypb.Empty{}}},
						ProposedMessages: []*streams.BatchAppendReq_ProposedMessage{{Id: id(u), Data: payload, Metadata: map[string]string{"type": "t", "content-type": "application/json"}}}})
				}
				_ = call.CloseSend()
			}()
			for range count {
				resp, err := call.Recv()
				if err != nil || resp.GetSuccess() == nil {
					b.Error(resp, err)
					return
				}
				<-slots
			}
		}()
	}
	all.Wait()
}

// BenchmarkReadAll measures events read back from one node in one call.
func BenchmarkReadAll(b *testing.B) {
	s := newHouse(b, houseOptions{}).leader()
	const batch = 1000
	var events []*proposed
	for range batch {
		events = append(events, event("t", string(make([]byte, 256))))
	}
	const stored = 50 * batch
	for range stored / batch {
		if _, err := s.write(b.Context(), "all", nil, events...); err != nil {
			b.Fatal(err)
		}
		for _, e := range events {
			e.Id = id(uuid.New())
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; {
		call, err := s.streams().Read(b.Context(), ask(func(o *streams.ReadReq_Options) {
			o.StreamOption = allFromStart()
			o.CountOption = &streams.ReadReq_Options_Count{Count: uint64(min(b.N-n, stored))}
		}))
		if err != nil {
			b.Fatal(err)
		}
		for range min(b.N-n, stored) {
			if _, err := call.Recv(); err != nil {
				b.Fatal(err)
			}
			n++
		}
	}
}
