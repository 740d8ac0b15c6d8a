package rpc

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"baton/eventstore/replica"
	"baton/eventstore/stream"
	"baton/gen/eventstore/client"
	"baton/gen/eventstore/streams"
	"baton/platform/trace"
	"baton/platform/tracing"
)

const (
	// maxOpenBatches is how many appends of one call may wait for their last chunk.
	maxOpenBatches = 1024
	// maxInFlightBatches is how many complete appends of one call may be under way; reading pauses there, so that a client feels the pressure.
	maxInFlightBatches = 2048
)

// batch is one append of a BatchAppend call while its chunks arrive.
type batch struct {
	correlation    [16]byte
	correlationRaw []byte
	target         target
	deadline       time.Time
	chunks         []*batchChunk // hold the bytes the events alias
	events         []stream.Event
	total          int
	bad            error
}

func (b *batch) release() {
	for _, c := range b.chunks {
		c.release()
		batchChunks.Put(c)
	}
	b.chunks = nil
}

// batchChunks recycles the memory of received chunks.
var batchChunks = sync.Pool{New: func() any { return new(batchChunk) }}

// batchCall is one BatchAppend call: a reader, the appends under way, and one sender.
type batchCall struct {
	server  *Server
	ctx     context.Context
	stream  grpc.ServerStream
	answers chan batchAnswer // has room for one answer per slot, so that answering never blocks
	slots   chan struct{}    // one for each append from its last chunk until its answer is sent
	started chan *underWay   // handed to this node's own log, in order; has room for one per slot

	mu      sync.Mutex
	closed  bool           // no more appends may begin
	running sync.WaitGroup // appends under way; added to only under mu while not closed

	leaderOnly bool
	tails      map[string]*underWay // the last append to a stream; only the receiving goroutine looks here
	parent     *trace.Context       // the call's place in a trace; nil: it has none

	// stop ends the call with an error; only a not-leader answer does.
	stop context.CancelCauseFunc
}

// BatchAppend reads many appends and answers each as it completes, in any order.
func (s *Server) BatchAppend(ss grpc.BidiStreamingServer[streams.BatchAppendReq, streams.BatchAppendResp]) error {
	ctx, stop := context.WithCancelCause(ss.Context())
	c := &batchCall{
		server: s, ctx: ctx, stream: ss, stop: stop,
		answers: make(chan batchAnswer, maxInFlightBatches),
		started: make(chan *underWay, maxInFlightBatches),
		slots:   make(chan struct{}, maxInFlightBatches),

		leaderOnly: requiresLeader(ctx),
		tails:      map[string]*underWay{},
		parent:     s.parent(ctx),
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		c.send()
	}()
	go c.await()
	received := make(chan error, 1)
	go func() { received <- c.receive() }()

	var err error
	select {
	case err = <-received:
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-s.stopping:
		err = errStopping
	}
	if err != nil {
		stop(err)
	}
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.running.Wait()
	close(c.started)
	close(c.answers)
	<-sent
	if cause := context.Cause(ctx); err == nil && cause != nil {
		err = cause
	}
	stop(nil)
	return s.fail(ss.Context(), err)
}

// send writes answers, all that wait in one write, until there are no more. After a failed write it only drains.
func (c *batchCall) send() {
	f := &frames{stream: c.stream}
	defer f.drop()
	var scratch []byte
	failed := false
	add := func(a batchAnswer) {
		if failed {
			return
		}
		var err error
		if scratch, err = a.append(scratch[:0]); err == nil {
			err = f.addBytes(scratch)
		}
		if err != nil {
			failed = true
			c.stop(err)
		}
	}
	for a := range c.answers {
		add(a)
		waiting := len(c.answers)
		for range waiting {
			add(<-c.answers)
		}
		if !failed {
			if err := f.flush(); err != nil {
				failed = true
				c.stop(err)
			}
		}
		for range waiting + 1 {
			<-c.slots
		}
	}
}

