package peer

import (
	"encoding/json"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Goal: whatever is said at the beginning of a connection, only a named stranger that means this node and its cluster gets in, and the answer is read as it
// was given.
func FuzzHello(f *testing.F) {
	hello, err := json.Marshal(Hello{Protocol: protocolVersion, ClusterID: "c", From: 2, FromAddr: "127.0.0.1:1", To: 1})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(hello, "c", false)
	f.Add(hello, "another", false)
	f.Add(hello[:len(hello)-5], "", true)
	f.Add([]byte(`{"protocol":1,"from":"0000000000000001"}`), "c", false)
	f.Add([]byte(`{"protocol":1e9,"from":-1,"to":"x","fromAddr":null}`), "c", false)
	f.Fuzz(func(t *testing.T, payload []byte, clusterID string, removed bool) {
		var h Hello
		if json.Unmarshal(payload, &h) != nil {
			return
		}
		w := Judge(h, 1, clusterID, removed)
		if w.Refused == "" && (removed || h.Protocol != protocolVersion || h.From == 0 || h.From == 1 || h.To != 0 && h.To != 1 || h.ClusterID != "" && clusterID != "" && h.ClusterID != clusterID) {
			t.Fatalf("%s is let in", payload)
		}
		b, err := json.Marshal(w)
		if err != nil {
			t.Fatal(err)
		}
		var again Welcome
		if err := json.Unmarshal(b, &again); err != nil || (again.Refused == "") != (w.Refused == "") || again.Removed != w.Removed || again.Self != w.Self {
			t.Fatalf("%+v is read as %+v, %v", w, again, err)
		}
	})
}

// Goal: messages that are read from a frame are written and read as the same; lengths that lie are refused.
func FuzzRaftFrame(f *testing.F) {
	whole, err := appendRaft(nil, []*raftpb.Message{message(1, 2, 3), message(1, 2, 4)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole[frameHeaderBytes:])
	f.Add(whole[frameHeaderBytes : len(whole)-1])
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1})
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, payload []byte) {
		messages, err := parseRaft(payload)
		if err != nil {
			return
		}
		if 4*len(messages) > len(payload) {
			t.Fatalf("%d messages of %d bytes", len(messages), len(payload))
		}
		if len(messages) == 0 {
			return
		}
		frame, err := appendRaft(nil, messages)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseRaft(frame[frameHeaderBytes:])
		if err != nil || len(again) != len(messages) {
			t.Fatalf("%d messages are read again as %d, %v", len(messages), len(again), err)
		}
		for i := range again {
			if !proto.Equal(again[i], messages[i]) {
				t.Fatalf("%v is read again as %v", messages[i], again[i])
			}
		}
	})
}
