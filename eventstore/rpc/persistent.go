package rpc

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"baton/eventstore/access"
	"baton/eventstore/reader"
	"baton/eventstore/stream"
	group "baton/eventstore/subscription"
	"baton/eventstore/subscriptions"
	"baton/gen/eventstore/client"
	"baton/gen/eventstore/persistent"
)

// groupsService translates between clients and the groups of package subscriptions.
type groupsService struct {
	persistent.UnimplementedPersistentSubscriptionsServer
	*Server
}

// persistentMethods is what clients are told of the service. They ask over HTTP for whatever is missing.
var persistentMethods = map[string][]string{
	"create": {"stream", "all"}, "update": {"stream", "all"}, "delete": {"stream", "all"}, "read": {"stream", "all"}, "getinfo": {"stream", "all"},
	"replayparked": {"stream", "all"}, "truncateparked": {"stream", "all"}, "list": {"stream", "all"}, "restartsubsystem": {"stream", "all"},
}

// Subscriptions are the node's persistent subscriptions; nil when it serves none.
func (s *Server) Subscriptions() *subscriptions.Service { return s.subscriptions }

// Create makes a group.
func (s groupsService) Create(ctx context.Context, req *persistent.CreateReq) (*persistent.CreateResp, error) {
	k, c, err := parseCreate(req)
	if err == nil {
		err = s.access.operate(ctx)
	}
	if err == nil {
		err = s.subscriptions.Create(ctx, k, c, callerOf(ctx).Name)
	}
	if err != nil {
		return nil, s.refuse(ctx, k, err)
	}
	return &persistent.CreateResp{}, nil
}

// Update gives a group other settings.
func (s groupsService) Update(ctx context.Context, req *persistent.UpdateReq) (*persistent.UpdateResp, error) {
	k, c, err := parseUpdate(req)
	if err == nil {
		err = s.access.operate(ctx)
	}
	if err == nil {
		err = s.subscriptions.Update(ctx, k, c, callerOf(ctx).Name)
	}
	if err != nil {
		return nil, s.refuse(ctx, k, err)
	}
	return &persistent.UpdateResp{}, nil
}

// Delete ends a group for good.
func (s groupsService) Delete(ctx context.Context, req *persistent.DeleteReq) (*persistent.DeleteResp, error) {
	o := req.GetOptions()
	k, err := groupKey(o.GetStreamIdentifier(), o.GetAll(), o.GetGroupName())
	if err == nil {
		err = s.access.operate(ctx)
	}
	if err == nil {
		err = s.subscriptions.Delete(ctx, k, callerOf(ctx).Name)
	}
	if err != nil {
		return nil, s.refuse(ctx, k, err)
	}
	return &persistent.DeleteResp{}, nil
}

// ReplayParked sends parked events again.
func (s groupsService) ReplayParked(ctx context.Context, req *persistent.ReplayParkedReq) (*persistent.ReplayParkedResp, error) {
	o := req.GetOptions()
	k, err := groupKey(o.GetStreamIdentifier(), o.GetAll(), o.GetGroupName())
	stop := subscriptions.NoLimit
	if limit, ok := o.GetStopAtOption().(*persistent.ReplayParkedReq_Options_StopAt); ok {
		stop = limit.StopAt
	}
	if err == nil {
		err = s.access.operate(ctx)
	}
	if err == nil {
		err = s.subscriptions.Replay(ctx, k, stop)
	}
	if err != nil {
		return nil, s.refuse(ctx, k, err)
	}
	return &persistent.ReplayParkedResp{}, nil
}

// TruncateParked forgets parked events.
func (s groupsService) TruncateParked(ctx context.Context, req *persistent.TruncateParkedReq) (*persistent.TruncateParkedResp, error) {
	o := req.GetOptions()
	k, err := groupKey(o.GetStreamIdentifier(), o.GetAll(), o.GetGroupName())
	stop := subscriptions.NoLimit
	if limit, ok := o.GetStopAtOption().(*persistent.TruncateParkedReq_Options_StopAt); ok {
		stop = limit.StopAt
	}
	if err == nil {
		err = s.access.operate(ctx)
	}
	if err == nil {
		err = s.subscriptions.TruncateParked(ctx, k, stop)
	}
	if err != nil {
		return nil, s.refuse(ctx, k, err)
	}
	return &persistent.TruncateParkedResp{}, nil
}