// receive reads chunks until the client half-closes.
func (c *batchCall) receive() error {
	open := map[[16]byte]*batch{}
	defer func() {
		for _, b := range open {
			b.release()
		}
	}()
	for {
		chunk := batchChunks.Get().(*batchChunk)
		if err := c.stream.RecvMsg(chunk); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		b := open[chunk.correlation]
		switch {
		case chunk.hasOptions || b == nil && chunk.bad != nil:
			if b != nil {
				b.release()
			}
			if b == nil && len(open) >= maxOpenBatches {
				chunk.release()
				return badRequest("more than %d appends are open on one call", maxOpenBatches)
			}
			b = c.begin(chunk)
			open[chunk.correlation] = b
		case b == nil:
			chunk.release() // unknown correlation: ignored
			continue
		}
		final := chunk.final
		c.server.gather(b, chunk) // the chunk is the append's from here on
		if !final {
			continue
		}
		delete(open, b.correlation)
		if err := c.complete(b); err != nil {
			return err
		}
	}
}

func (c *batchCall) begin(chunk *batchChunk) *batch {
	b := &batch{correlation: chunk.correlation, correlationRaw: append([]byte(nil), chunk.correlationRaw...), target: chunk.target, deadline: chunk.deadline}
	if chunk.timeout > 0 {
		b.deadline = time.Now().Add(chunk.timeout)
	}
	if b.bad = chunk.target.check(); b.bad == nil {
		b.bad = c.server.access.write(c.ctx, chunk.target.stream)
	}
	return b
}

// gather adds the events of one chunk to its append. After a refusal nothing more is kept.
func (s *Server) gather(b *batch, chunk *batchChunk) {
	if b.bad == nil {
		b.bad = chunk.bad
	}
	for i := range chunk.proposals {
		if b.bad != nil {
			break
		}
		b.bad = s.admit(b.target.stream, &chunk.proposals[i], &b.total)
		b.events = append(b.events, chunk.proposals[i].event)
	}
	b.chunks = append(b.chunks, chunk)
	if b.bad != nil {
		b.release()
		b.events = nil
	}
}

// complete starts an append whose last chunk has come. It returns only errors that end the call.
func (c *batchCall) complete(b *batch) error {
	select {
	case c.slots <- struct{}{}:
	case <-c.ctx.Done():
		b.release()
		return context.Cause(c.ctx)
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		b.release()
		return errStopping
	}
	c.running.Add(1)
	c.mu.Unlock()
	started := false
	defer func() {
		if !started {
			c.running.Done()
		}
	}()
	if b.bad != nil {
		c.answer(b, stream.Outcome{}, b.bad)
		return nil
	}
	timeout := maxTime
	if !b.deadline.IsZero() {
		if timeout = time.Until(b.deadline); timeout <= 0 {
			b.release()
			c.answer(b, stream.Outcome{}, errPastDeadline)
			return nil
		}
	}
	cmd, err := stream.NewAppend(c.server.limits, stream.Write{Stream: b.target.stream, Expected: b.target.expected, Events: b.events})
	b.release()
	b.events = nil
	if err != nil {
		c.answer(b, stream.Outcome{}, builderError(err))
		return nil
	}
	started = true
	now := time.Now()
	u := &underWay{batch: b, cmd: cmd, events: cmd.NumEvents(), began: now, deadline: now.Add(min(timeout, c.server.writeTimeout)), done: make(chan struct{}), before: c.tail(b.target.stream)}
	c.tails[b.target.stream] = u
	if u.span = c.server.tracer.Begin(c.parent, spanBatchAppend, trace.Server); u.span != nil {
		cmd.Trace = u.span.Context()
	}
	if starter, ok := c.server.backend.(Starter); ok && !u.before.waiting() {
		proposal, err := starter.Start(cmd)
		switch {
		case err == nil:
			u.proposal = proposal
			c.started <- u // has room for every slot
			return nil
		case !errors.Is(err, replica.ErrNotAppended):
			c.finish(u, stream.Outcome{}, err)
			return nil
		}
	}
	go c.run(u)
	return nil
}

// underWay is an append whose last chunk has come and whose answer has not been given.
type underWay struct {
	batch    *batch
	cmd      *stream.Command
	deadline time.Time
	proposal *replica.Proposal // nil: not started on this node
	before   *underWay         // the append before it to the same stream; nil if there is none
	done     chan struct{}     // closed when it has been answered
	began    time.Time
	span     *tracing.Active
	events   int
}

