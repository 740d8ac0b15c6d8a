package rpc

import (
	"context"
	"crypto/rand"

	"google.golang.org/protobuf/types/known/timestamppb"

	"baton/eventstore/reader"
	"baton/gen/eventstore/streams"
)

// behindEvents is how many events in a row without catching up make a live subscription one that was behind, so that it is told again when it has
// caught up.
const behindEvents = 4096

// subscription passes one catch-up subscription on to its client.
type subscription struct {
	server *Server
	frames *frames
	all    bool
	live   bool // caught-up was sent
	since  int  // events since the subscription last had everything
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
	h := &subscription{server: s, frames: f, all: r.all}
	if r.all {
		return s.backend.Reader().SubscribeAll(ctx, reader.AllSubscription{
			From: r.from, FromStart: r.start, FromEnd: r.end, Filter: r.filter, ResolveLinks: r.resolveLinks}, h)
	}
	return s.backend.Reader().SubscribeStream(ctx, reader.StreamSubscription{
		Stream: r.stream, From: int64(r.from), FromStart: r.start, FromEnd: r.end, ResolveLinks: r.resolveLinks}, h)
}

// Event sends one event, together with others while there are more.
func (h *subscription) Event(e *reader.Event) error {
	h.since++
	return h.frames.event(e)
}

// Checkpoint tells the client that everything up to pos was examined.
func (h *subscription) Checkpoint(pos uint64) error {
	return h.frames.add(&streams.ReadResp{Content: &streams.ReadResp_Checkpoint_{Checkpoint: &streams.ReadResp_Checkpoint{
		CommitPosition: pos, PreparePosition: pos, Timestamp: timestamppb.Now()}}})
}

// CaughtUp comes before each wait for more: what has gathered is sent, and the client is told when it has just become live.
func (h *subscription) CaughtUp(rev int64, pos uint64) error {
	if !h.live || h.since > behindEvents {
		h.live = true
		m := &streams.ReadResp_CaughtUp{Timestamp: timestamppb.Now()}
		if h.all {
			m.Position = &streams.ReadResp_Position{CommitPosition: pos, PreparePosition: pos}
		} else if rev >= 0 {
			m.StreamRevision = &rev
		}
		if err := h.frames.add(&streams.ReadResp{Content: &streams.ReadResp_CaughtUp_{CaughtUp: m}}); err != nil {
			return err
		}
	}
	h.since = 0
	return h.frames.flush()
}
