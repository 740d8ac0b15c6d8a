package rpc_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	"baton/gen/eventstore/client"
	"baton/gen/eventstore/persistent"
	"baton/gen/eventstore/streams"
)

// Goal: truncation, deletion and revival of what a group reads neither stall it nor bring back what is gone.
func TestGroupOutlivesTruncation(t *testing.T) {
	t.Parallel()
	s := newHouse(t, houseOptions{}).leader()
	ctx := testContext(t)
	mustWrite(t, s, "cut", numbered(0, 6)...)
	mustCreate(t, s, groupOf("cut", "g", func(o *persistent.CreateReq_Settings) { o.MinCheckpointCount, o.MaxCheckpointCount = 1, 1 }))
	c := consume(t, s, "cut", "g", 2)
	got := c.next(2)
	c.ack(got[0])
	c.next(1)
	awaitInfo(t, s, "cut", "g", "a checkpoint", func(i *persistent.SubscriptionInfo) bool { return i.GetLastCheckpointedEventPosition() == "0" })
	// Everything up to 4 goes, the place of the checkpoint with it; a group loaded anew begins with what is left.
	mustWrite(t, s, "$$cut", &proposed{Id: id(uuid.New()), Metadata: map[string]string{"type": "$metadata", "content-type": "application/json"}, Data: []byte(`{"$tb":5}`)})
	if _, err := s.groups().RestartSubsystem(ctx, &client.Empty{}); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, c, codes.Canceled, "persistent-subscription-dropped")
	c = consume(t, s, "cut", "g", 10)
	if got = c.next(1); texts(got) != "5" {
		t.Fatalf("after truncation %v", got)
	}
	c.ack(got...)
	awaitInfo(t, s, "cut", "g", "a checkpoint behind the truncation", func(i *persistent.SubscriptionInfo) bool {
		return i.GetLastCheckpointedEventPosition() == "5" && i.GetStatus() == "Live"
	})
	// Deleted, and written again: the group goes on with what is new.
	if _, err := s.streams().Delete(ctx, &streams.DeleteReq{Options: &streams.DeleteReq_Options{StreamIdentifier: name("cut"),
		ExpectedStreamRevision: &streams.DeleteReq_Options_Any{Any: &client.Empty{}}}}); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, s, "cut", event("t", "revived"))
	if got = c.next(1); texts(got) != "revived" || got[0].GetEvent().GetStreamRevision() != 6 {
		t.Fatalf("after a deletion %v", got)
	}
	c.ack(got...)
	// Gone for good: the tombstone is the last event; the group stays, and so do its requests.
	if _, err := s.streams().Tombstone(ctx, &streams.TombstoneReq{Options: &streams.TombstoneReq_Options{StreamIdentifier: name("cut"),
		ExpectedStreamRevision: &streams.TombstoneReq_Options_Any{Any: &client.Empty{}}}}); err != nil {
		t.Fatal(err)
	}
	if got = c.next(1); got[0].GetEvent().GetMetadata()["type"] != "$streamDeleted" {
		t.Fatalf("after a tombstone %v", got)
	}
	c.ack(got...)
	awaitInfo(t, s, "cut", "g", "the tombstone is handled", func(i *persistent.SubscriptionInfo) bool { return i.GetOutstandingMessagesCount() == 0 })
	if _, err := s.groups().RestartSubsystem(ctx, &client.Empty{}); err != nil {
		t.Fatal(err)
	}
	if i := infoOf(t, s, "cut", "g"); i.GetStatus() != "Live" {
		t.Fatalf("info %v", i)
	}
}

// Goal: the HTTP routes say and do the same as the calls.
func TestGroupsOverHTTP(t *testing.T) {
	t.Parallel()
	s := newHouse(t, houseOptions{}).leader()
	do := func(method, path, body string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(testContext(t), method, "http://"+s.addr+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	const group = "/subscriptions/a%2Fb/Group%201"
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/subscriptions", "", 200, "[]"},
		{"GET", "/subscriptions/a%2Fb", "", 404, "has no persistent subscriptions"},
		{"PUT", group, `{"maxRetryCount":3,"bufferSize":5}`, 409, "must be larger than the read batch size"},
		{"PUT", group, `{"maxRetryCount":3,"startFrom":2,"namedConsumerStrategy":"Pinned"}`, 201, ""},
		{"PUT", group, `{}`, 409, "exists already"},
		{"GET", group + "/info", "", 200, `"startFrom":2`},
		{"GET", group + "/info", "", 200, `"namedConsumerStrategy":"Pinned"`},
		{"POST", group, `{"maxRetryCount":9}`, 200, "Success"},
		{"GET", "/subscriptions/a%2Fb", "", 200, `"maxRetryCount":9`},
		{"POST", group + "/replayParked?stopAt=x", "", 400, "stopAt"},
		{"POST", group + "/replayParked", "", 200, "Success"},
		{"POST", "/subscriptions/restart", "", 200, "Success"},
		{"GET", "/subscriptions", "", 200, `"eventStreamId":"a/b","groupName":"Group 1"`},
		{"PUT", "/subscriptions/$all/every", `{"startPosition":"C:0/P:0"}`, 201, ""},
		{"GET", "/subscriptions/$all/every/info", "", 200, `"startPosition":"C:0/P:0"`},
		{"DELETE", group, "", 200, "Success"},
		{"GET", group + "/info", "", 404, "no-group"},
	} {
		status, body := do(c.method, c.path, c.body)
		if status != c.status || !strings.Contains(body, c.want) {
			t.Errorf("%s %s: %d %s, want %d with %q", c.method, c.path, status, body, c.status, c.want)
		}
	}
}
