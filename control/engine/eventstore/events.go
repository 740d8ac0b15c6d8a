package eventstore

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"baton/control/engine"
	"baton/gen/eventstore/client"
	"baton/gen/eventstore/streams"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// maxStreamName bounds a stream's name in bytes.
const maxStreamName = 512

func streamArg(a engine.Action) (*client.StreamIdentifier, error) {
	name := a.Arg("stream")
	if name == "" || len(name) > maxStreamName || !utf8.ValidString(name) {
		return nil, bad("%s needs the name of a stream, at most %d bytes long", a.Name, maxStreamName)
	}
	return &client.StreamIdentifier{StreamName: []byte(name)}, nil
}

// reader connects to one node, which may answer whatever its role.
func (n *node) reader() (*probeTarget, error) {
	alone := n.in
	alone.Peers = nil
	ts, err := newTargets(alone)
	if err != nil {
		return nil, asActionError(fmt.Errorf("%w: %w", errNotSent, err), "connect", false)
	}
	ts[0].auth = metadata.MD{"authorization": ts[0].auth.Get("authorization")}
	return ts[0], nil
}

// each reads events and gives them to f in their order. exists is false for a
// stream that there is not.
func (t *probeTarget) each(ctx context.Context, o *streams.ReadReq_Options, f func(*streams.ReadResp_ReadEvent)) (exists bool, err error) {
	if o.FilterOption == nil {
		o.FilterOption = &streams.ReadReq_Options_NoFilter{NoFilter: &client.Empty{}}
	}
	o.UuidOption = &streams.ReadReq_Options_UUIDOption{Content: &streams.ReadReq_Options_UUIDOption_String_{String_: &client.Empty{}}}
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(ctx, t.auth))
	defer cancel()
	s, err := t.api.Read(ctx, &streams.ReadReq{Options: o})
	exists = true
	for err == nil {
		var m *streams.ReadResp
		if m, err = s.Recv(); err != nil {
			break
		}
		if m.GetStreamNotFound() != nil {
			exists = false
		}
		if e := m.GetEvent(); e != nil {
			f(e)
		}
	}
	if errors.Is(err, io.EOF) {
		return exists, nil
	}
	return exists, streamError(err, "read events")
}

// streamError translates what a node says to a call about streams.
func streamError(err error, what string) error {
	st, ok := status.FromError(err)
	if !ok {
		return asActionError(err, what, false)
	}
	switch st.Code() {
	case codes.Unauthenticated, codes.PermissionDenied:
		return &engine.ActionError{Code: engine.CodeAuth, Detail: what + ": the node refuses the agent's login", Err: err}
	case codes.FailedPrecondition, codes.InvalidArgument, codes.NotFound, codes.AlreadyExists:
		return &engine.ActionError{Code: engine.CodeRefused, Detail: what + ": " + st.Message(), Err: err}
	case codes.DeadlineExceeded:
		return &engine.ActionError{Code: engine.CodeTimeout, Detail: what + ": no answer in time", Err: err}
	}
	return &engine.ActionError{Code: engine.CodeUnreachable, Detail: what + ": " + st.Message(), Err: err}
}

func recentStreams(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	t, err := n.reader()
	if err != nil {
		return engine.Result{}, err
	}
	defer t.conn.Close()
	found := map[string]*engine.StreamInfo{}
	_, err = t.each(ctx, &streams.ReadReq_Options{ReadDirection: streams.ReadReq_Options_Backwards, CountOption: &streams.ReadReq_Options_Count{Count: engine.RecentEvents},
		StreamOption: &streams.ReadReq_Options_All{All: &streams.ReadReq_Options_AllOptions{AllOption: &streams.ReadReq_Options_AllOptions_End{End: &client.Empty{}}}}},
		func(r *streams.ReadResp_ReadEvent) {
			e := r.GetEvent()
			name := string(e.GetStreamIdentifier().GetStreamName())
			if e == nil || strings.HasPrefix(name, "$") && a.Arg("system") != "true" {
				return
			}
			if s := found[name]; s != nil {
				s.Events++
				return
			}
			found[name] = &engine.StreamInfo{Name: strings.ToValidUTF8(name, "\uFFFD"), Revision: int64(e.GetStreamRevision()), Type: e.GetMetadata()["type"], At: createdAt(e), Events: 1}
		})
	if err != nil {
		return engine.Result{}, err
	}
	list := make([]engine.StreamInfo, 0, len(found))
	for _, s := range found {
		list = append(list, *s)
	}
	sort.Slice(list, func(i, j int) bool {
		if !list[i].At.Equal(list[j].At) {
			return list[i].At.After(list[j].At)
		}
		return list[i].Name < list[j].Name
	})
	return jsonValue("streams", list)
}

func jsonValue(name string, v any) (engine.Result, error) {
	b, err := json.Marshal(v)
	return engine.Result{Values: map[string]string{name: string(b)}}, err
}

