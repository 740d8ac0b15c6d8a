package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"baton/gen/eventstore/client"
	"baton/gen/eventstore/streams"
)

func byPattern(pattern string) func(*streams.ReadReq_Options) {
	return func(o *streams.ReadReq_Options) {
		o.StreamOption = allFromStart()
		o.FilterOption = &streams.ReadReq_Options_Filter{Filter: &streams.ReadReq_Options_FilterOptions{
			Filter: &streams.ReadReq_Options_FilterOptions_StreamIdentifier{StreamIdentifier: &streams.ReadReq_Options_FilterOptions_Expression{Regex: pattern}},
			Window: &streams.ReadReq_Options_FilterOptions_Count{Count: &client.Empty{}}, CheckpointIntervalMultiplier: 1}}
	}
}

// Goal: a pattern made to stall an engine that backtracks costs this one little.
// Method: names it nearly matches; a backtracking engine would need 2^200 steps for each.
func TestHostilePatternsDoNotStallANode(t *testing.T) {
	t.Parallel()
	s := newHouse(t, houseOptions{}).leader()
	for i := range 20 {
		mustWrite(t, s, fmt.Sprintf("%s!%d", strings.Repeat("a", 200), i), event("t", "1"))
	}
	for pattern, matches := range map[string]int{`^(a+)+$`: 0, `^(a|a|aa)*$`: 0, `^((a*)*)*!1?$`: 1, `^(a+)+!\d+$`: 20} {
		got := 0
		for _, r := range mustRead(t, s, ask(byPattern(pattern))) {
			if r.GetEvent() != nil {
				got++
			}
		}
		if got != matches {
			t.Errorf("%s matches %d, not %d", pattern, got, matches)
		}
	}
	for _, refused := range []string{`((a{100}){100}){100}`, `(?=a)`, `\1`, `(`, strings.Repeat("a", 5000)} {
		if _, err := s.read(testContext(t), ask(byPattern(refused))); status.Code(err) != codes.InvalidArgument {
			t.Errorf("pattern %.20q answers %v", refused, err)
		}
	}
}

