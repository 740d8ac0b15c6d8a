package rpc

import (
	"context"
	"errors"
	"math"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"baton/eventstore/subscriptions"
	"baton/gen/eventstore/persistent"
)

// Trailer keys and values of persistent subscriptions.
const (
	keyGroupName = "group-name"
	keyReason    = "reason"

	exceptionGroupFailed  = "persistent-subscription-failed"
	exceptionGroupMissing = "persistent-subscription-does-not-exist"
	exceptionGroupExists  = "persistent-subscription-exists"
	exceptionGroupFull    = "maximum-subscribers-reached"
	exceptionGroupDropped = "persistent-subscription-dropped"
)

// refuse turns an error about a group into what a handler returns, with its trailers set on the call.
func (s groupsService) refuse(ctx context.Context, k subscriptions.Key, err error) error {
	if err == nil {
		return nil
	}
	code, exception, reason := codes.OK, "", ""
	var (
		missing *subscriptions.NotFoundError
		exists  *subscriptions.ExistsError
		failed  *subscriptions.FailedError
		dropped *subscriptions.DroppedError
		request *subscriptions.RequestError
	)
	switch {
	case errors.As(err, &missing):
		code, exception, k = codes.NotFound, exceptionGroupMissing, missing.Key
	case errors.As(err, &exists):
		code, exception = codes.AlreadyExists, exceptionGroupExists
	case errors.As(err, &failed):
		code, exception, reason = codes.Internal, exceptionGroupFailed, failed.Reason
	case errors.As(err, &dropped):
		code, exception = codes.Canceled, exceptionGroupDropped
	case errors.Is(err, subscriptions.ErrFull):
		code, exception = codes.FailedPrecondition, exceptionGroupFull
	case errors.As(err, &request):
		return s.fail(ctx, badRequest("%s", request.Reason))
	case errors.Is(err, subscriptions.ErrLoading):
		return status.Error(codes.Unavailable, err.Error())
	default:
		return s.fail(ctx, err)
	}
	trailer := metadata.Pairs(keyException, exception, keyStreamName, trailerText(k.Stream), keyGroupName, trailerText(k.Group))
	if reason != "" {
		trailer.Set(keyReason, trailerText(reason))
	}
	_ = grpc.SetTrailer(ctx, trailer) // the call is known to be a server's
	return status.Error(code, err.Error())
}

func count32(n int64) int32 { return int32(min(n, math.MaxInt32)) }

func millis32(d time.Duration) int32 { return count32(d.Milliseconds()) }

// infoMessage is a group's description in wire form.
func infoMessage(i *subscriptions.Info) *persistent.SubscriptionInfo {
	s, st := &i.Settings, &i.Stats
	m := &persistent.SubscriptionInfo{
		EventSource: i.Key.Stream, GroupName: i.Key.Group, Status: i.Status,
		AveragePerSecond: int32(i.Rates.PerSecond), TotalItems: i.Rates.Total, CountSinceLastMeasurement: i.Rates.Since,
		LastCheckpointedEventPosition: i.Checkpointed, LastKnownEventPosition: i.LastKnown,
		ResolveLinkTos: s.ResolveLinks, StartFrom: i.StartFrom, MessageTimeoutMilliseconds: millis32(s.MessageTimeout), ExtraStatistics: s.ExtraStatistics,
		MaxRetryCount: int32(s.MaxRetryCount), LiveBufferSize: int32(s.LiveBuffer), BufferSize: int32(s.HistoryBuffer), ReadBatchSize: int32(s.ReadBatch),
		CheckPointAfterMilliseconds: millis32(s.CheckpointAfter), MinCheckPointCount: int32(s.MinCheckpointCount), MaxCheckPointCount: int32(s.MaxCheckpointCount),
		ReadBufferCount: int32(st.Queued), LiveBufferCount: 0, RetryBufferCount: int32(st.Retrying),
		TotalInFlightMessages: int32(st.InFlight), OutstandingMessagesCount: int32(st.Outstanding),
		NamedConsumerStrategy: string(s.Strategy), MaxSubscriberCount: int32(s.MaxSubscribers), ParkedMessageCount: i.Parked,
	}
	for _, c := range i.Consumers {
		connection := &persistent.SubscriptionInfo_ConnectionInfo{
			From: c.From, Username: c.User, AverageItemsPerSecond: int32(c.Rates.PerSecond), TotalItems: c.Rates.Total, CountSinceLastMeasurement: c.Rates.Since,
			AvailableSlots: int32(max(c.Slots-c.InFlight, 0)), InFlightMessages: int32(c.InFlight), ConnectionName: c.Connection,
		}
		for _, t := range c.Times {
			connection.ObservedMeasurements = append(connection.ObservedMeasurements, &persistent.SubscriptionInfo_Measurement{Key: t.Key, Value: t.Value})
		}
		m.Connections = append(m.Connections, connection)
	}
	return m
}
