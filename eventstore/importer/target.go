package importer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"baton/gen/eventstore/client"
	"baton/gen/eventstore/streams"
)

const (
	// maxBatches and maxBytes bound the appends under way.
	maxBatches = 256
	maxBytes   = 32 << 20
	// maxBatchEvents and maxBatchBytes bound one append of joined events.
	maxBatchEvents = 500
	maxBatchBytes  = 512 << 10
	// appendDeadline is what the server is given for one append.
	appendDeadline = 30 * time.Second
	// patience bounds how long one append is tried again while the target moves
	// leadership or cannot be reached.
	patience = 2 * time.Minute
)

// batch is one append.
type batch struct {
	stream   string
	expected int64 // the revision before the first event; anyRevision for metadata
	events   []*streams.BatchAppendReq_ProposedMessage
	bytes    int
}

const anyRevision = -2

// target writes batches in order, many under way at once.
type target struct {
	ctx    context.Context
	client streams.StreamsClient

	call  streams.Streams_BatchAppendClient
	mu    sync.Mutex
	sent  map[uint64]*batch // by number; not answered yet
	next  uint64
	bytes int
	// careful: the target held streams of others before. The second append to a
	// stream then waits for the answer to the first, lest it fits what is there.
	careful bool
	running map[string]int  // appends not answered yet, by stream
	known   map[string]bool // streams of which an append was acknowledged
	failed  []failure       // in order of sending
	broken  error           // why the call ended; its unanswered batches are in failed
	changed chan struct{}
}

type failure struct {
	number uint64
	batch  *batch
	err    error
}

func newTarget(ctx context.Context, conn *grpc.ClientConn) *target {
	return &target{ctx: ctx, client: streams.NewStreamsClient(conn), sent: map[uint64]*batch{}, running: map[string]int{}, known: map[string]bool{}, changed: make(chan struct{}, 1)}
}

// append sends a batch. What went wrong with earlier ones is put right first.
func (t *target) append(b *batch) error {
	for {
		t.mu.Lock()
		wrong := len(t.failed) > 0 || t.broken != nil
		full := len(t.sent) >= maxBatches || t.bytes > maxBytes || t.careful && t.running[b.stream] > 0 && !t.known[b.stream]
		t.mu.Unlock()
		switch {
		case wrong:
			if err := t.drain(); err != nil {
				return err
			}
		case full:
			if err := t.wait(); err != nil {
				return err
			}
		default:
			if sent, err := t.send(b); sent || err != nil {
				return err
			}
		}
	}
}

func (t *target) wait() error {
	select {
	case <-t.changed:
		return nil
	case <-t.ctx.Done():
		return t.ctx.Err()
	}
}

// send is false if the call ended before.
func (t *target) send(b *batch) (bool, error) {
	if t.call == nil {
		call, err := t.client.BatchAppend(t.ctx)
		if err != nil {
			return false, fmt.Errorf("begin to append at the target: %w", err)
		}
		t.call = call
		go t.receive(call)
	}
	t.mu.Lock()
	if t.broken != nil {
		t.mu.Unlock()
		return false, nil
	}
	t.next++
	number := t.next
	t.sent[number] = b
	if t.careful {
		t.running[b.stream]++
	}
	t.bytes += b.bytes
	t.mu.Unlock()
	// An error of Send says only that the call ended; receive learns why.
	if err := t.call.Send(request(number, b)); err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("append at the target: %w", err)
	}
	return true, nil
}

func request(number uint64, b *batch) *streams.BatchAppendReq {
	o := &streams.BatchAppendReq_Options{
		StreamIdentifier: &client.StreamIdentifier{StreamName: []byte(b.stream)},
		DeadlineOption:   &streams.BatchAppendReq_Options_Deadline{Deadline: durationpb.New(appendDeadline)},
	}
	switch {
	case b.expected == anyRevision:
		o.ExpectedStreamPosition = &streams.BatchAppendReq_Options_Any{Any: &emptypb.Empty{}}
	case b.expected < 0:
		o.ExpectedStreamPosition = &streams.BatchAppendReq_Options_NoStream{NoStream: &emptypb.Empty{}}
	default:
		o.ExpectedStreamPosition = &streams.BatchAppendReq_Options_StreamPosition{StreamPosition: uint64(b.expected)}
	}
	return &streams.BatchAppendReq{CorrelationId: &client.UUID{Value: &client.UUID_Structured_{Structured: &client.UUID_Structured{LeastSignificantBits: int64(number)}}},
		Options: o, ProposedMessages: b.events, IsFinal: true}
}