// heap is what lives after a collection, bytes.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Goal: subscribers that never read cost a bounded amount each, however much is written, and those that vanish cost nothing.
// Method: kept for each of them, what is written would take 1.9 GiB; the house's own caches are filled before.
func TestSubscribersThatNeverReadCostLittle(t *testing.T) {
	s := newHouse(t, houseOptions{}).leader()
	const subscribers, writes, size = 60, 64, 256 << 10
	fill := func() {
		payload := bytes.Repeat([]byte("x"), size)
		for range writes {
			e := event("t", "")
			e.Metadata["content-type"], e.Data = "application/octet-stream", payload
			mustWrite(t, s, "big", e)
		}
	}
	fill() // the log's cache is full from here on
	before := heap()
	conn, err := grpc.NewClient(s.addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithInitialWindowSize(64<<10), grpc.WithInitialConnWindowSize(64<<10))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	for range subscribers {
		call, err := streams.NewStreamsClient(conn).Read(ctx, ask(func(o *streams.ReadReq_Options) {
			o.StreamOption = allFromStart()
			o.CountOption = &streams.ReadReq_Options_Subscription{Subscription: &streams.ReadReq_Options_SubscriptionOptions{}}
		}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := call.Header(); err != nil { // it runs; nothing is received after this
			t.Fatal(err)
		}
	}
	fill()
	grown := int64(heap()) - int64(before)
	t.Logf("%d subscribers that never read %d MiB: the process grew by %.1f MiB", subscribers, 2*writes*size>>20, float64(grown)/(1<<20))
	if limit := int64(400 << 20); grown > limit {
		t.Errorf("the process grew by %d MiB", grown>>20)
	}
	if _, figures := s.get(t, "/metrics"); !strings.Contains(figures, fmt.Sprintf("\nbaton_subscriptions %d\n", subscribers)) {
		t.Error("they are not all counted")
	}
	conn.Close() // they vanish
	eventually(t, "vanished subscribers are let go", func() error {
		if _, figures := s.get(t, "/metrics"); !strings.Contains(figures, "\nbaton_subscriptions 0\n") {
			return errors.New("some are counted")
		}
		return nil
	})
}

// Goal: what is missing, unknown or contradictory in a request is answered as wrong, and nothing is written.
func TestRequestsThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	s := newHouse(t, houseOptions{}).leader()
	ctx := testContext(t)
	reads := map[string]*streams.ReadReq{
		"no options":       {},
		"no count":         ask(func(o *streams.ReadReq_Options) { o.StreamOption, o.CountOption = allFromStart(), nil }),
		"no stream":        ask(func(*streams.ReadReq_Options) {}),
		"no form of ids":   ask(func(o *streams.ReadReq_Options) { o.StreamOption, o.UuidOption = allFromStart(), nil }),
		"no name":          ask(func(o *streams.ReadReq_Options) { o.StreamOption = fromStart("") }),
		"no place":         ask(func(o *streams.ReadReq_Options) { o.StreamOption = &streams.ReadReq_Options_All{} }),
		"filter of stream": ask(func(o *streams.ReadReq_Options) { byPattern("a")(o); o.StreamOption = fromStart("s") }),
		"empty filter": ask(func(o *streams.ReadReq_Options) {
			o.StreamOption = allFromStart()
			o.FilterOption = &streams.ReadReq_Options_Filter{Filter: &streams.ReadReq_Options_FilterOptions{}}
		}),
		"subscription backwards": ask(func(o *streams.ReadReq_Options) {
			o.StreamOption, o.ReadDirection = allFromStart(), streams.ReadReq_Options_Backwards
			o.CountOption = &streams.ReadReq_Options_Subscription{Subscription: &streams.ReadReq_Options_SubscriptionOptions{}}
		}),
		"positions that contradict": ask(func(o *streams.ReadReq_Options) {
			o.StreamOption = &streams.ReadReq_Options_All{All: &streams.ReadReq_Options_AllOptions{AllOption: &streams.ReadReq_Options_AllOptions_Position{
				Position: &streams.ReadReq_Options_Position{CommitPosition: 1, PreparePosition: 2}}}}
		}),
	}
	for what, req := range reads {
		if _, err := s.read(ctx, req); status.Code(err) != codes.InvalidArgument {
			t.Errorf("read, %s: %v", what, err)
		}
	}
	nameless := func(o *streams.AppendReq_Options) { o.StreamIdentifier = nil }
	stateless := func(o *streams.AppendReq_Options) { o.ExpectedStreamRevision = nil }
	idless := event("t", "1")
	idless.Id = nil
	typeless := event("", "1")
	delete(typeless.Metadata, "type")
	for what, try := range map[string]func() error{
		"no name":  func() error { _, err := s.write(ctx, "s", nameless, event("t", "1")); return err },
		"no state": func() error { _, err := s.write(ctx, "s", stateless, event("t", "1")); return err },
		"no id":    func() error { _, err := s.write(ctx, "s", nil, idless); return err },
		"no type":  func() error { _, err := s.write(ctx, "s", nil, typeless); return err },
		"to all":   func() error { _, err := s.write(ctx, "$all", nil, event("t", "1")); return err },
		"nothing sent": func() error {
			call, err := s.streams().Append(ctx)
			if err != nil {
				return err
			}
			_, err = call.CloseAndRecv()
			return err
		},
		"event first": func() error {
			call, err := s.streams().Append(ctx)
			if err != nil {
				return err
			}
			_ = call.Send(&streams.AppendReq{Content: &streams.AppendReq_ProposedMessage_{ProposedMessage: event("t", "1")}})
			_, err = call.CloseAndRecv()
			return err
		},
		"delete of nothing": func() error { _, err := s.streams().Delete(ctx, &streams.DeleteReq{}); return err },
		"delete of metadata": func() error {
			_, err := s.streams().Delete(ctx, &streams.DeleteReq{Options: &streams.DeleteReq_Options{StreamIdentifier: name("$$s"),
				ExpectedStreamRevision: &streams.DeleteReq_Options_Any{Any: &client.Empty{}}}})
			return err
		},
		"tombstone of nothing": func() error { _, err := s.streams().Tombstone(ctx, &streams.TombstoneReq{}); return err },
	} {
		if code := status.Code(try()); code != codes.InvalidArgument {
			t.Errorf("write, %s: %v", what, code)
		}
	}
	for _, r := range mustRead(t, s, ask(func(o *streams.ReadReq_Options) { o.StreamOption = allFromStart() })) {
		if stream := string(r.GetEvent().GetEvent().GetStreamIdentifier().GetStreamName()); stream == "s" {
			t.Errorf("something was written: %v", r)
		}
	}
}
