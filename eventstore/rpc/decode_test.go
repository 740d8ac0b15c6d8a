package rpc

import (
	"bytes"
	"errors"
	"math"
	"testing"
	"time"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"baton/eventstore/stream"
	"baton/gen/eventstore/client"
	"baton/gen/eventstore/streams"
)

var sampleID = [16]byte{0xf0, 1, 2, 3, 4, 5, 6, 7, 0x88, 9, 10, 11, 12, 13, 14, 0xff}

const sampleText = "f0010203-0405-0607-8809-0a0b0c0d0eff"

func textUUID(s string) *client.UUID { return &client.UUID{Value: &client.UUID_String_{String_: s}} }

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAppendMessagesAreDecodedAsTheGeneratedCodeDoes(t *testing.T) {
	metadata := map[string]string{"type": "order-placed", "content-type": "application/json", "other": "x"}
	for _, id := range []*client.UUID{structuredUUID(sampleID), textUUID(sampleText)} {
		var c appendChunk
		b := marshal(t, &streams.AppendReq{Content: &streams.AppendReq_ProposedMessage_{ProposedMessage: &streams.AppendReq_ProposedMessage{
			Id: id, Metadata: metadata, CustomMetadata: []byte("meta"), Data: []byte("data")}}})
		if err := c.decodeWire(b, mem.SliceBuffer(b)); err != nil || c.bad != nil {
			t.Fatal(err, c.bad)
		}
		e := c.proposal.event
		if !c.isProposal || e.ID != sampleID || e.Type != "order-placed" || !e.JSON || string(e.Metadata) != "meta" || string(e.Data) != "data" {
			t.Errorf("decoded %+v", c)
		}
		if err := c.proposal.check(); err != nil {
			t.Error(err)
		}
	}
}

func TestOptionsAreDecoded(t *testing.T) {
	name := &client.StreamIdentifier{StreamName: []byte("orders-1")}
	for want, o := range map[stream.Expected]*streams.AppendReq_Options{
		7:               {StreamIdentifier: name, ExpectedStreamRevision: &streams.AppendReq_Options_Revision{Revision: 7}},
		0:               {StreamIdentifier: name, ExpectedStreamRevision: &streams.AppendReq_Options_Revision{}},
		stream.NoStream: {StreamIdentifier: name, ExpectedStreamRevision: &streams.AppendReq_Options_NoStream{}},
		stream.Any:      {StreamIdentifier: name, ExpectedStreamRevision: &streams.AppendReq_Options_Any{Any: &client.Empty{}}},
		stream.Exists:   {StreamIdentifier: name, ExpectedStreamRevision: &streams.AppendReq_Options_StreamExists{StreamExists: &client.Empty{}}},
	} {
		b := marshal(t, &streams.AppendReq{Content: &streams.AppendReq_Options_{Options: o}})
		var c appendChunk
		if err := c.decodeWire(b, mem.SliceBuffer(b)); err != nil {
			t.Fatal(err)
		}
		if err := c.target.check(); err != nil {
			t.Fatal(err)
		}
		if !c.isOptions || c.target.stream != "orders-1" || c.target.expected != want {
			t.Errorf("decoded %+v, want expectation %d", c.target, want)
		}
	}
}

func TestRefusedTargets(t *testing.T) {
	for _, o := range []*streams.AppendReq_Options{
		{},
		{StreamIdentifier: &client.StreamIdentifier{}, ExpectedStreamRevision: &streams.AppendReq_Options_Any{}},
		{StreamIdentifier: &client.StreamIdentifier{StreamName: []byte("x")}},
		{StreamIdentifier: &client.StreamIdentifier{StreamName: []byte("$$")}, ExpectedStreamRevision: &streams.AppendReq_Options_Any{}},
		{StreamIdentifier: &client.StreamIdentifier{StreamName: []byte("$all")}, ExpectedStreamRevision: &streams.AppendReq_Options_Any{}},
		{StreamIdentifier: &client.StreamIdentifier{StreamName: []byte{0xff}}, ExpectedStreamRevision: &streams.AppendReq_Options_Any{}},
		{StreamIdentifier: &client.StreamIdentifier{StreamName: []byte("x")}, ExpectedStreamRevision: &streams.AppendReq_Options_Revision{Revision: math.MaxUint64}},
	} {
		b := marshal(t, &streams.AppendReq{Content: &streams.AppendReq_Options_{Options: o}})
		var c appendChunk
		if err := c.decodeWire(b, mem.SliceBuffer(b)); err != nil {
			t.Fatal(err)
		}
		if c.bad == nil && c.target.check() == nil {
			t.Errorf("accepted %v", o)
		}
	}
}

func TestMissingPropertiesAreNamed(t *testing.T) {
	for _, metadata := range []map[string]string{nil, {"type": "x"}, {"content-type": "application/json"}} {
		b := marshal(t, &streams.AppendReq_ProposedMessage{Id: textUUID(sampleText), Metadata: metadata})
		var p proposal
		if err := decodeProposal(b, &p); err != nil {
			t.Fatal(err)
		}
		if err := p.check(); !errors.Is(err, errMissingProperty) {
			t.Errorf("%v: %v", metadata, err)
		}
	}
}

