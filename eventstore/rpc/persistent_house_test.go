package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"baton/gen/eventstore/client"
	"baton/gen/eventstore/persistent"
)

func (s *served) groups() persistent.PersistentSubscriptionsClient {
	return persistent.NewPersistentSubscriptionsClient(s.conn)
}

// groupSettings are those the published clients send by default, with what set changes.
func groupSettings(set func(*persistent.CreateReq_Settings)) *persistent.CreateReq_Settings {
	o := &persistent.CreateReq_Settings{
		MaxRetryCount: 10, MinCheckpointCount: 10, MaxCheckpointCount: 1000, LiveBufferSize: 500, ReadBatchSize: 20, HistoryBufferSize: 500,
		MessageTimeout: &persistent.CreateReq_Settings_MessageTimeoutMs{MessageTimeoutMs: 30_000}, ConsumerStrategy: "RoundRobin",
		CheckpointAfter: &persistent.CreateReq_Settings_CheckpointAfterMs{CheckpointAfterMs: 2_000},
	}
	if set != nil {
		set(o)
	}
	return o
}

// groupOf begins a request for a group of a stream, from its start.
func groupOf(stream, group string, set func(*persistent.CreateReq_Settings)) *persistent.CreateReq {
	return &persistent.CreateReq{Options: &persistent.CreateReq_Options{GroupName: group, Settings: groupSettings(set),
		StreamOption: &persistent.CreateReq_Options_Stream{Stream: &persistent.CreateReq_StreamOptions{StreamIdentifier: name(stream),
			RevisionOption: &persistent.CreateReq_StreamOptions_Start{Start: &client.Empty{}}}}}}
}

func groupOfAll(group string, filter *persistent.CreateReq_AllOptions_FilterOptions) *persistent.CreateReq {
	all := &persistent.CreateReq_AllOptions{AllOption: &persistent.CreateReq_AllOptions_Start{Start: &client.Empty{}},
		FilterOption: &persistent.CreateReq_AllOptions_NoFilter{NoFilter: &client.Empty{}}}
	if filter != nil {
		all.FilterOption = &persistent.CreateReq_AllOptions_Filter{Filter: filter}
	}
	return &persistent.CreateReq{Options: &persistent.CreateReq_Options{GroupName: group, Settings: groupSettings(nil),
		StreamOption: &persistent.CreateReq_Options_All{All: all}}}
}

func mustCreate(t *testing.T, s *served, req *persistent.CreateReq) {
	t.Helper()
	if _, err := s.groups().Create(testContext(t), req); err != nil {
		t.Fatal(err)
	}
}

// consumer is one consumer's call.
type consumer struct {
	t    *testing.T
	call persistent.PersistentSubscriptions_ReadClient
	stop func()
}

func consume(t *testing.T, s *served, stream, group string, buffer int32) *consumer {
	t.Helper()
	c, err := tryConsume(t, s, stream, group, buffer)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func tryConsume(t *testing.T, s *served, stream, group string, buffer int32) (*consumer, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(testContext(t))
	t.Cleanup(cancel)
	call, err := s.groups().Read(ctx)
	if err != nil {
		return nil, err
	}
	o := &persistent.ReadReq_Options{GroupName: group, BufferSize: buffer, StreamOption: &persistent.ReadReq_Options_StreamIdentifier{StreamIdentifier: name(stream)},
		UuidOption: &persistent.ReadReq_Options_UUIDOption{Content: &persistent.ReadReq_Options_UUIDOption_Structured{Structured: &client.Empty{}}}}
	if stream == "$all" {
		o.StreamOption = &persistent.ReadReq_Options_All{All: &client.Empty{}}
	}
	if err := call.Send(&persistent.ReadReq{Content: &persistent.ReadReq_Options_{Options: o}}); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	first, err := call.Recv()
	c := &consumer{t: t, call: call, stop: cancel}
	if err != nil {
		return c, err
	}
	if got := first.GetSubscriptionConfirmation().GetSubscriptionId(); got != stream+"::"+group {
		t.Fatalf("the first answer is %v", first)
	}
	return c, nil
}

// trailer is what came with the end of the call.
func (c *consumer) trailer() metadata.MD {
	if c == nil {
		return nil
	}
	return c.call.Trailer()
}

// next receives n events.
func (c *consumer) next(n int) []*persistent.ReadResp_ReadEvent {
	c.t.Helper()
	var list []*persistent.ReadResp_ReadEvent
	for len(list) < n {
		m, err := c.call.Recv()
		if err != nil {
			c.t.Fatalf("after %d of %d events: %v %v", len(list), n, err, c.call.Trailer())
		}
		if m.GetEvent() == nil {
			c.t.Fatalf("not an event: %v", m)
		}
		list = append(list, m.GetEvent())
	}
	return list
}

func ids(events []*persistent.ReadResp_ReadEvent) (list []*client.UUID) {
	for _, e := range events {
		original := e.GetLink()
		if original == nil {
			original = e.GetEvent()
		}
		list = append(list, original.GetId())
	}
	return list
}

func (c *consumer) ack(events ...*persistent.ReadResp_ReadEvent) {
	c.t.Helper()
	if err := c.call.Send(&persistent.ReadReq{Content: &persistent.ReadReq_Ack_{Ack: &persistent.ReadReq_Ack{Ids: ids(events)}}}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *consumer) nack(action persistent.ReadReq_Nack_Action, events ...*persistent.ReadResp_ReadEvent) {
	c.t.Helper()
	if err := c.call.Send(&persistent.ReadReq{Content: &persistent.ReadReq_Nack_{Nack: &persistent.ReadReq_Nack{Ids: ids(events), Action: action, Reason: "a test"}}}); err != nil {
		c.t.Fatal(err)
	}
}

func texts(events []*persistent.ReadResp_ReadEvent) string {
	var list []string
	for _, e := range events {
		list = append(list, string(e.GetEvent().GetData()))
	}
	return strings.Join(list, " ")
}

func numbered(from, to int) (list []*proposed) {
	for n := from; n < to; n++ {
		list = append(list, event("counted", strconv.Itoa(n)))
	}
	return list
}

func infoOf(t *testing.T, s *served, stream, group string) *persistent.SubscriptionInfo {
	t.Helper()
	o := &persistent.GetInfoReq_Options{GroupName: group, StreamOption: &persistent.GetInfoReq_Options_StreamIdentifier{StreamIdentifier: name(stream)}}
	if stream == "$all" {
		o.StreamOption = &persistent.GetInfoReq_Options_All{All: &client.Empty{}}
	}
	got, err := s.groups().GetInfo(testContext(t), &persistent.GetInfoReq{Options: o})
	if err != nil {
		t.Fatal(err)
	}
	return got.GetSubscriptionInfo()
}

func awaitInfo(t *testing.T, s *served, stream, group, what string, check func(*persistent.SubscriptionInfo) bool) {
	t.Helper()
	eventually(t, what, func() error {
		if i := infoOf(t, s, stream, group); !check(i) {
			return fmt.Errorf("%v", i)
		}
		return nil
	})
}

func wantEnd(t *testing.T, c *consumer, code codes.Code, exception string) {
	t.Helper()
	for {
		_, err := c.call.Recv()
		if err == nil {
			continue
		}
		if status.Code(err) != code || strings.Join(c.call.Trailer().Get("exception"), "") != exception {
			t.Fatalf("the call ended with %v %v, want %v %s", err, c.call.Trailer(), code, exception)
		}
		return
	}
}
