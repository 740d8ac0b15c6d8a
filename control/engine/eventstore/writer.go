package eventstore

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"baton/control/engine"
	"baton/gen/eventstore/client"
	"baton/gen/eventstore/streams"

	"google.golang.org/grpc/metadata"
)

// retryPause is waited between two rounds over all nodes.
const retryPause = 20 * time.Millisecond

// Writer appends events, one at a time, to whichever node leads, and follows
// leadership: what a light client of the cluster does. It belongs to one goroutine.
type Writer struct {
	targets   []*probeTarget
	preferred int
}

// NewWriter connects to the instance and its peers.
func NewWriter(in engine.Instance) (*Writer, error) {
	ts, err := newTargets(in)
	if err != nil {
		return nil, err
	}
	return &Writer{targets: ts}, nil
}

// Append appends one JSON event and returns when it is acknowledged or ctx
// ends. Repeats carry the same event id, so the event is written once.
func (w *Writer) Append(ctx context.Context, stream, kind string, data []byte) error {
	msg := &streams.AppendReq_ProposedMessage{Id: newEventID(), Data: data, Metadata: map[string]string{"type": kind, "content-type": "application/json"}}
	var lastErr error
	for {
		for i := range w.targets {
			at := (w.preferred + i) % len(w.targets)
			actx, cancel := context.WithTimeout(ctx, 3*time.Second)
			lastErr = w.targets[at].append(actx, stream, msg)
			cancel()
			if lastErr == nil {
				w.preferred = at
				return nil
			}
			if ctx.Err() != nil {
				return fmt.Errorf("append to %s: %w", stream, errors.Join(ctx.Err(), lastErr))
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("append to %s: %w", stream, errors.Join(ctx.Err(), lastErr))
		case <-time.After(retryPause):
		}
	}
}

// newEventID is a version 4 UUID.
func newEventID() *client.UUID {
	var raw [16]byte
	rand.Read(raw[:])
	raw[6], raw[8] = raw[6]&0x0f|0x40, raw[8]&0x3f|0x80
	return &client.UUID{Value: &client.UUID_Structured_{Structured: &client.UUID_Structured{
		MostSignificantBits: int64(binary.BigEndian.Uint64(raw[:8])), LeastSignificantBits: int64(binary.BigEndian.Uint64(raw[8:]))}}}
}

// Close closes the connections.
func (w *Writer) Close() {
	for _, t := range w.targets {
		t.conn.Close()
	}
}

// append sends one event and returns nil when the leader acknowledged it.
func (t *probeTarget) append(ctx context.Context, stream string, msg *streams.AppendReq_ProposedMessage) error {
	s, err := t.api.Append(metadata.NewOutgoingContext(ctx, t.auth))
	if err != nil {
		return err
	}
	// A failed Send leaves its reason to CloseAndRecv.
	_ = s.Send(&streams.AppendReq{Content: &streams.AppendReq_Options_{Options: &streams.AppendReq_Options{
		StreamIdentifier:       &client.StreamIdentifier{StreamName: []byte(stream)},
		ExpectedStreamRevision: &streams.AppendReq_Options_Any{Any: &client.Empty{}}}}})
	_ = s.Send(&streams.AppendReq{Content: &streams.AppendReq_ProposedMessage_{ProposedMessage: msg}})
	resp, err := s.CloseAndRecv()
	if err == nil && resp.GetSuccess() == nil {
		err = errRefused
	}
	return err
}

var errRefused = errors.New("the append was refused")
