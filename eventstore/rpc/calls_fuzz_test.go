package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"baton/gen/eventstore/features"
	"baton/gen/eventstore/gossip"
	"baton/gen/eventstore/monitoring"
	"baton/gen/eventstore/operations"
	"baton/gen/eventstore/persistent"
	projectionspb "baton/gen/eventstore/projections"
	"baton/gen/eventstore/streams"
	userspb "baton/gen/eventstore/users"
	v2 "baton/gen/kurrent/streams"
)

// bytesCodec sends messages as they are, well-formed or not.
type bytesCodec struct{}

func (bytesCodec) Name() string { return "proto" }
func (bytesCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}
func (bytesCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// anyMethod is one method of the server.
type anyMethod struct {
	name string // "/package.Service/Method"
	desc grpc.StreamDesc
	in   protoreflect.MessageType
}

// allMethods is every method this server has, in a fixed order. Those that change the node itself are left out: one call of them would decide about the
// calls after it.
func allMethods(t testing.TB) (list []anyMethod) {
	t.Helper()
	changing := map[string]bool{"MergeIndexes": true, "Shutdown": true, "ResignNode": true, "SetNodePriority": true, "RestartSubsystem": true, "RestartPersistentSubscriptions": true}
	for _, d := range []grpc.ServiceDesc{streams.Streams_ServiceDesc, persistent.PersistentSubscriptions_ServiceDesc, projectionspb.Projections_ServiceDesc,
		userspb.Users_ServiceDesc, operations.Operations_ServiceDesc, monitoring.Monitoring_ServiceDesc, gossip.Gossip_ServiceDesc,
		features.ServerFeatures_ServiceDesc, v2.StreamsService_ServiceDesc} {
		found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(d.ServiceName))
		if err != nil {
			t.Fatal(err)
		}
		methods := found.(protoreflect.ServiceDescriptor).Methods()
		for i := range methods.Len() {
			m := methods.Get(i)
			if changing[string(m.Name())] {
				continue
			}
			in, err := protoregistry.GlobalTypes.FindMessageByName(m.Input().FullName())
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, anyMethod{fmt.Sprintf("/%s/%s", d.ServiceName, m.Name()),
				grpc.StreamDesc{ClientStreams: m.IsStreamingClient(), ServerStreams: m.IsStreamingServer()}, in})
		}
	}
	return list
}

// call sends messages and returns how the call ended, nil also when it answered and goes on.
func (s *served) call(ctx context.Context, m *anyMethod, messages ...[]byte) (trailer map[string][]string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	call, err := s.conn.NewStream(ctx, &m.desc, m.name, grpc.ForceCodecV2(bytesCodec{}))
	if err != nil {
		return nil, err
	}
	if !m.desc.ClientStreams {
		messages = messages[:1]
	}
	for _, b := range messages {
		if call.SendMsg(b) != nil {
			break // the reason comes with the answer
		}
	}
	_ = call.CloseSend()
	var answer []byte
	if err = call.RecvMsg(&answer); err == nil && !m.desc.ServerStreams {
		err = call.RecvMsg(&answer)
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return call.Trailer(), err
}

// clientsMistake says whether a call that was refused for what is in it may end so: with a status that clients understand, and never as if the server were
// at fault. A group that cannot be made is the one exception the protocol has.
func clientsMistake(err error, trailer map[string][]string) bool {
	switch status.Code(err) {
	case codes.OK, codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.FailedPrecondition, codes.Aborted, codes.PermissionDenied,
		codes.Unauthenticated, codes.ResourceExhausted, codes.DeadlineExceeded, codes.Canceled, codes.Unavailable:
		return true
	case codes.Internal:
		return len(trailer["exception"]) == 1 && trailer["exception"][0] == "persistent-subscription-failed"
	}
	return false
}

// Goal: whatever a client sends to whatever method, the node lives and answers, and a message that can be read never ends as an error of the server.
// Method: two messages of any bytes to each method of a secure node of this process, in the name of an administrator.
func FuzzCalls(f *testing.F) {
	methods := allMethods(f)
	for i := range methods {
		m := methods[i].in.New()
		f.Add(uint8(i), []byte{}, []byte{})
		f.Add(uint8(i), filled(m, 3, "x"), filled(m, 3, "\x00\xff"))
		f.Add(uint8(i), filled(m, 5, ""), []byte{0xff, 0xff, 0xff})
	}
	o := secureOptions()
	o.projections = true
	s := newHouse(f, o).leader()
	f.Fuzz(func(t *testing.T, which uint8, first, second []byte) {
		m := &methods[int(which)%len(methods)]
		readable := true
		for _, b := range [][]byte{first, second}[:1+btoi(m.desc.ClientStreams)] {
			readable = readable && unmarshal(b, m.in.New().Interface()) == nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		trailer, err := s.call(as(ctx, "admin", "root"), m, first, second)
		if ctx.Err() != nil {
			t.Fatalf("%s does not answer", m.name)
		}
		if readable && !clientsMistake(err, trailer) {
			t.Fatalf("%s: %v %v", m.name, err, trailer)
		}
	})
}

// unmarshal decodes as the server does: its decoders refuse a known field of another wire type, which the library would pass over.
func unmarshal(b []byte, m proto.Message) error {
	if fast, ok := m.(interface{ UnmarshalVT([]byte) error }); ok {
		return fast.UnmarshalVT(b)
	}
	return proto.Unmarshal(b, m)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// filled encodes a message with every field set, so many levels deep: texts to text, numbers to the smallest there is or to 1.
func filled(m protoreflect.Message, levels int, text string) []byte {
	fill(m, levels, text)
	b, err := proto.MarshalOptions{AllowPartial: true}.Marshal(m.Interface())
	if err != nil {
		return []byte(text) // text that is none: the bytes themselves
	}
	return b
}

func fill(m protoreflect.Message, levels int, text string) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if one := field.ContainingOneof(); one != nil && m.WhichOneof(one) != nil && len(text) != 1 {
			continue // the first of those that exclude each other; for a text of one byte the last
		}
		if field.IsMap() || levels == 0 {
			continue
		}
		if field.IsList() {
			list := m.Mutable(field).List()
			if field.Message() != nil {
				fill(list.AppendMutable().Message(), levels-1, text)
			} else {
				list.Append(scalar(field, text))
			}
			continue
		}
		if field.Message() != nil {
			fill(m.Mutable(field).Message(), levels-1, text)
			continue
		}
		m.Set(field, scalar(field, text))
	}
}

func scalar(field protoreflect.FieldDescriptor, text string) protoreflect.Value {
	few := len(text) == 1
	switch field.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(1 + 98*btoi(!few)))
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(1 - (1<<31)*btoi(!few)))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		if few {
			return protoreflect.ValueOfInt64(1)
		}
		return protoreflect.ValueOfInt64(-1 << 63)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(1 - 2*btoi(!few)))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		if few {
			return protoreflect.ValueOfUint64(1)
		}
		return protoreflect.ValueOfUint64(1<<64 - 1)
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(-1)
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(-1)
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(text))
	}
	return protoreflect.ValueOfString(text)
}
