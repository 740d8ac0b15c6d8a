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
	// maxOpenAppends bounds the bytes of those, in appends of the largest size there may be.
	maxOpenAppends = 64
	// maxInFlightBatches is how many complete appends of one call may be under way; reading pauses there, so that a client feels the pressure.
	maxInFlightBatches = 2048
	// maxAnswers is how many answers wait for each other before they are written.
	maxAnswers = 256
)

// batch is one append of a BatchAppend call: first while its chunks arrive, then while it is under way.
type batch struct {
	correlation    [16]byte
	correlationRaw []byte
	target         target
	wish           time.Time     // the client's deadline; zero if it has none
	chunks         []*batchChunk // hold the bytes the events alias
	events         []stream.Event
	total          int
	bad            error

	// Since its last chunk has come.
	cmd      *stream.Command
	began    time.Time
	deadline time.Time
	proposal *replica.Proposal // nil: not started on this node
	before   *batch            // the append before it to the same stream; nil if there is none
	over     answered
	span     *tracing.Active
	count    int // events

	// Most appends are one chunk with one event under a short id.
	rawRoom   [32]byte
	chunkRoom [1]*batchChunk
	eventRoom [1]stream.Event
}

func (b *batch) release() {
	for i, c := range b.chunks {
		c.release()
		batchChunks.Put(c)
		b.chunks[i] = nil
	}
	b.chunks = nil
}

// answered tells whether an append has its answer. Few ask, so the channel they wait on is made for them.
type answered struct {
	mu   sync.Mutex
	done bool
	wait chan struct{}
}

func (a *answered) is() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.done
}

func (a *answered) set() {
	a.mu.Lock()
	a.done = true
	if a.wait != nil {
		close(a.wait)
	}
	a.mu.Unlock()
}

// await returns once there is an answer.
func (a *answered) await() {
	a.mu.Lock()
	if a.done {
		a.mu.Unlock()
		return
	}
	if a.wait == nil {
		a.wait = make(chan struct{})
	}
	wait := a.wait
	a.mu.Unlock()
	<-wait
}

// batchChunks recycles the memory of received chunks.
var batchChunks = sync.Pool{New: func() any { return new(batchChunk) }}

// batchCall is one BatchAppend call: a reader, the appends under way, and one sender.
type batchCall struct {
	server  *Server
	ctx     context.Context
	stream  grpc.ServerStream
	answers chan batchAnswer // of appends that were not started here; has room for one per slot, so that answering never blocks
	slots   chan struct{}    // one for each append from its last chunk until its answer is sent
	started chan *batch      // handed to this node's own log, in order; has room for one per slot
	over    chan struct{}    // closed when no append is under way and none can begin

	mu      sync.Mutex
	closed  bool           // no more appends may begin
	running sync.WaitGroup // appends under way; added to only under mu while not closed

	leaderOnly bool
	tails      map[string]*batch // the last append to a stream; only the receiving goroutine looks here
	parent     *trace.Context    // the call's place in a trace; nil: it has none

	// stop ends the call with an error; only a not-leader answer does.
	stop context.CancelCauseFunc
}

// BatchAppend reads many appends and answers each as it completes, in any order.
func (s *Server) BatchAppend(ss grpc.BidiStreamingServer[streams.BatchAppendReq, streams.BatchAppendResp]) error {
	ctx, stop := context.WithCancelCause(ss.Context())
	c := &batchCall{
		server: s, ctx: ctx, stream: ss, stop: stop,
		answers: make(chan batchAnswer, maxInFlightBatches),
		started: make(chan *batch, maxInFlightBatches),
		slots:   make(chan struct{}, maxInFlightBatches),
		over:    make(chan struct{}),

		leaderOnly: requiresLeader(ctx),
		tails:      map[string]*batch{},
		parent:     s.parent(ctx),
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		c.send()
	}()
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
	close(c.over)
	<-sent
	if cause := context.Cause(ctx); err == nil && cause != nil {
		err = cause
	}
	stop(nil)
	return s.fail(ss.Context(), err)
}