func createdAt(e *streams.ReadResp_ReadEvent_RecordedEvent) time.Time {
	ticks, err := strconv.ParseInt(e.GetMetadata()["created"], 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(0, 0).Add(time.Duration(ticks) * 100).UTC()
}

func readEvents(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	id, err := streamArg(a)
	if err != nil {
		return engine.Result{}, err
	}
	count, err := strconv.ParseUint(a.Arg("count"), 10, 64)
	if err != nil || count < 1 || count > engine.MaxEvents {
		return engine.Result{}, bad("read-events reads 1 to %d events, not %q", engine.MaxEvents, a.Arg("count"))
	}
	from := &streams.ReadReq_Options_StreamOptions{StreamIdentifier: id}
	o := &streams.ReadReq_Options{CountOption: &streams.ReadReq_Options_Count{Count: count}, ResolveLinks: a.Arg("links") == "true",
		StreamOption: &streams.ReadReq_Options_Stream{Stream: from}}
	if a.Arg("backwards") == "true" {
		o.ReadDirection = streams.ReadReq_Options_Backwards
		from.RevisionOption = &streams.ReadReq_Options_StreamOptions_End{End: &client.Empty{}}
	} else {
		from.RevisionOption = &streams.ReadReq_Options_StreamOptions_Start{Start: &client.Empty{}}
	}
	if text := a.Arg("from"); text != "" {
		revision, err := strconv.ParseUint(text, 10, 63)
		if err != nil {
			return engine.Result{}, bad("%q is not a revision", text)
		}
		from.RevisionOption = &streams.ReadReq_Options_StreamOptions_Revision{Revision: revision}
	}
	t, err := n.reader()
	if err != nil {
		return engine.Result{}, err
	}
	defer t.conn.Close()
	page := engine.EventPage{Events: []engine.StreamEvent{}}
	page.Exists, err = t.each(ctx, o, func(r *streams.ReadResp_ReadEvent) { page.Events = append(page.Events, eventOf(r)) })
	if err != nil {
		return engine.Result{}, err
	}
	return jsonValue("page", page)
}

func eventOf(r *streams.ReadResp_ReadEvent) engine.StreamEvent {
	e, link := r.GetEvent(), r.GetLink()
	var at *engine.StreamLink
	switch {
	case e == nil: // the link leads nowhere
		e = link
	case link != nil:
		at = &engine.StreamLink{Stream: string(link.GetStreamIdentifier().GetStreamName()), Revision: int64(link.GetStreamRevision())}
	}
	return engine.StreamEvent{Stream: string(e.GetStreamIdentifier().GetStreamName()), Revision: int64(e.GetStreamRevision()), ID: e.GetId().GetString_(),
		Type: e.GetMetadata()["type"], At: createdAt(e), JSON: e.GetMetadata()["content-type"] == "application/json",
		Data: textOf(e.GetData()), Metadata: textOf(e.GetCustomMetadata()), Link: at}
}

// textOf gives bytes as text where they are.
func textOf(b []byte) engine.EventText {
	out := engine.EventText{Bytes: len(b)}
	if utf8.Valid(b) {
		out.Text = strings.ToValidUTF8(string(b[:min(len(b), engine.MaxShownBytes)]), "")
		return out
	}
	out.Base64, out.Text = true, base64.StdEncoding.EncodeToString(b[:min(len(b), engine.MaxShownBytes)])
	return out
}

// leading calls f with each node until one does it as the leader.
func (n *node) leading(ctx context.Context, f func(context.Context, *probeTarget) error) error {
	n.mu.Lock()
	in := n.in
	in.Peers = n.peers
	n.mu.Unlock()
	targets, err := newTargets(in)
	if err != nil {
		return asActionError(fmt.Errorf("%w: %w", errNotSent, err), "connect", false)
	}
	for _, t := range targets {
		defer t.conn.Close()
	}
	for _, t := range targets {
		if err = f(metadata.NewOutgoingContext(ctx, t.auth), t); err == nil || ctx.Err() != nil {
			return err
		}
		if c := status.Code(err); c != codes.NotFound && c != codes.Unavailable && !errors.Is(err, errRefused) {
			return err
		}
	}
	return err
}

func appendEvent(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	id, err := streamArg(a)
	if err != nil {
		return engine.Result{}, err
	}
	if a.Arg("type") == "" || !json.Valid([]byte(a.Arg("data"))) {
		return engine.Result{}, bad("append-event needs a type and data that are JSON")
	}
	event := &streams.AppendReq_ProposedMessage{Id: newEventID(), Data: []byte(a.Arg("data")), Metadata: map[string]string{"type": a.Arg("type"), "content-type": "application/json"}}
	var revision uint64
	err = n.leading(ctx, func(ctx context.Context, t *probeTarget) error {
		s, err := t.api.Append(ctx)
		if err != nil {
			return err
		}
		head := &streams.AppendReq_Options{StreamIdentifier: id, ExpectedStreamRevision: &streams.AppendReq_Options_Any{Any: &client.Empty{}}}
		for _, m := range []*streams.AppendReq{{Content: &streams.AppendReq_Options_{Options: head}}, {Content: &streams.AppendReq_ProposedMessage_{ProposedMessage: event}}} {
			if err := s.Send(m); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
		}
		resp, err := s.CloseAndRecv()
		if err == nil && resp.GetSuccess() == nil {
			err = errRefused
		}
		revision = resp.GetSuccess().GetCurrentRevision()
		return err
	})
	if err != nil {
		return engine.Result{}, streamError(err, "append the event")
	}
	return engine.Result{Values: map[string]string{"revision": strconv.FormatUint(revision, 10)}}, nil
}

func deleteStream(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	id, err := streamArg(a)
	if err != nil {
		return engine.Result{}, err
	}
	err = n.leading(ctx, func(ctx context.Context, t *probeTarget) error {
		_, err := t.api.Delete(ctx, &streams.DeleteReq{Options: &streams.DeleteReq_Options{StreamIdentifier: id,
			ExpectedStreamRevision: &streams.DeleteReq_Options_StreamExists{StreamExists: &client.Empty{}}}})
		return err
	})
	if err != nil {
		return engine.Result{}, streamError(err, "delete the stream")
	}
	return engine.Result{}, nil
}
