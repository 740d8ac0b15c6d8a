package system

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"baton/gen/eventstore/client"
	"baton/gen/eventstore/streams"
	"baton/test/fleet"
)

// projectionMoves is how often the leadership moves; every third time by kill -9 of the leader.
const projectionMoves = 6

// readData returns a stream's events as they stand, or with name "$all" those of all streams that keep lets pass. Each is rendered by show.
func readData(c *grpc.ClientConn, name string, show func(*streams.ReadResp_ReadEvent_RecordedEvent) (string, bool)) (list []string, err error) {
	o := &streams.ReadReq_Options{
		StreamOption: &streams.ReadReq_Options_Stream{Stream: &streams.ReadReq_Options_StreamOptions{
			StreamIdentifier: &client.StreamIdentifier{StreamName: []byte(name)}, RevisionOption: &streams.ReadReq_Options_StreamOptions_Start{Start: &client.Empty{}}}},
		CountOption:  &streams.ReadReq_Options_Count{Count: 1 << 40},
		FilterOption: &streams.ReadReq_Options_NoFilter{NoFilter: &client.Empty{}},
		UuidOption:   &streams.ReadReq_Options_UUIDOption{Content: &streams.ReadReq_Options_UUIDOption_String_{String_: &client.Empty{}}},
	}
	if name == "$all" {
		o.StreamOption = &streams.ReadReq_Options_All{All: &streams.ReadReq_Options_AllOptions{AllOption: &streams.ReadReq_Options_AllOptions_Start{Start: &client.Empty{}}}}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	call, err := streams.NewStreamsClient(c).Read(ctx, &streams.ReadReq{Options: o})
	if err != nil {
		return nil, err
	}
	for {
		m, err := call.Recv()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, err
		}
		if e := m.GetEvent().GetEvent(); e != nil {
			if text, ok := show(e); ok {
				list = append(list, text)
			}
		}
	}
}

// Goal: whoever leads, projections link each event exactly once and in order.
// Method: writers under way while leadership moves, by request and by kill -9; then the links are compared with the log, event by event.
func TestProjectionsLinkOnceAcrossLeaderChanges(t *testing.T) {
	t.Parallel()
	f := startFleet(t, fleet.Options{Nodes: 3, Args: []string{"--run-projections=System", "--start-standard-projections"}}, 2, 0)
	l := startLoad(t, f, 2)
	l.flow(t)
	for run := range projectionMoves {
		if run%3 == 2 {
			killed := inRole(t, f, "Leader")
			killed.Kill()
			l.flow(t)
			if err := killed.Start(); err != nil {
				t.Fatal(err)
			}
			if err := f.AwaitRoles(formWithin, 2, 0); err != nil {
				t.Fatal(err)
			}
		} else {
			promote(t, f, inRole(t, f, "Follower"), "leader")
		}
		l.flow(t)
	}
	l.verify(t)
	var written []string
	category, _, _ := strings.Cut(l.writer[0].stream, "-")
	for what, compare := range map[string]string{"$ce-" + category: category, "$et-load": category} {
		err := fleet.Await(formWithin, "every event to be linked in "+what, func() (bool, string) {
			var err error
			written, err = readData(l.conns[0], "$all", func(e *streams.ReadResp_ReadEvent_RecordedEvent) (string, bool) {
				name := string(e.GetStreamIdentifier().GetStreamName())
				return fmt.Sprintf("%d@%s", e.GetStreamRevision(), name), strings.HasPrefix(name, compare+"-")
			})
			if err != nil {
				return false, err.Error()
			}
			links, err := readData(l.conns[0], what, func(e *streams.ReadResp_ReadEvent_RecordedEvent) (string, bool) { return string(e.GetData()), true })
			if err != nil {
				return false, err.Error()
			}
			for i := range links {
				if i >= len(written) || links[i] != written[i] {
					t.Fatalf("%s: link %d of %d is %s, of %d events written", what, i, len(links), links[i], len(written))
				}
			}
			return len(links) == len(written), fmt.Sprintf("%d of %d events are linked", len(links), len(written))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	fmt.Printf("=> | projections, %d leader changes, %d of them kill -9 | %d events linked by category and by type, each once and in order |\n",
		projectionMoves, projectionMoves/3, len(written))
}
