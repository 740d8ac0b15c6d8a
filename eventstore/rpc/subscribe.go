package rpc

import (
	"context"
	"crypto/rand"

	"google.golang.org/protobuf/types/known/timestamppb"

	"baton/eventstore/reader"
	"baton/gen/eventstore/streams"
)

// subscription passes one catch-up subscription on to its client.
type subscription struct {
	frames *frames
	all    bool
}

func (s *Server) subscribe(ctx context.Context, r *readRequest, f *frames) error {
	s.metrics.subscriptions.Add(1)
	defer s.metrics.subscriptions.Add(-1)
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	err := f.add(&streams.ReadResp{Content: &streams.ReadResp_Confirmation{Confirmation: &streams.ReadResp_SubscriptionConfirmation{
		SubscriptionId: string(appendUUID(nil, id))}}})
	if err != nil {
		return err
	}
	if err := f.flush(); err != nil {
		return err
	}
	h := &subscription{frames: f, all: r.all}
	if r.all {
		return s.backend.Reader().SubscribeAll(ctx, reader.AllSubscription{
			From: r.from, FromStart: r.start, FromEnd: r.end, Filter: r.filter, ResolveLinks: r.resolveLinks, Allow: s.access.Visible(ctx, true)}, h)
	}
	return s.backend.Reader().SubscribeStream(ctx, reader.StreamSubscription{
		Stream: r.stream, From: int64(r.from), FromStart: r.start, FromEnd: r.end, ResolveLinks: r.resolveLinks, Allow: s.access.Readable(ctx, true)}, h)
}

// Event gathers one event; a full block is sent at once.
func (h *subscription) Event(e *reader.Event) error { return h.frames.event(e) }

// Checkpoint tells the client that everything up to pos was examined.
func (h *subscription) Checkpoint(pos uint64) error {
	return h.frames.add(&streams.ReadResp{Content: &streams.ReadResp_Checkpoint_{Checkpoint: &streams.ReadResp_Checkpoint{
		CommitPosition: pos, PreparePosition: pos, Timestamp: timestamppb.Now()}}})
}

// CaughtUp tells the client that it has become live.
func (h *subscription) CaughtUp(rev int64, pos uint64) error {
	m := &streams.ReadResp_CaughtUp{Timestamp: timestamppb.Now()}
	if h.all {
		m.Position = &streams.ReadResp_Position{CommitPosition: pos, PreparePosition: pos}
	} else if rev >= 0 {
		m.StreamRevision = &rev
	}
	return h.frames.add(&streams.ReadResp{Content: &streams.ReadResp_CaughtUp_{CaughtUp: m}})
}

// Flush sends what has gathered before the subscription waits for more.
func (h *subscription) Flush() error { return h.frames.flush() }