// receive takes the answers of one call until it ends.
func (t *target) receive(call streams.Streams_BatchAppendClient) {
	for {
		answer, err := call.Recv()
		t.mu.Lock()
		if err != nil {
			t.broken = err
			for number, b := range t.sent {
				t.failed = append(t.failed, failure{number: number, batch: b, err: err})
			}
			clear(t.sent)
			clear(t.running)
			t.bytes = 0
		} else {
			t.answered(uint64(answer.GetCorrelationId().GetStructured().GetLeastSignificantBits()), answer.GetError())
		}
		t.mu.Unlock()
		select {
		case t.changed <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

// answered holds mu.
func (t *target) answered(number uint64, failed *rpcstatus.Status) {
	b := t.sent[number]
	if b == nil {
		return
	}
	delete(t.sent, number)
	t.bytes -= b.bytes
	if t.careful {
		if t.running[b.stream]--; t.running[b.stream] == 0 {
			delete(t.running, b.stream)
		}
		t.known[b.stream] = t.known[b.stream] || failed == nil
	}
	if failed != nil {
		t.failed = append(t.failed, failure{number: number, batch: b, err: status.ErrorProto(failed)})
	}
}

// drain waits until every append is answered and puts right, in order, what
// failed: events that were there already, and appends with unknown outcome.
func (t *target) drain() error {
	for {
		t.mu.Lock()
		busy := len(t.sent) > 0
		t.mu.Unlock()
		if !busy {
			break
		}
		if err := t.wait(); err != nil {
			return err
		}
	}
	t.mu.Lock()
	failed := t.failed
	t.failed = nil
	if t.broken != nil {
		t.call, t.broken = nil, nil
	}
	t.mu.Unlock()
	slices.SortFunc(failed, func(a, b failure) int { return cmp.Compare(a.number, b.number) })
	for _, f := range failed {
		if err := t.repair(f.batch, f.err); err != nil {
			return err
		}
	}
	return nil
}

// repair appends what is missing of a batch at the target and compares the rest.
func (t *target) repair(b *batch, cause error) error {
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	pause := 10 * time.Millisecond
	for {
		err := t.appendMissing(ctx, b)
		if err == nil || !again(err) {
			return err
		}
		select {
		case <-ctx.Done():
			if t.ctx.Err() != nil {
				return t.ctx.Err()
			}
			return fmt.Errorf("stream %q: the target took no append for %s; it first said %q, at last %q: mend it and import again, what is there is not written twice",
				b.stream, patience, status.Convert(cause).Message(), status.Convert(err).Message())
		case <-time.After(pause):
			pause = min(2*pause, time.Second)
		}
	}
}

// again reports whether the same append may succeed later.
func again(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Aborted, codes.ResourceExhausted, codes.NotFound, codes.Internal, codes.Canceled:
		return true
	}
	return false
}

// ConflictError says that the target holds other events than the source.
type ConflictError struct {
	Stream   string
	Revision int64
	Why      string
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("event %d of stream %q is not the source's: %s; import into an empty target, or delete the stream there first", e.Revision, e.Stream, e.Why)
}

func (t *target) appendMissing(ctx context.Context, b *batch) error {
	err := t.appendAlone(ctx, b)
	if err == nil || b.expected == anyRevision {
		return err
	}
	last, ok := conflict(err)
	switch {
	case streamDeleted(err):
		return nil // a tombstone already imported: the events before it are in the log
	case !ok:
		return err
	case last <= b.expected:
		return &ConflictError{Stream: b.stream, Revision: b.expected + 1, Why: fmt.Sprintf("the stream ends at %d there", last)}
	}
	there := min(int(last-b.expected), len(b.events))
	if err := t.compare(ctx, b, there); err != nil || there == len(b.events) {
		return err
	}
	return t.appendAlone(ctx, &batch{stream: b.stream, expected: b.expected + int64(there), events: b.events[there:]})
}

// conflict returns the last revision that a refused append named.
func conflict(err error) (last int64, ok bool) {
	for _, d := range status.Convert(err).Details() {
		if w, is := d.(*client.WrongExpectedVersion); is {
			if _, none := w.GetCurrentStreamRevisionOption().(*client.WrongExpectedVersion_CurrentStreamRevision); !none {
				return -1, true
			}
			return int64(w.GetCurrentStreamRevision()), true
		}
	}
	return 0, false
}

func streamDeleted(err error) bool {
	for _, d := range status.Convert(err).Details() {
		if _, is := d.(*client.StreamDeleted); is {
			return true
		}
	}
	return false
}

// appendAlone appends one batch on a call of its own.
func (t *target) appendAlone(ctx context.Context, b *batch) error {
	ctx, cancel := context.WithTimeout(ctx, appendDeadline)
	defer cancel()
	call, err := t.client.BatchAppend(ctx)
	if err != nil {
		return err
	}
	if err := call.Send(request(1, b)); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	answer, err := call.Recv()
	if err != nil {
		return err
	}
	if s := answer.GetError(); s != nil {
		return status.ErrorProto(s)
	}
	return nil
}

// compare checks that the first n events of the batch stand at the target, as
// far as they can be read there: truncated ones cannot.
func (t *target) compare(ctx context.Context, b *batch, n int) error {
	first := b.expected + 1
	return read(ctx, t.client, fromRevision(b.stream, first, n), func(r record) error {
		i := r.revision - first
		if i < 0 || i >= int64(n) {
			return nil
		}
		want, err := idOf(b.events[i].GetId())
		if err != nil {
			return err
		}
		if r.id != want {
			return &ConflictError{Stream: b.stream, Revision: r.revision, Why: fmt.Sprintf("there it has the id %s, at the source %s", r.id, want)}
		}
		return nil
	})
}

func (t *target) tombstone(ctx context.Context, stream string) error {
	if err := t.drain(); err != nil {
		return err
	}
	_, err := t.client.Tombstone(ctx, &streams.TombstoneReq{Options: &streams.TombstoneReq_Options{
		StreamIdentifier:       &client.StreamIdentifier{StreamName: []byte(stream)},
		ExpectedStreamRevision: &streams.TombstoneReq_Options_Any{Any: &client.Empty{}},
	}})
	if status.Code(err) == codes.FailedPrecondition {
		return nil // tombstoned already
	}
	if err != nil {
		return fmt.Errorf("tombstone stream %q at the target: %w", stream, err)
	}
	return nil
}

func proposed(id uuid.UUID, kind string, json bool, metadata, data []byte) *streams.BatchAppendReq_ProposedMessage {
	contentType := "application/octet-stream"
	if json {
		contentType = "application/json"
	}
	return &streams.BatchAppendReq_ProposedMessage{Id: wireID(id), CustomMetadata: metadata, Data: data,
		Metadata: map[string]string{"type": kind, "content-type": contentType}}
}
