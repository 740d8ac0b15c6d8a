package rpc_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"baton/eventstore/scavenge"
	"baton/gen/eventstore/operations"
)

// testScavengeCalls starts, looks at and stops scavenges, by gRPC and by HTTP.
func testScavengeCalls(t *testing.T, ctx context.Context, s *served) {
	t.Helper()
	ops := operations.NewOperationsClient(s.conn)
	start := func(threads, from int32) (*operations.ScavengeResp, error) {
		return ops.StartScavenge(ctx, &operations.StartScavengeReq{Options: &operations.StartScavengeReq_Options{ThreadCount: threads, StartFromChunk: from}})
	}
	if code, _ := call(t, s, "GET", "/admin/scavenge/last"); code != http.StatusNotFound {
		t.Errorf("a scavenge before the first: %d", code)
	}
	for _, bad := range [][2]int32{{0, 0}, {-1, 0}, {1, -1}} {
		if _, err := start(bad[0], bad[1]); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%d threads from segment %d: %v", bad[0], bad[1], err)
		}
	}
	if _, err := ops.StartScavenge(ctx, &operations.StartScavengeReq{}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("without options: %v", err)
	}
	var trailer metadata.MD
	_, err := ops.StopScavenge(ctx, &operations.StopScavengeReq{Options: &operations.StopScavengeReq_Options{ScavengeId: "none"}}, grpc.Trailer(&trailer))
	if status.Code(err) != codes.NotFound || strings.Join(trailer["exception"], "") != "scavenge-not-found" || strings.Join(trailer["scavenge-id"], "") != "none" {
		t.Errorf("stop what does not run: %v, %v", err, trailer)
	}
	answer, err := start(1, 0)
	if err != nil || answer.ScavengeResult != operations.ScavengeResp_Started || answer.ScavengeId == "" {
		t.Fatalf("start: %v, %v", answer, err)
	}
	eventually(t, "the scavenge has ended", func() error {
		if now, _ := s.node.Scavenger().Status(); now.ID != answer.ScavengeId || now.Result != scavenge.Success {
			return fmt.Errorf("%+v", now)
		}
		return nil
	})
	code, last := call(t, s, "GET", "/admin/scavenge/last")
	if code != http.StatusOK || last["scavengeId"] != answer.ScavengeId || last["scavengeResult"] != "Success" || last["scavengeLink"] != "/admin/scavenge/"+answer.ScavengeId {
		t.Errorf("last: %d, %v", code, last)
	}
	if code, now := call(t, s, "GET", "/admin/scavenge/current"); code != http.StatusNotFound {
		t.Errorf("current: %d, %v", code, now)
	}
	for _, query := range []string{"threads=0", "threads=x", "threshold=-2", "throttlePercent=0", "throttlePercent=101", "throttlePercent=50&threads=2", "startFromChunk=-1", "syncOnly=maybe"} {
		if code, _ := call(t, s, "POST", "/admin/scavenge?"+query); code != http.StatusBadRequest {
			t.Errorf("%s: %d", query, code)
		}
	}
	code, begun := call(t, s, "POST", "/admin/scavenge?threads=1&threshold=-1&throttlePercent=50&syncOnly=true&startFromChunk=0")
	if code != http.StatusOK || begun["scavengeResult"] != "Started" {
		t.Errorf("start by HTTP: %d, %v", code, begun)
	}
	// It may have ended by itself before this comes.
	if code, _ := call(t, s, "DELETE", "/admin/scavenge/current"); code != http.StatusOK && code != http.StatusNotFound {
		t.Errorf("stop by HTTP: %d", code)
	}
	if err := s.node.Scavenger().Wait(ctx); err != nil {
		t.Error(err)
	}
	if code, _ := call(t, s, "DELETE", "/admin/scavenge/current"); code != http.StatusNotFound {
		t.Errorf("stop what does not run: %d", code)
	}
	if code, text := callText(t, s, "GET", "/metrics"); code != http.StatusOK || !strings.Contains(text, "baton_scavenge_running 0") {
		t.Errorf("metrics: %d", code)
	}
}

// call asks the node's HTTP routes.
func call(t *testing.T, s *served, method, path string) (int, map[string]any) {
	t.Helper()
	code, text := callText(t, s, method, path)
	var value map[string]any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Errorf("%s %s: %q", method, path, text)
	}
	return code, value
}

func callText(t *testing.T, s *served, method, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}
