package rpc

import (
	"encoding/binary"
	"math"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"baton/eventstore/reader"
	"baton/gen/eventstore/streams"
)

// storedBody is the form in which the log keeps fields 6 to 8.
func storedBody(kind string, metadata, data []byte) []byte {
	entry := func(key, value string) []byte {
		m := protowire.AppendTag(nil, 1, protowire.BytesType)
		m = protowire.AppendString(m, key)
		m = protowire.AppendTag(m, 2, protowire.BytesType)
		return protowire.AppendString(m, value)
	}
	b := protowire.AppendTag(nil, 6, protowire.BytesType)
	b = protowire.AppendBytes(b, entry("type", kind))
	b = protowire.AppendTag(b, 6, protowire.BytesType)
	b = protowire.AppendBytes(b, entry("content-type", "application/json"))
	b = protowire.AppendTag(b, 7, protowire.BytesType)
	b = protowire.AppendBytes(b, metadata)
	b = protowire.AppendTag(b, 8, protowire.BytesType)
	return protowire.AppendBytes(b, data)
}

func drawEvent(t *rapid.T, label string) *reader.Event {
	id := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, label+"id")
	return &reader.Event{
		ID: [16]byte(id), Stream: rapid.String().Draw(t, label+"stream"), Revision: rapid.Int64Range(0, math.MaxInt64).Draw(t, label+"rev"),
		Position: rapid.Uint64().Draw(t, label+"pos"), Created: rapid.Int64Range(0, math.MaxInt64).Draw(t, label+"created"),
		Body: storedBody(rapid.String().Draw(t, label+"type"), rapid.SliceOf(rapid.Byte()).Draw(t, label+"meta"), rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, label+"data")),
	}
}

// Property: the hand-written message is one the generated code reads, and holds exactly what the event holds.
func TestEventMessagesAreReadByTheGeneratedCode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := drawEvent(t, "e")
		switch rapid.IntRange(0, 2).Draw(t, "link") {
		case 1:
			e.Link = drawEvent(t, "l")
		case 2:
			e.Unresolved = true
		}
		var m eventMessage
		m.measure(e, rapid.Bool().Draw(t, "text"))
		b := m.append(nil)
		if int(binary.BigEndian.Uint32(b[1:]))+frameHeaderBytes != len(b) {
			t.Fatalf("frame says %d, is %d", binary.BigEndian.Uint32(b[1:]), len(b)-frameHeaderBytes)
		}
		var resp streams.ReadResp
		if err := proto.Unmarshal(b[frameHeaderBytes:], &resp); err != nil {
			t.Fatal(err)
		}
		got := resp.GetEvent()
		if got.GetCommitPosition() != e.Original().Position {
			t.Fatalf("position %d, want %d", got.GetCommitPosition(), e.Original().Position)
		}
		switch {
		case e.Unresolved:
			same(t, got.Link, e)
			if got.Event != nil {
				t.Fatal("an unresolved link carries an event")
			}
		case e.Link != nil:
			same(t, got.Event, e)
			same(t, got.Link, e.Link)
		default:
			same(t, got.Event, e)
			if got.Link != nil {
				t.Fatal("an event carries a link")
			}
		}
	})
}

func same(t *rapid.T, got *streams.ReadResp_ReadEvent_RecordedEvent, want *reader.Event) {
	var id [16]byte
	if text := got.GetId().GetString_(); text != "" {
		parsed, err := parseUUID([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		id = parsed
	} else {
		binary.BigEndian.PutUint64(id[:8], uint64(got.GetId().GetStructured().GetMostSignificantBits()))
		binary.BigEndian.PutUint64(id[8:], uint64(got.GetId().GetStructured().GetLeastSignificantBits()))
	}
	var body streams.ReadResp_ReadEvent_RecordedEvent
	if err := proto.Unmarshal(want.Body, &body); err != nil {
		t.Fatal(err)
	}
	if id != want.ID || string(got.StreamIdentifier.StreamName) != want.Stream || got.StreamRevision != uint64(want.Revision) ||
		got.CommitPosition != want.Position || got.PreparePosition != want.Position || len(got.Metadata) != 3 ||
		got.Metadata["type"] != body.Metadata["type"] || got.Metadata["created"] == "" || string(got.Data) != string(body.Data) ||
		string(got.CustomMetadata) != string(body.CustomMetadata) {
		t.Fatalf("got %v, want %+v", got, want)
	}
}

func BenchmarkEventMessage(b *testing.B) {
	e := &reader.Event{Stream: "orders-1234567", Revision: 123456, Position: 1 << 33, Created: 17_000_000_000_000_000, ID: sampleID, Body: storedBody("order-placed", nil, make([]byte, 256))}
	var m eventMessage
	buf := make([]byte, 0, blockBytes)
	b.ReportAllocs()
	for b.Loop() {
		m.measure(e, false)
		buf = m.append(buf[:0])
	}
}