// GetInfo describes one group.
func (s groupsService) GetInfo(ctx context.Context, req *persistent.GetInfoReq) (*persistent.GetInfoResp, error) {
	o := req.GetOptions()
	k, err := groupKey(o.GetStreamIdentifier(), o.GetAll(), o.GetGroupName())
	if err == nil {
		err = s.signedIn(ctx)
	}
	var info subscriptions.Info
	if err == nil {
		info, err = s.subscriptions.Info(ctx, k)
	}
	if err != nil {
		return nil, s.refuse(ctx, k, err)
	}
	return &persistent.GetInfoResp{SubscriptionInfo: infoMessage(&info)}, nil
}

// List describes the groups of a stream, or all.
func (s groupsService) List(ctx context.Context, req *persistent.ListReq) (*persistent.ListResp, error) {
	k, err := parseList(req)
	if err == nil {
		err = s.signedIn(ctx)
	}
	var list []subscriptions.Info
	if err == nil {
		list, err = s.subscriptions.List(ctx, k.Stream)
	}
	if err != nil {
		return nil, s.refuse(ctx, k, err)
	}
	answer := &persistent.ListResp{}
	for i := range list {
		answer.Subscriptions = append(answer.Subscriptions, infoMessage(&list[i]))
	}
	return answer, nil
}

// RestartSubsystem drops all consumers and loads all groups anew.
func (s groupsService) RestartSubsystem(ctx context.Context, _ *client.Empty) (*client.Empty, error) {
	err := s.access.operate(ctx)
	if err == nil {
		err = s.subscriptions.Restart(ctx)
	}
	if err != nil {
		return nil, s.refuse(ctx, subscriptions.Key{}, err)
	}
	return &client.Empty{}, nil
}

// RestartPersistentSubscriptions is RestartSubsystem as the Operations service has it.
func (s operationsService) RestartPersistentSubscriptions(ctx context.Context, e *client.Empty) (*client.Empty, error) {
	return groupsService{Server: s.Server}.RestartSubsystem(ctx, e)
}

func (s groupsService) signedIn(ctx context.Context) error {
	if !s.access.SignedIn(*callerOf(ctx)) {
		return errAccessDenied
	}
	return nil
}

// Read makes the call a consumer of a group.
func (s groupsService) Read(ss grpc.BidiStreamingServer[persistent.ReadReq, persistent.ReadResp]) error {
	ctx, cancel := context.WithCancelCause(ss.Context())
	defer cancel(nil)
	stop := context.AfterFunc(s.lifetime, func() { cancel(errStopping) })
	defer stop()
	first, err := ss.Recv()
	if err != nil {
		return err
	}
	w, err := parseConsume(first)
	if err == nil {
		err = s.consume(ctx, cancel, w, ss)
	}
	if err != nil && ss.Context().Err() == nil && context.Cause(ctx) != nil {
		err = context.Cause(ctx)
	}
	if errors.Is(err, io.EOF) {
		return nil // the client has closed its side: it acknowledges nothing more
	}
	return s.refuse(ss.Context(), w.key, err)
}

// wishes is what a consumer asks for.
type wishes struct {
	key     subscriptions.Key
	slots   int
	textIDs bool
}

