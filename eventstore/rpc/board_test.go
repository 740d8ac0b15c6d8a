package rpc_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"baton/gen/eventstore/client"
	"baton/gen/eventstore/persistent"
)

// What the board and the alerts in deploy/ ask for is served, under those names.
func TestEveryFigureOfTheBoardIsServed(t *testing.T) {
	t.Parallel()
	s := newHouse(t, houseOptions{}).leader()
	mustWrite(t, s, "s", event("t", "1"))
	groups := persistent.NewPersistentSubscriptionsClient(s.conn)
	settings := &persistent.CreateReq_Settings{HistoryBufferSize: 500, ReadBatchSize: 20, LiveBufferSize: 500, MessageTimeout: &persistent.CreateReq_Settings_MessageTimeoutMs{MessageTimeoutMs: 1000},
		CheckpointAfter: &persistent.CreateReq_Settings_CheckpointAfterMs{CheckpointAfterMs: 1000}, MinCheckpointCount: 1, MaxCheckpointCount: 10, ConsumerStrategy: "RoundRobin"}
	if _, err := groups.Create(testContext(t), &persistent.CreateReq{Options: &persistent.CreateReq_Options{GroupName: "g", Settings: settings,
		StreamOption: &persistent.CreateReq_Options_Stream{Stream: &persistent.CreateReq_StreamOptions{StreamIdentifier: name("s"),
			RevisionOption: &persistent.CreateReq_StreamOptions_Start{Start: &client.Empty{}}}}}}); err != nil {
		t.Fatal(err)
	}
	_, served := s.get(t, "/metrics")
	names := regexp.MustCompile(`\b(?:baton|kurrentdb|process|go)_[a-z0-9_]+`)
	for _, path := range []string{"../../deploy/grafana/event-store.json", "../../deploy/prometheus/alerts.yml"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(path, ".json") && !json.Valid(text) {
			t.Errorf("%s is no JSON", path)
		}
		asked := names.FindAllString(string(text), -1)
		asked = slices.DeleteFunc(asked, func(name string) bool { // shown once something was handled
			return name == "kurrentdb_persistent_sub_checkpointed_event_number"
		})
		slices.Sort(asked)
		asked = slices.Compact(asked)
		if len(asked) < 5 {
			t.Errorf("%s asks for %v only", path, asked)
		}
		for _, name := range asked {
			if !strings.Contains(served, "\n"+name+"{") && !strings.Contains(served, "\n"+name+" ") && !strings.Contains(served, "\n# TYPE "+name+" ") {
				t.Errorf("%s asks for %s, which is not served", path, name)
			}
		}
	}
	for _, line := range []string{
		`kurrentdb_checkpoints{name="writer",read="non-flushed"} `, `kurrentdb_statuses{name="Node",status="Leader"} `,
		`kurrentdb_grpc_method_duration_seconds_count{activity="stream-append",status="successful"} 1`, `kurrentdb_elections_count 1`,
		`kurrentdb_persistent_sub_connections{event_stream_id="s",group_name="g"} 0`, `kurrentdb_persistent_sub_last_known_event_number{event_stream_id="s",group_name="g"} 0`,
		`kurrentdb_persistent_sub_park_message_requests{event_stream_id="s",group_name="g",reason="client-nak"} 0`, `kurrentdb_incoming_grpc_calls_total{kind="failed"} 0`,
		`kurrentdb_io_events_total{activity="written"} 1`, `kurrentdb_info{product="baton test",version=`,
	} {
		if !strings.Contains(served, line) {
			t.Errorf("not served: %s", line)
		}
	}
}
