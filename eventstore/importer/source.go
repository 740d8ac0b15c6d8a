package importer

import (
	"context"
	"errors"
	"io"
	"math"

	"baton/gen/eventstore/client"
	"baton/gen/eventstore/streams"
)

func options(o *streams.ReadReq_Options) *streams.ReadReq {
	o.UuidOption = &streams.ReadReq_Options_UUIDOption{Content: &streams.ReadReq_Options_UUIDOption_Structured{Structured: &client.Empty{}}}
	if o.FilterOption == nil {
		o.FilterOption = &streams.ReadReq_Options_NoFilter{NoFilter: &client.Empty{}}
	}
	if o.CountOption == nil {
		o.CountOption = &streams.ReadReq_Options_Count{Count: math.MaxInt64}
	}
	return &streams.ReadReq{Options: o}
}

// fromRevision asks for n events of a stream from a revision on.
func fromRevision(stream string, revision int64, n int) *streams.ReadReq {
	return options(&streams.ReadReq_Options{CountOption: &streams.ReadReq_Options_Count{Count: uint64(n)},
		StreamOption: &streams.ReadReq_Options_Stream{Stream: &streams.ReadReq_Options_StreamOptions{
			StreamIdentifier: &client.StreamIdentifier{StreamName: []byte(stream)},
			RevisionOption:   &streams.ReadReq_Options_StreamOptions_Revision{Revision: uint64(revision)}}}})
}

// lastOf asks for the last event of a stream.
func lastOf(stream string) *streams.ReadReq {
	return options(&streams.ReadReq_Options{CountOption: &streams.ReadReq_Options_Count{Count: 1}, ReadDirection: streams.ReadReq_Options_Backwards,
		StreamOption: &streams.ReadReq_Options_Stream{Stream: &streams.ReadReq_Options_StreamOptions{
			StreamIdentifier: &client.StreamIdentifier{StreamName: []byte(stream)},
			RevisionOption:   &streams.ReadReq_Options_StreamOptions_End{End: &client.Empty{}}}}})
}

// allFrom asks for all streams: after a position with subscribe, else from it;
// 0 is the start.
func allFrom(position uint64, subscribe bool) *streams.ReadReq {
	all := &streams.ReadReq_Options_AllOptions{AllOption: &streams.ReadReq_Options_AllOptions_Start{Start: &client.Empty{}}}
	if position > 0 {
		all.AllOption = &streams.ReadReq_Options_AllOptions_Position{Position: &streams.ReadReq_Options_Position{CommitPosition: position, PreparePosition: position}}
	}
	o := &streams.ReadReq_Options{StreamOption: &streams.ReadReq_Options_All{All: all}}
	if subscribe {
		o.CountOption = &streams.ReadReq_Options_Subscription{Subscription: &streams.ReadReq_Options_SubscriptionOptions{}}
	}
	return options(o)
}

// firstOfClients asks for the first event of a stream that is not the system's.
func firstOfClients() *streams.ReadReq {
	return options(&streams.ReadReq_Options{CountOption: &streams.ReadReq_Options_Count{Count: 1},
		StreamOption: &streams.ReadReq_Options_All{All: &streams.ReadReq_Options_AllOptions{AllOption: &streams.ReadReq_Options_AllOptions_Start{Start: &client.Empty{}}}},
		FilterOption: &streams.ReadReq_Options_Filter{Filter: &streams.ReadReq_Options_FilterOptions{CheckpointIntervalMultiplier: 1,
			Window: &streams.ReadReq_Options_FilterOptions_Max{Max: 500},
			Filter: &streams.ReadReq_Options_FilterOptions_StreamIdentifier{StreamIdentifier: &streams.ReadReq_Options_FilterOptions_Expression{Regex: `^[^$]`}}}}})
}

// allEnd asks for the last event of all streams.
func allEnd() *streams.ReadReq {
	return options(&streams.ReadReq_Options{CountOption: &streams.ReadReq_Options_Count{Count: 1}, ReadDirection: streams.ReadReq_Options_Backwards,
		StreamOption: &streams.ReadReq_Options_All{All: &streams.ReadReq_Options_AllOptions{AllOption: &streams.ReadReq_Options_AllOptions_End{End: &client.Empty{}}}}})
}

// read calls yield for each event of an answer. A stream that does not exist has none.
func read(ctx context.Context, c streams.StreamsClient, req *streams.ReadReq, yield func(record) error) error {
	return follow(ctx, c, req, yield, func() error { return nil })
}

// follow is read of an answer that goes on: live is called whenever everything
// there is was delivered.
func follow(ctx context.Context, c streams.StreamsClient, req *streams.ReadReq, yield func(record) error, live func() error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	call, err := c.Read(ctx, req)
	if err != nil {
		return err
	}
	for {
		answer, err := call.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if answer.GetCaughtUp() != nil {
			if err := live(); err != nil {
				return err
			}
		}
		e := answer.GetEvent().GetEvent()
		if e == nil {
			continue // marks of a subscription
		}
		r, err := recordOf(e)
		if err != nil {
			return err
		}
		if err := yield(r); err != nil {
			return err
		}
	}
}