// waiting says that an append goes by way of another node, so that later ones must not be started here before it is done.
func (u *underWay) waiting() bool {
	if u == nil || u.proposal != nil {
		return false
	}
	select {
	case <-u.done:
		return false
	default:
		return true
	}
}

// tail is the last append under way to a stream, nil if there is none. Only the receiving goroutine looks at tails.
func (c *batchCall) tail(name string) *underWay {
	if len(c.tails) > 2*maxInFlightBatches {
		for name, tail := range c.tails {
			select {
			case <-tail.done:
				delete(c.tails, name)
			default:
			}
		}
	}
	return c.tails[name]
}

// await waits for the started appends in the order they were started, which is the order of the log: waiting for one seldom keeps back the answer of
// another.
func (c *batchCall) await() {
	starter, _ := c.server.backend.(Starter)
	for u := range c.started {
		select {
		case <-u.proposal.Done: // no timer for what is decided already
			c.decided(u, u.proposal.Outcome, u.proposal.Err)
			continue
		default:
		}
		ctx, cancel := context.WithDeadlineCause(c.ctx, u.deadline, replica.ErrTimeout)
		outcome, err := starter.Await(ctx, u.proposal)
		cancel()
		c.decided(u, outcome, err)
	}
}

// decided answers a started append, or gives it to the node to send elsewhere if leadership moved before it was appended.
func (c *batchCall) decided(u *underWay, outcome stream.Outcome, err error) {
	if errors.Is(err, replica.ErrNotAppended) {
		go c.run(u)
		return
	}
	c.finish(u, outcome, err)
}

// run carries an append out through the node, after the one before it to the same stream: commands on their way to another node may overtake each other.
func (c *batchCall) run(u *underWay) {
	if u.before != nil {
		<-u.before.done
	}
	// The node bounds the write itself, from now on: waiting for its turn must not use up its time. The client's own wish counts from the start.
	deadline := u.batch.deadline
	if deadline.IsZero() {
		deadline = time.Now().Add(c.server.writeTimeout)
	}
	ctx, cancel := context.WithDeadlineCause(c.ctx, deadline, replica.ErrTimeout)
	defer cancel()
	outcome, err := c.server.backend.Append(ctx, u.cmd, c.leaderOnly)
	if err != nil && errors.Is(context.Cause(ctx), replica.ErrTimeout) {
		err = replica.ErrTimeout
	}
	c.finish(u, outcome, err)
}

// finish answers one append.
func (c *batchCall) finish(u *underWay, outcome stream.Outcome, err error) {
	defer c.running.Done()
	defer close(u.done)
	u.span.End(err)
	c.server.metrics.appended(&outcome, err, u.events, u.began)
	u.before, u.cmd = nil, nil // a chain of them would keep every append of the call in memory
	var notLeader *replica.NotLeaderError
	if errors.As(err, &notLeader) && leaderTrailer(notLeader) != nil {
		c.stop(err) // the one answer that ends the whole call
		<-c.slots
		return
	}
	c.answer(u.batch, outcome, err)
}

var errPastDeadline = errors.New("the deadline had passed before the append began")

// answer queues the answer to one append, which holds a slot.
func (c *batchCall) answer(b *batch, o stream.Outcome, err error) {
	a := batchAnswer{correlation: b.correlationRaw, stream: b.target.stream, expected: b.target.expected}
	if err == nil && o.Kind == stream.Done {
		a.last, a.position, a.hasPosition = o.Writes[0].Last, o.Position, o.HasPosition
	} else {
		a.refused = batchError(b, &o, err)
	}
	c.answers <- a
}

// batchAnswer is a BatchAppendResp before it is written.
type batchAnswer struct {
	correlation []byte // UUID message in the form it came in
	stream      string
	expected    stream.Expected
	refused     *statuspb.Status // nil: done
	last        int64
	position    uint64
	hasPosition bool
}