func (s groupsService) consume(ctx context.Context, cancel context.CancelCauseFunc, w wishes, ss grpc.BidiStreamingServer[persistent.ReadReq, persistent.ReadResp]) error {
	if err := s.signedIn(ctx); err != nil {
		return err
	}
	if err := s.access.read(ctx, w.key.Stream); err != nil {
		return err
	}
	consumer, err := s.subscriptions.Connect(ctx, w.key, consumerInfo(ctx, w.slots))
	if err != nil {
		return err
	}
	defer consumer.Close()
	s.metrics.subscriptions.Add(1)
	defer s.metrics.subscriptions.Add(-1)
	f := &frames{stream: ss, textIDs: w.textIDs}
	defer f.drop()
	err = f.add(&persistent.ReadResp{Content: &persistent.ReadResp_SubscriptionConfirmation_{
		SubscriptionConfirmation: &persistent.ReadResp_SubscriptionConfirmation{SubscriptionId: w.key.String()}}})
	if err != nil {
		return err
	}
	if err := f.flush(); err != nil {
		return err
	}
	go func() { cancel(answers(ss, consumer)) }() // ends with the call at the latest
	allow := s.access.Readable(ctx, true)
	if w.key.Stream == stream.AllStream {
		allow = s.access.Visible(ctx, true)
	}
	out := outgoing{frames: f, key: w.key, allow: allow, caller: callerOf(ctx).Name, consumer: consumer}
	var list []subscriptions.Delivery
	for {
		if list, err = consumer.Next(ctx, list); err != nil {
			return err
		}
		for i := range list {
			if err := out.send(&list[i]); err != nil {
				return err
			}
		}
		if err := f.flush(); err != nil {
			return err
		}
		consumer.Sent(len(list))
		clear(list)
	}
}

// answers passes acknowledgements and refusals on until the client has no more.
func answers(ss grpc.BidiStreamingServer[persistent.ReadReq, persistent.ReadResp], consumer *subscriptions.Consumer) error {
	var ids [][16]byte
	for {
		req, err := ss.Recv()
		if err != nil {
			return err
		}
		switch c := req.GetContent().(type) {
		case *persistent.ReadReq_Ack_:
			if ids, err = eventIDs(ids[:0], c.Ack.GetIds()); err != nil {
				return err
			}
			consumer.Ack(ids...)
		case *persistent.ReadReq_Nack_:
			if ids, err = eventIDs(ids[:0], c.Nack.GetIds()); err != nil {
				return err
			}
			consumer.Nack(group.Action(c.Nack.GetAction()), c.Nack.GetReason(), ids...)
		default:
			return badRequest("after the first message of a call only acknowledgements and refusals may follow")
		}
	}
}

func consumerInfo(ctx context.Context, slots int) subscriptions.ConsumerInfo {
	info := subscriptions.ConsumerInfo{User: callerOf(ctx).Name, Connection: "<unknown>", Slots: slots}
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		info.From = p.Addr.String()
	}
	if values := metadata.ValueFromIncomingContext(ctx, "connection-name"); len(values) > 0 && values[0] != "" {
		info.Connection = clip([]byte(values[0]))
	}
	return info
}

// outgoing sends deliveries to one consumer. What the consumer may not read is not sent, although others of the group may.
type outgoing struct {
	frames   *frames
	key      subscriptions.Key
	allow    reader.Allow
	caller   string
	consumer *subscriptions.Consumer
}

func (o *outgoing) send(d *subscriptions.Delivery) error {
	e := d.Event
	here := e.Original() // the link, if there is one: it stands in the stream that is read
	visible := o.allow == nil || o.allow(here.Stream, here.Revision)
	if visible && (e.Link == nil || o.allow == nil || o.allow(e.Stream, e.Revision)) {
		return o.frames.delivery(e, d.Retries)
	}
	switch {
	case visible:
		hidden := *e.Link
		hidden.Unresolved = true
		return o.frames.delivery(&hidden, d.Retries)
	case o.key.Stream != stream.AllStream:
		return &denied{caller: o.caller, action: access.Read, stream: here.Stream}
	}
	o.consumer.Nack(group.ActionPark, "the consumer "+o.caller+" may not read the event's stream", here.ID)
	return nil
}

// delivery adds one event with the number of times it was sent before, and sends what has gathered if that is enough.
func (f *frames) delivery(e *reader.Event, retries int) error {
	f.message.measure(e, f.textIDs)
	f.message.inner += 1 + varintSize(uint64(retries))
	f.message.size = lengthSize(f.message.inner)
	need := frameHeaderBytes + f.message.size
	if f.block != nil && len(*f.block)+need > blockBytes {
		if err := f.flush(); err != nil {
			return err
		}
	}
	if f.block == nil {
		f.take(need)
	}
	*f.block = appendRetries(f.message.append(*f.block), retries)
	if len(*f.block) >= flushBytes {
		return f.flush()
	}
	return nil
}