// send waits for the started appends in the order they were started, which is the order of the log: waiting for one seldom keeps back the answer of
// another. It writes answers, all that are there in one write, until there are no more. After a failed write it only drains.
func (c *batchCall) send() {
	w := answerWriter{c: c, f: frames{stream: c.stream}, now: time.Now()}
	defer w.f.drop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var first *batch // started and not decided when it was last looked at
	for {
		// All that can be answered now.
		if first == nil {
			select {
			case first = <-c.started:
			case a := <-c.answers:
				w.add(a)
				continue
			default:
			}
		}
		if first != nil {
			select {
			case <-first.proposal.Done:
				c.decided(first, first.proposal.Outcome, first.proposal.Err, &w)
				first = nil
				continue
			case a := <-c.answers:
				w.add(a)
				continue
			default:
			}
		}
		w.flush()
		// Nothing: wait.
		var decided <-chan struct{}
		var expired <-chan time.Time
		started := c.started
		if first != nil {
			started, decided = nil, first.proposal.Done
			timer.Reset(time.Until(first.deadline))
			expired = timer.C
		}
		gone := c.ctx.Done()
		if first == nil {
			gone = nil
		}
		select {
		case first = <-started:
		case a := <-c.answers:
			w.add(a)
		case <-decided:
		case <-expired:
			c.give(first, &w)
			first = nil
		case <-gone:
			c.give(first, &w)
			first = nil
		case <-c.over:
			// Every append was answered before; what is queued goes out.
			for len(c.answers) > 0 {
				w.add(<-c.answers)
			}
			w.flush()
			return
		}
		w.now = time.Now()
	}
}

// give answers an append that is not waited for any longer.
func (c *batchCall) give(b *batch, w *answerWriter) {
	select {
	case <-b.proposal.Done:
		c.decided(b, b.proposal.Outcome, b.proposal.Err, w)
	default:
		c.decided(b, stream.Outcome{}, replica.ErrTimeout, w)
	}
}

// answerWriter gathers answers and sends them together. Of the sender's goroutine only.
type answerWriter struct {
	c       *batchCall
	f       frames
	scratch []byte
	slots   int // of answers since the last flush
	failed  bool
	now     time.Time // when the sender last waited or wrote
}

func (w *answerWriter) add(a batchAnswer) {
	if w.slots++; w.slots >= maxAnswers {
		defer w.flush()
	}
	if w.failed {
		return
	}
	var err error
	if w.scratch, err = a.append(w.scratch[:0]); err == nil {
		err = w.f.addBytes(w.scratch)
	}
	w.fail(err)
}

func (w *answerWriter) flush() {
	if w.slots == 0 {
		return
	}
	if !w.failed {
		w.fail(w.f.flush())
	}
	for ; w.slots > 0; w.slots-- {
		<-w.c.slots
	}
	w.now = time.Now()
}

func (w *answerWriter) fail(err error) {
	if err != nil {
		w.failed = true
		w.c.stop(err)
	}
}

// receive reads chunks until the client half-closes.
func (c *batchCall) receive() error {
	open := map[[16]byte]*batch{}
	held := 0 // bytes of events of those that are open
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
				held -= b.held()
				b.release()
			}
			if b == nil && len(open) >= maxOpenBatches {
				chunk.release()
				return badRequest("more than %d appends are open on one call", maxOpenBatches)
			}
			if b = c.begin(chunk); !chunk.final {
				open[chunk.correlation] = b
			}
		case b == nil:
			chunk.release() // unknown correlation: ignored
			continue
		}
		final := chunk.final
		held -= b.held()
		c.server.gather(b, chunk) // the chunk is the append's from here on
		if !final {
			if held += b.held(); held > maxOpenAppends*c.server.limits.MaxAppendBytes {
				return badRequest("the open appends of one call hold more than %d times the bytes of the largest append", maxOpenAppends)
			}
			continue
		}
		delete(open, b.correlation)
		if err := c.complete(b); err != nil {
			return err
		}
	}
}

// held is how many bytes of events wait for the append's last chunk; none after a refusal.
func (b *batch) held() int {
	if b.bad != nil {
		return 0
	}
	return b.total
}

