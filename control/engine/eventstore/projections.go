package eventstore

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"sort"
	"strings"
	"time"
	"unicode/utf8"

	"baton/control/engine"
	"baton/gen/eventstore/client"
	"baton/gen/eventstore/projections"
	"baton/gen/eventstore/streams"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"
)

// Streams in which the store keeps a projection.
const (
	projectionPrefix = "$projections-"
	partitionsSuffix = "-partitions"
)

func nameArg(a engine.Action) (string, error) {
	name := a.Arg("name")
	if name == "" || len(name) > maxStreamName || !utf8.ValidString(name) {
		return "", bad("%s needs the name of a projection, at most %d bytes long", a.Name, maxStreamName)
	}
	return name, nil
}

// statistics asks about projections.
func (n *node) statistics(ctx context.Context, o *projections.StatisticsReq_Options) ([]engine.ProjectionInfo, error) {
	list := []engine.ProjectionInfo{}
	err := n.atLeader(ctx, "read the projections", false, func(ctx context.Context, c *grpc.ClientConn, s *said, _ ...grpc.CallOption) error {
		list = list[:0]
		stream, err := projections.NewProjectionsClient(c).Statistics(ctx, &projections.StatisticsReq{Options: o})
		return drain(stream, err, s, func(m *projections.StatisticsResp) {
			if d := m.GetDetails(); d != nil {
				list = append(list, projectionOf(d))
			}
		})
	})
	if err != nil {
		return nil, err
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	n.mu.Lock()
	defer n.mu.Unlock()
	for now, i := time.Now(), 0; i < len(list); i++ {
		c := n.handled[list[i].Name]
		if c == nil {
			c = &engine.Counter{}
			n.handled[list[i].Name] = c
		}
		list[i].PerSecond = c.Rate(now, list[i].Processed)
	}
	return list, nil
}

// reached is a position as the store tells it, "" before the first event.
func reached(text string) string {
	if strings.HasSuffix(text, "P:-1") {
		return ""
	}
	return text
}

func projectionOf(d *projections.StatisticsResp_Details) engine.ProjectionInfo {
	return engine.ProjectionInfo{
		Name: d.GetName(), Status: d.GetStatus(), Reason: d.GetStateReason(), Mode: d.GetMode(), Progress: float64(d.GetProgress()), Position: reached(d.GetPosition()),
		Checkpoint: reached(d.GetLastCheckpoint()), CheckpointStatus: d.GetCheckpointStatus(), Processed: d.GetEventsProcessedAfterRestart(), Buffered: d.GetBufferedEvents(),
		Partitions: int(d.GetPartitionsCached()), Writes: int(d.GetWritesInProgress()), Reads: int(d.GetReadsInProgress()), Version: d.GetVersion(), Epoch: d.GetEpoch(),
	}
}

func listProjections(ctx context.Context, n *node, _ engine.Action) (engine.Result, error) {
	list, err := n.statistics(ctx, &projections.StatisticsReq_Options{Mode: &projections.StatisticsReq_Options_All{All: &client.Empty{}}})
	if err != nil {
		return engine.Result{}, err
	}
	there := map[string]bool{}
	for i := range list {
		there[list[i].Name] = true
	}
	n.mu.Lock()
	maps.DeleteFunc(n.handled, func(name string, _ *engine.Counter) bool { return !there[name] })
	n.mu.Unlock()
	return jsonValue("projections", list)
}

func readProjection(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	name, err := nameArg(a)
	if err != nil {
		return engine.Result{}, err
	}
	list, err := n.statistics(ctx, &projections.StatisticsReq_Options{Mode: &projections.StatisticsReq_Options_Name{Name: name}})
	if err != nil {
		return engine.Result{}, err
	}
	if len(list) == 0 {
		return engine.Result{}, &engine.ActionError{Code: engine.CodeRefused, Detail: "there is no projection " + name}
	}
	d := engine.ProjectionDetail{Info: list[0]}
	n.definition(ctx, &d)
	return jsonValue("projection", d)
}

// definition fills in what the projection's own streams hold of it. What may
// not be read stays unknown: no call of the service tells it.
func (n *node) definition(ctx context.Context, d *engine.ProjectionDetail) {
	t, err := n.reader()
	if err != nil {
		return
	}
	defer t.conn.Close()
	newest := func(stream string, count uint64, f func(*streams.ReadResp_ReadEvent_RecordedEvent)) {
		_, _ = t.each(ctx, &streams.ReadReq_Options{ReadDirection: streams.ReadReq_Options_Backwards, CountOption: &streams.ReadReq_Options_Count{Count: count},
			StreamOption: &streams.ReadReq_Options_Stream{Stream: &streams.ReadReq_Options_StreamOptions{StreamIdentifier: &client.StreamIdentifier{StreamName: []byte(stream)},
				RevisionOption: &streams.ReadReq_Options_StreamOptions_End{End: &client.Empty{}}}}},
			func(r *streams.ReadResp_ReadEvent) { f(r.GetEvent()) })
	}
	newest(projectionPrefix+d.Info.Name, 1, func(e *streams.ReadResp_ReadEvent_RecordedEvent) {
		var doc struct {
			Query               *string `json:"query"`
			EmitEnabled         *bool   `json:"emitEnabled"`
			TrackEmittedStreams *bool   `json:"trackEmittedStreams"`
		}
		if json.Unmarshal(e.GetData(), &doc) == nil && doc.Query != nil {
			d.Query, d.Known, d.Emit, d.Track = *doc.Query, true, doc.EmitEnabled, doc.TrackEmittedStreams
		}
	})
	seen := map[string]bool{}
	newest(projectionPrefix+d.Info.Name+partitionsSuffix, engine.MaxPartitions, func(e *streams.ReadResp_ReadEvent_RecordedEvent) {
		name := string(bytes.TrimSpace(e.GetData()))
		var text string
		if json.Unmarshal(e.GetData(), &text) == nil {
			name = text
		}
		if name = strings.ToValidUTF8(name, "\uFFFD"); name != "" && !seen[name] {
			seen[name], d.Partitions = true, append(d.Partitions, name)
		}
	})
	sort.Strings(d.Partitions)
}

func readProjectionState(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	name, err := nameArg(a)
	if err != nil {
		return engine.Result{}, err
	}
	values := map[string]string{}
	for _, what := range []string{"state", "result"} {
		var v *structpb.Value
		err := n.atLeader(ctx, "read the "+what+" of the projection", false, func(ctx context.Context, c *grpc.ClientConn, _ *said, opts ...grpc.CallOption) error {
			api := projections.NewProjectionsClient(c)
			if what == "state" {
				r, err := api.State(ctx, &projections.StateReq{Options: &projections.StateReq_Options{Name: name, Partition: a.Arg("partition")}}, opts...)
				v = r.GetState()
				return err
			}
			r, err := api.Result(ctx, &projections.ResultReq{Options: &projections.ResultReq_Options{Name: name, Partition: a.Arg("partition")}}, opts...)
			v = r.GetResult()
			return err
		})
		if err != nil {
			return engine.Result{}, err
		}
		if values[what], err = valueText(v); err != nil {
			return engine.Result{}, err
		}
	}
	return engine.Result{Values: values}, nil
}

// valueText is a state for people, "" when there is none.
func valueText(v *structpb.Value) (string, error) {
	if v == nil || v.GetKind() == nil {
		return "", nil
	}
	if _, null := v.GetKind().(*structpb.Value_NullValue); null {
		return "", nil
	}
	text, err := json.Marshal(v.AsInterface())
	if err != nil {
		return "", err
	}
	b, err := json.Marshal(textOf(text))
	return string(b), err
}

func projectionArg(a engine.Action) (s engine.ProjectionSpec, err error) {
	if json.Unmarshal([]byte(a.Arg("projection")), &s) != nil || s.Name == "" || s.Query == "" {
		return s, bad("%s: the projection does not decode", a.Name)
	}
	return s, nil
}

// changeProjection makes one call that changes projections.
func changeProjection(ctx context.Context, n *node, what string, f func(context.Context, projections.ProjectionsClient, ...grpc.CallOption) error) (engine.Result, error) {
	return engine.Result{}, n.atLeader(ctx, what, true, func(ctx context.Context, c *grpc.ClientConn, _ *said, opts ...grpc.CallOption) error {
		return f(ctx, projections.NewProjectionsClient(c), opts...)
	})
}

func createProjection(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	s, err := projectionArg(a)
	if err != nil {
		return engine.Result{}, err
	}
	o := &projections.CreateReq_Options{Query: s.Query}
	switch s.Mode {
	case engine.ProjectionContinuous:
		o.Mode = &projections.CreateReq_Options_Continuous_{Continuous: &projections.CreateReq_Options_Continuous{Name: s.Name, EmitEnabled: s.Emit, TrackEmittedStreams: s.Track}}
	case engine.ProjectionTransient:
		o.Mode = &projections.CreateReq_Options_Transient_{Transient: &projections.CreateReq_Options_Transient{Name: s.Name}}
	default:
		return engine.Result{}, bad("a projection of mode %q cannot be made here", s.Mode)
	}
	return changeProjection(ctx, n, "make the projection", func(ctx context.Context, c projections.ProjectionsClient, opts ...grpc.CallOption) error {
		_, err := c.Create(ctx, &projections.CreateReq{Options: o}, opts...)
		return err
	})
}

func updateProjection(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	s, err := projectionArg(a)
	if err != nil {
		return engine.Result{}, err
	}
	return changeProjection(ctx, n, "change the projection", func(ctx context.Context, c projections.ProjectionsClient, opts ...grpc.CallOption) error {
		_, err := c.Update(ctx, &projections.UpdateReq{Options: &projections.UpdateReq_Options{Name: s.Name, Query: s.Query,
			EmitOption: &projections.UpdateReq_Options_EmitEnabled{EmitEnabled: s.Emit}}}, opts...)
		return err
	})
}

func commandProjection(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	name, err := nameArg(a)
	if err != nil {
		return engine.Result{}, err
	}
	command := a.Arg("command")
	return changeProjection(ctx, n, command+" the projection", func(ctx context.Context, c projections.ProjectionsClient, opts ...grpc.CallOption) (err error) {
		switch command {
		case engine.ProjectionEnable:
			_, err = c.Enable(ctx, &projections.EnableReq{Options: &projections.EnableReq_Options{Name: name}}, opts...)
		case engine.ProjectionDisable, engine.ProjectionAbort:
			_, err = c.Disable(ctx, &projections.DisableReq{Options: &projections.DisableReq_Options{Name: name, WriteCheckpoint: command == engine.ProjectionDisable}}, opts...)
		case engine.ProjectionReset:
			_, err = c.Reset(ctx, &projections.ResetReq{Options: &projections.ResetReq_Options{Name: name, WriteCheckpoint: true}}, opts...)
		default:
			err = bad("there is no command %q", command)
		}
		return err
	})
}

func deleteProjection(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	name, err := nameArg(a)
	if err != nil {
		return engine.Result{}, err
	}
	return changeProjection(ctx, n, "delete the projection", func(ctx context.Context, c projections.ProjectionsClient, opts ...grpc.CallOption) error {
		_, err := c.Delete(ctx, &projections.DeleteReq{Options: &projections.DeleteReq_Options{Name: name, DeleteEmittedStreams: a.Arg("emitted") == "true",
			DeleteStateStream: a.Arg("state") == "true", DeleteCheckpointStream: a.Arg("checkpoint") == "true"}}, opts...)
		return err
	})
}
