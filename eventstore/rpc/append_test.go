package rpc

import (
	"math"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"baton/eventstore/stream"
	"baton/gen/eventstore/client"
	"baton/gen/eventstore/streams"
)

// Property: the hand-written answers are what the generated code reads.
func TestBatchAnswersAreReadByTheGeneratedCode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := batchAnswer{
			correlation: marshalUUID(textUUID(sampleText)), stream: rapid.String().Draw(t, "stream"),
			expected:    stream.Expected(rapid.SampledFrom([]int64{-1, -2, -4, 0, 1, 300, math.MaxInt64}).Draw(t, "expected")),
			last:        rapid.SampledFrom([]int64{-1, 0, 127, 128, math.MaxInt64}).Draw(t, "last"),
			position:    rapid.Uint64().Draw(t, "position"),
			hasPosition: rapid.Bool().Draw(t, "has position"),
		}
		if rapid.Bool().Draw(t, "refused") {
			a.refused = packed(codes.DeadlineExceeded, "Timeout", &client.Timeout{})
		}
		b, err := a.append(nil)
		if err != nil {
			t.Fatal(err)
		}
		var got streams.BatchAppendResp
		if err := proto.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		if got.GetCorrelationId().GetString_() != sampleText || string(got.GetStreamIdentifier().GetStreamName()) != a.stream || len(got.ProtoReflect().GetUnknown()) > 0 {
			t.Fatalf("got %v", &got)
		}
		switch a.expected {
		case stream.NoStream:
			if got.GetNoStream() == nil {
				t.Fatal("no stream")
			}
		case stream.Any:
			if got.GetAny() == nil {
				t.Fatal("any")
			}
		case stream.Exists:
			if got.GetStreamExists() == nil {
				t.Fatal("exists")
			}
		default:
			if got.GetStreamPosition() != uint64(a.expected) {
				t.Fatal("revision")
			}
		}
		if a.refused != nil {
			if got.GetError().GetCode() != int32(codes.DeadlineExceeded) || len(got.GetError().GetDetails()) != 1 {
				t.Fatalf("refusal %v", got.GetError())
			}
			return
		}
		s := got.GetSuccess()
		if (a.last < 0) != (s.GetNoStream() != nil) || a.last >= 0 && s.GetCurrentRevision() != uint64(a.last) || a.hasPosition != (s.GetPosition() != nil) ||
			a.hasPosition && (s.GetPosition().GetCommitPosition() != a.position || s.GetPosition().GetPreparePosition() != a.position) {
			t.Fatalf("success %v of %+v", s, a)
		}
	})
}

func marshalUUID(id *client.UUID) []byte {
	b, err := proto.Marshal(id)
	if err != nil {
		panic(err)
	}
	return b
}
