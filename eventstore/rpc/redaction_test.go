package rpc_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"baton/gen/eventstore/client"
	"baton/gen/eventstore/operations"
	"baton/gen/eventstore/redaction"
	"baton/gen/eventstore/streams"
)

// testRedactionCalls asks where events stand, under both names of the service, has files switched, which is refused, and has the index merged.
func testRedactionCalls(t *testing.T, ctx context.Context, s *served) {
	t.Helper()
	mustWrite(t, s, "where", event("a", "1"), event("a", "2"))
	want := uint64(0)
	for _, r := range mustRead(t, s, ask(func(o *streams.ReadReq_Options) { o.StreamOption = fromStart("where") })) {
		if e := r.GetEvent().GetEvent(); e.GetStreamRevision() == 1 {
			want = e.GetPreparePosition()
		}
	}
	segment := s.node.Segments()[0]

	for _, name := range []string{"event_store.client.redaction.Redaction", "kurrent.client.redaction.Redaction"} {
		conn := &renamed{s.conn, "/event_store.client.redaction.Redaction/", "/" + name + "/"}
		positions, err := redaction.NewRedactionClient(conn).GetEventPositions(ctx)
		if err != nil {
			t.Fatal(err)
		}
		place := func(stream string, revision uint64) ([]*redaction.EventPosition, error) {
			if err := positions.Send(&redaction.GetEventPositionReq{StreamIdentifier: &client.StreamIdentifier{StreamName: []byte(stream)}, StreamRevision: revision}); err != nil {
				return nil, err
			}
			answer, err := positions.Recv()
			return answer.GetEventPositions(), err
		}
		found, err := place("where", 1)
		if err != nil || len(found) != 1 || found[0].LogPosition != want {
			t.Fatalf("%s: %v, %v; want position %d", name, found, err, want)
		}
		if c := found[0].ChunkInfo; !strings.HasSuffix(segment.Path, "/"+c.GetFileName()) || c.GetIsComplete() || uint64(c.GetEventOffset()) != want-segment.Base {
			t.Errorf("%s: in %v, want %+v", name, c, segment)
		}
		for _, none := range []uint64{2, 1 << 63} {
			if found, err := place("where", none); err != nil || len(found) != 0 {
				t.Errorf("%s: revision %d: %v, %v", name, none, found, err)
			}
		}
		if _, err := place("", 0); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: without a stream: %v", name, err)
		}
	}

	files, err := redaction.NewRedactionClient(s.conn).SwitchChunks(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := files.Send(&redaction.SwitchChunkReq{TargetChunkFile: "a", NewChunkFile: "b"}); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	_, err = files.Recv()
	trailer := files.Trailer()
	if status.Code(err) != codes.FailedPrecondition || strings.Join(trailer["exception"], "") != "redaction-switch-chunk-failed" || !strings.Contains(strings.Join(trailer["reason"], ""), "POST /admin/redact") {
		t.Errorf("switch: %v, %v", err, trailer)
	}

	if _, err := operations.NewOperationsClient(s.conn).MergeIndexes(ctx, &client.Empty{}); err != nil {
		t.Errorf("merge the index: %v", err)
	}
	eventually(t, "the index is merged", func() error {
		if s.node.MergingIndexes() {
			return errors.New("not yet")
		}
		return nil
	})
	if code, answer := call(t, s, "POST", "/admin/mergeindexes"); code != http.StatusOK || answer["started"] != true {
		t.Errorf("merge by HTTP: %d, %v", code, answer)
	}
}

// renamed is a connection that calls a service by another name.
type renamed struct {
	grpc.ClientConnInterface
	from, to string
}

func (r *renamed) NewStream(ctx context.Context, d *grpc.StreamDesc, method string, o ...grpc.CallOption) (grpc.ClientStream, error) {
	return r.ClientConnInterface.NewStream(ctx, d, strings.Replace(method, r.from, r.to, 1), o...)
}