func (c *batchCall) begin(chunk *batchChunk) *batch {
	b := &batch{correlation: chunk.correlation, target: chunk.target, wish: chunk.deadline}
	b.correlationRaw = append(b.rawRoom[:0], chunk.correlationRaw...)
	b.chunks, b.events = b.chunkRoom[:0], b.eventRoom[:0]
	if chunk.timeout > 0 {
		b.wish = time.Now().Add(chunk.timeout)
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
	if len(chunk.proposals) == 0 {
		chunk.release() // it holds nothing that is needed: any number of them costs nothing
		batchChunks.Put(chunk)
	} else {
		b.chunks = append(b.chunks, chunk)
	}
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
	now := time.Now()
	timeout := maxTime
	if !b.wish.IsZero() {
		if timeout = b.wish.Sub(now); timeout <= 0 {
			b.release()
			c.answer(b, stream.Outcome{}, errPastDeadline)
			return nil
		}
	}
	cmd, err := stream.NewAppend(c.server.limits, stream.Write{Stream: b.target.stream, Expected: b.target.expected, Events: b.events})
	b.release()
	b.events, b.eventRoom[0] = nil, stream.Event{} // they alias what was released
	if err != nil {
		c.answer(b, stream.Outcome{}, builderError(err))
		return nil
	}
	started = true
	b.cmd, b.began, b.deadline, b.before = cmd, now, now.Add(min(timeout, c.server.writeTimeout)), c.tail(b.target.stream)
	c.tails[b.target.stream] = b
	b.count = cmd.NumEvents()
	if b.span = c.server.tracer.Begin(c.parent, spanBatchAppend, trace.Server); b.span != nil {
		cmd.Trace = b.span.Context()
	}
	if starter, ok := c.server.backend.(Starter); ok && !b.before.waiting() {
		proposal, err := starter.Start(cmd)
		switch {
		case err == nil:
			b.proposal = proposal
			c.started <- b // has room for every slot
			return nil
		case !errors.Is(err, replica.ErrNotAppended):
			c.finish(b, stream.Outcome{}, err, now, nil)
			return nil
		}
	}
	go c.run(b)
	return nil
}

// waiting says that an append goes by way of another node, so that later ones must not be started here before it is done.
func (b *batch) waiting() bool { return b != nil && b.proposal == nil && !b.over.is() }

// tail is the last append under way to a stream, nil if there is none. Only the receiving goroutine looks at tails.
func (c *batchCall) tail(name string) *batch {
	if len(c.tails) > 2*maxInFlightBatches {
		for name, tail := range c.tails {
			if tail.over.is() {
				delete(c.tails, name)
			}
		}
	}
	return c.tails[name]
}

// decided answers a started append, or gives it to the node to send elsewhere if leadership moved before it was appended.
func (c *batchCall) decided(b *batch, outcome stream.Outcome, err error, w *answerWriter) {
	if errors.Is(err, replica.ErrNotAppended) {
		go c.run(b)
		return
	}
	c.finish(b, outcome, err, w.now, w)
}

// run carries an append out through the node, after the one before it to the same stream: commands on their way to another node may overtake each other.
func (c *batchCall) run(b *batch) {
	if b.before != nil {
		b.before.over.await()
	}
	// The node bounds the write itself, from now on: waiting for its turn must not use up its time. The client's own wish counts from the start.
	deadline := b.wish
	if deadline.IsZero() {
		deadline = time.Now().Add(c.server.writeTimeout)
	}
	ctx, cancel := context.WithDeadlineCause(c.ctx, deadline, replica.ErrTimeout)
	defer cancel()
	outcome, err := c.server.backend.Append(ctx, b.cmd, c.leaderOnly)
	if err != nil && errors.Is(context.Cause(ctx), replica.ErrTimeout) {
		err = replica.ErrTimeout
	}
	c.finish(b, outcome, err, time.Now(), nil)
}

// finish answers one append: into the sender's own hands, or its queue where w is nil.
func (c *batchCall) finish(b *batch, outcome stream.Outcome, err error, now time.Time, w *answerWriter) {
	defer c.running.Done()
	b.span.End(err)
	b.before, b.cmd = nil, nil // a chain of them would keep every append of the call in memory
	c.server.metrics.appended(&outcome, err, b.count, now.Sub(b.began))
	if err != nil {
		var notLeader *replica.NotLeaderError
		if errors.As(err, &notLeader) && leaderTrailer(notLeader) != nil {
			c.stop(err) // the one answer that ends the whole call
			<-c.slots
			b.over.set()
			return
		}
	}
	if w != nil {
		w.add(b.answer(&outcome, err))
	} else {
		c.answer(b, outcome, err)
	}
	b.over.set()
}

var errPastDeadline = errors.New("the deadline had passed before the append began")

// answer queues the answer to one append, which holds a slot.
func (c *batchCall) answer(b *batch, o stream.Outcome, err error) { c.answers <- b.answer(&o, err) }

func (b *batch) answer(o *stream.Outcome, err error) batchAnswer {
	a := batchAnswer{correlation: b.correlationRaw, stream: b.target.stream, expected: b.target.expected}
	if err == nil && o.Kind == stream.Done {
		a.last, a.position, a.hasPosition = o.Writes[0].Last, o.Position, o.HasPosition
	} else {
		a.refused = batchError(b, o, err)
	}
	return a
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