func TestBatchChunkIsDecoded(t *testing.T) {
	at := time.Unix(1_700_000_000, 5000)
	b := marshal(t, &streams.BatchAppendReq{
		CorrelationId: textUUID(sampleText),
		Options: &streams.BatchAppendReq_Options{
			StreamIdentifier:       &client.StreamIdentifier{StreamName: []byte("s")},
			ExpectedStreamPosition: &streams.BatchAppendReq_Options_NoStream{NoStream: &emptypb.Empty{}},
			DeadlineOption:         &streams.BatchAppendReq_Options_Deadline_21_10_0{Deadline_21_10_0: timestamppb.New(at)},
		},
		ProposedMessages: []*streams.BatchAppendReq_ProposedMessage{
			{Id: structuredUUID(sampleID), Metadata: map[string]string{"type": "a", "content-type": "application/octet-stream"}, Data: []byte("1")},
			{Id: structuredUUID(sampleID), Metadata: map[string]string{"type": "b", "content-type": "application/json"}, Data: []byte("2")},
		},
		IsFinal: true,
	})
	var c batchChunk
	if err := c.decodeWire(b, mem.SliceBuffer(b)); err != nil || c.bad != nil {
		t.Fatal(err, c.bad)
	}
	if c.correlation != sampleID || !c.hasOptions || !c.final || !c.deadline.Equal(at) || c.target.expected != stream.NoStream || len(c.proposals) != 2 {
		t.Errorf("decoded %+v", c)
	}
	if p := c.proposals[1].event; p.Type != "b" || !p.JSON || string(p.Data) != "2" {
		t.Errorf("second event %+v", p)
	}
	b = marshal(t, &streams.BatchAppendReq{Options: &streams.BatchAppendReq_Options{
		DeadlineOption: &streams.BatchAppendReq_Options_Deadline{Deadline: durationpb.New(1500 * time.Millisecond)}}})
	if err := c.decodeWire(b, mem.SliceBuffer(b)); err != nil || c.timeout != 1500*time.Millisecond {
		t.Errorf("timeout %v, error %v", c.timeout, err)
	}
}

func TestUUIDText(t *testing.T) {
	for _, good := range []string{sampleText, "F00102030405060788090A0B0C0D0EFF"} {
		if id, err := parseUUID([]byte(good)); err != nil || id != sampleID {
			t.Errorf("%s: %x %v", good, id, err)
		}
	}
	for _, bad := range []string{"", "f0", sampleText + "0", sampleText[:35], "g" + sampleText[1:], "zz"} {
		if _, err := parseUUID([]byte(bad)); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
	if got := string(appendUUID(nil, sampleID)); got != sampleText {
		t.Error(got)
	}
}

// FuzzAppendDecoder: whatever the bytes, the hand-written decoder accepts no more than the generated one, and where both accept they agree.
func FuzzAppendDecoder(f *testing.F) {
	f.Add(marshal(f, &streams.AppendReq{Content: &streams.AppendReq_ProposedMessage_{ProposedMessage: &streams.AppendReq_ProposedMessage{
		Id: structuredUUID(sampleID), Metadata: map[string]string{"type": "t", "content-type": "application/json"}, Data: []byte("d")}}}))
	f.Add(marshal(f, &streams.AppendReq{Content: &streams.AppendReq_Options_{Options: &streams.AppendReq_Options{
		StreamIdentifier: &client.StreamIdentifier{StreamName: []byte("s")}, ExpectedStreamRevision: &streams.AppendReq_Options_Revision{Revision: 3}}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c appendChunk
		err := c.decodeWire(append([]byte(nil), b...), mem.SliceBuffer(nil))
		var want streams.AppendReq
		if proto.Unmarshal(b, &want) != nil || err != nil || c.bad != nil {
			return
		}
		p := want.GetProposedMessage()
		if p == nil || !c.isProposal || bytes.Count(b, []byte{2<<3 | 2}) > 1 {
			return // several contents in one message are merged by one decoder and replaced by the other
		}
		if p.GetMetadata()["type"] != c.proposal.event.Type || !bytes.Equal(p.Data, c.proposal.event.Data) || !bytes.Equal(p.CustomMetadata, c.proposal.event.Metadata) {
			t.Fatalf("decoded %+v, want %v", c.proposal, p)
		}
	})
}

func FuzzBatchDecoder(f *testing.F) {
	f.Add(marshal(f, &streams.BatchAppendReq{CorrelationId: textUUID(sampleText), IsFinal: true,
		ProposedMessages: []*streams.BatchAppendReq_ProposedMessage{{Id: structuredUUID(sampleID), Metadata: map[string]string{"type": "t"}}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c batchChunk
		if err := c.decodeWire(append([]byte(nil), b...), mem.SliceBuffer(nil)); err != nil {
			return
		}
		var want streams.BatchAppendReq
		if proto.Unmarshal(b, &want) == nil && (len(want.ProposedMessages) != len(c.proposals) && c.bad == nil || want.IsFinal != c.final) {
			t.Fatalf("decoded %+v, want %v", c, &want)
		}
	})
}
