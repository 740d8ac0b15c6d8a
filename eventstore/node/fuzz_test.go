package node

import (
	"context"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"baton/eventstore/membership"
	"baton/eventstore/stream"
)

// Goal: no request and no report of a peer ends a node; what it answers can be read, and what it appends is a command that was whole.
// Method: every kind of request but those by which members come, go and lead: one of them would decide about those after it.
func FuzzPeerRequests(f *testing.F) {
	address := freeAddress(f)
	n, err := Start(Config{Dir: filepath.Join(f.TempDir(), "data"), Name: "a", ClusterSize: 1, PeerListen: address, PeerSeeds: []string{address},
		ClientHost: "127.0.0.1", ClientPort: 20_000, SegmentBytes: 1 << 20,
		Settle: 100 * time.Millisecond, WriteTimeout: time.Minute})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { n.Stop() })
	eventually(f, "the node serves", func() error {
		if ready, why := n.Ready(); !ready {
			return &notReady{why}
		}
		return nil
	})
	kinds := []uint8{requestMeet, requestPrepare, requestAccept, requestFormed, requestAppend, requestTraced, requestFrames, 0, 200}
	cmd, err := stream.NewAppend(stream.Limits{}, stream.Write{Stream: "s", Expected: stream.Any, Events: []stream.Event{event(1)}})
	if err != nil {
		f.Fatal(err)
	}
	founding, err := json.Marshal(membership.Acceptor{Promised: membership.Ballot{Round: 1, Proposer: 3}, Value: &membership.Founding{ClusterID: "c", Founders: []membership.Member{{ID: 3}}}})
	if err != nil {
		f.Fatal(err)
	}
	for i := range kinds {
		for _, payload := range [][]byte{nil, []byte("null"), []byte(`{"value":{"founders":[null]},"ballot":{"round":18446744073709551615}}`), founding, cmd.Bytes(), cmd.Bytes()[:9], append([]byte{1, 0, 0}, cmd.Bytes()...)} {
			f.Add(uint8(i), payload)
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, payload []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		kind := kinds[int(which)%len(kinds)]
		n.takeReport(7, payload)
		answer, err := n.answerRequest(ctx, 7, kind, append([]byte(nil), payload...))
		switch {
		case ctx.Err() != nil:
			t.Fatalf("request %d is not answered", kind)
		case err == nil && !json.Valid(answer):
			t.Fatalf("request %d is answered with %q", kind, answer)
		}
	})
}

type notReady struct{ why string }

func (e *notReady) Error() string { return e.why }