// append writes the answer in wire form.
func (a *batchAnswer) append(b []byte) ([]byte, error) {
	b = append(b, 1<<3|2) // correlation_id
	b = protowire.AppendBytes(b, a.correlation)
	if a.refused != nil {
		status, err := proto.Marshal(a.refused)
		if err != nil {
			return b, err
		}
		b = append(b, 2<<3|2) // error
		b = protowire.AppendBytes(b, status)
	} else {
		b = a.success(b)
	}
	b = append(b, 4<<3|2) // stream_identifier
	b = protowire.AppendVarint(b, uint64(lengthSize(len(a.stream))))
	b = append(b, 3<<3|2)
	b = protowire.AppendString(b, a.stream)
	switch a.expected {
	case stream.NoStream:
		b = append(b, 6<<3|2, 0)
	case stream.Any:
		b = append(b, 7<<3|2, 0)
	case stream.Exists:
		b = append(b, 8<<3|2, 0)
	default:
		b = protowire.AppendVarint(append(b, 5<<3), uint64(a.expected))
	}
	return b, nil
}

func (a *batchAnswer) success(b []byte) []byte {
	revision, position := 2, 2 // no_stream, no_position
	if a.last >= 0 {
		revision = 1 + varintSize(uint64(a.last))
	}
	pair := 2 * (1 + varintSize(a.position))
	if a.hasPosition {
		position = lengthSize(pair)
	}
	b = append(b, 3<<3|2) // success
	b = protowire.AppendVarint(b, uint64(revision+position))
	if a.last >= 0 {
		b = protowire.AppendVarint(append(b, 1<<3), uint64(a.last))
	} else {
		b = append(b, 2<<3|2, 0)
	}
	if !a.hasPosition {
		return append(b, 4<<3|2, 0)
	}
	b = protowire.AppendVarint(append(b, 3<<3|2), uint64(pair))
	b = protowire.AppendVarint(append(b, 1<<3), a.position)
	return protowire.AppendVarint(append(b, 2<<3), a.position)
}

// batchError is the status packed into one answer, with exactly one detail.
func batchError(b *batch, o *stream.Outcome, err error) *statuspb.Status {
	var (
		largeAppend *appendTooLarge
		largeEvent  *eventTooLarge
		bad         *refusal
	)
	switch {
	case err == nil && o.Kind == stream.Conflict:
		return packed(codes.AlreadyExists, "WrongExpectedVersion", sharedConflict(&o.Writes[0]))
	case err == nil && o.Kind == stream.StreamDeleted:
		return packed(codes.NotFound, "StreamDeleted", &client.StreamDeleted{StreamIdentifier: &client.StreamIdentifier{StreamName: []byte(b.target.stream)}})
	case err == nil:
		return packed(codes.InvalidArgument, "BadRequest", &client.BadRequest{Message: o.Reason})
	case errors.As(err, &largeAppend):
		return packed(codes.InvalidArgument, "MaximumAppendSizeExceeded", &client.MaximumAppendSizeExceeded{MaxAppendSize: uint32(largeAppend.limit)})
	case errors.As(err, &largeEvent):
		return packed(codes.InvalidArgument, "MaximumAppendEventSizeExceeded", &client.MaximumAppendEventSizeExceeded{
			EventId: string(appendUUID(nil, largeEvent.id)), ProposedEventSize: uint32(largeEvent.size), MaxAppendEventSize: uint32(largeEvent.limit)})
	case errors.Is(err, errMissingProperty), errors.As(err, &bad):
		return packed(codes.InvalidArgument, "BadRequest", &client.BadRequest{Message: err.Error()})
	case errors.Is(err, errAccessDenied):
		return packed(codes.PermissionDenied, "AccessDenied", &client.AccessDenied{})
	case errors.Is(err, replica.ErrTimeout), errors.Is(err, errPastDeadline), errors.Is(err, context.DeadlineExceeded):
		return packed(codes.DeadlineExceeded, "Timeout", &client.Timeout{})
	case unavailable(err):
		return packed(codes.Unavailable, "Server Is Not Ready", &client.Empty{})
	}
	return packed(codes.Unknown, "Unknown", &client.Unknown{})
}

func packed(code codes.Code, message string, detail proto.Message) *statuspb.Status {
	st := &statuspb.Status{Code: int32(code), Message: message}
	if packed, err := anypb.New(detail); err == nil {
		st.Details = []*anypb.Any{packed}
	}
	return st
}
