package rpc_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"baton/gen/eventstore/client"
	"baton/gen/eventstore/features"
	projectionspb "baton/gen/eventstore/projections"
)

func (s *served) projections() projectionspb.ProjectionsClient {
	return projectionspb.NewProjectionsClient(s.conn)
}

func continuous(name, query string, emit bool) *projectionspb.CreateReq {
	return &projectionspb.CreateReq{Options: &projectionspb.CreateReq_Options{Query: query,
		Mode: &projectionspb.CreateReq_Options_Continuous_{Continuous: &projectionspb.CreateReq_Options_Continuous{Name: name, EmitEnabled: emit}}}}
}

func byName(name string) *projectionspb.StatisticsReq {
	return &projectionspb.StatisticsReq{Options: &projectionspb.StatisticsReq_Options{Mode: &projectionspb.StatisticsReq_Options_Name{Name: name}}}
}

func (s *served) details(ctx context.Context, req *projectionspb.StatisticsReq) (list []*projectionspb.StatisticsResp_Details, err error) {
	call, err := s.projections().Statistics(ctx, req)
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
		list = append(list, m.GetDetails())
	}
}

func (s *served) awaitProjection(t *testing.T, ctx context.Context, name, status, reason string) {
	t.Helper()
	eventually(t, "projection "+name+" to be "+status, func() error {
		list, err := s.details(ctx, byName(name))
		if err != nil || len(list) != 1 || list[0].GetStatus() != status || !strings.Contains(list[0].GetStateReason(), reason) {
			return fmt.Errorf("%v %v, want the reason %q", list, err, reason)
		}
		return nil
	})
}

func (s *served) awaitState(t *testing.T, ctx context.Context, name, want string) {
	t.Helper()
	eventually(t, "the state of "+name, func() error {
		got, err := s.projections().State(ctx, &projectionspb.StateReq{Options: &projectionspb.StateReq_Options{Name: name}})
		if err != nil {
			return err
		}
		text, err := json.Marshal(got.GetState().AsInterface())
		if err != nil || string(text) != want {
			return fmt.Errorf("%s %v, want %s", text, err, want)
		}
		return nil
	})
}

const counting = `.when({ $init: function () { return { n: 0 }; }, made: function (s, e) { s.n++; return s; } })`

// Goal: each call of the service ends with the status clients expect.
func TestProjectionCalls(t *testing.T) {
	h := newHouse(t, houseOptions{projections: true})
	s, ctx := h.leader(), testContext(t)
	p := s.projections()
	wantCode := func(what string, err error, want codes.Code) {
		t.Helper()
		if status.Code(err) != want {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	_, err := p.Create(ctx, continuous("p", `fromStream("in")`+counting, false))
	wantCode("create", err, codes.OK)
	_, err = p.Create(ctx, continuous("p", `fromStream("in")`+counting, false))
	wantCode("create again", err, codes.AlreadyExists)
	_, err = p.Create(ctx, continuous("q", `fromAll(`, false))
	wantCode("a program that is none", err, codes.FailedPrecondition)
	_, err = p.Create(ctx, continuous("", `fromAll()`, false))
	wantCode("no name", err, codes.InvalidArgument)
	_, err = p.Create(ctx, continuous("$mine", `fromAll()`, false))
	wantCode("a name of the system", err, codes.InvalidArgument)
	_, err = p.Create(ctx, &projectionspb.CreateReq{})
	wantCode("no options", err, codes.InvalidArgument)
	_, err = s.details(ctx, &projectionspb.StatisticsReq{})
	wantCode("no mode", err, codes.InvalidArgument)
	missing := "nothing"
	_, err = p.Update(ctx, &projectionspb.UpdateReq{Options: &projectionspb.UpdateReq_Options{Name: missing, Query: "fromAll()"}})
	wantCode("update", err, codes.NotFound)
	_, err = p.Enable(ctx, &projectionspb.EnableReq{Options: &projectionspb.EnableReq_Options{Name: missing}})
	wantCode("enable", err, codes.NotFound)
	_, err = p.Disable(ctx, &projectionspb.DisableReq{Options: &projectionspb.DisableReq_Options{Name: missing}})
	wantCode("disable", err, codes.NotFound)
	_, err = p.Reset(ctx, &projectionspb.ResetReq{})
	wantCode("reset", err, codes.NotFound)
	_, err = p.State(ctx, &projectionspb.StateReq{Options: &projectionspb.StateReq_Options{Name: missing}})
	wantCode("state", err, codes.NotFound)
	_, err = p.Result(ctx, &projectionspb.ResultReq{Options: &projectionspb.ResultReq_Options{Name: missing}})
	wantCode("result", err, codes.NotFound)
	_, err = s.details(ctx, byName(missing))
	wantCode("statistics", err, codes.NotFound)
	_, err = p.Delete(ctx, &projectionspb.DeleteReq{Options: &projectionspb.DeleteReq_Options{Name: "p"}})
	wantCode("delete one that runs", err, codes.FailedPrecondition)
	_, err = p.Delete(ctx, &projectionspb.DeleteReq{Options: &projectionspb.DeleteReq_Options{Name: "$streams"}})
	wantCode("delete the system's", err, codes.FailedPrecondition)

	if _, err := s.write(ctx, "in", nil, event("made", "{}"), event("made", "{}")); err != nil {
		t.Fatal(err)
	}
	s.awaitState(t, ctx, "p", `{"n":2}`)
	_, err = p.RestartSubsystem(ctx, &client.Empty{})
	wantCode("restart", err, codes.OK)
	s.awaitState(t, ctx, "p", `{"n":2}`)
	one := &projectionspb.CreateReq{Options: &projectionspb.CreateReq_Options{Query: `fromAll()` + counting, Mode: &projectionspb.CreateReq_Options_OneTime{OneTime: &client.Empty{}}}}
	_, err = p.Create(ctx, one)
	wantCode("one-time", err, codes.OK)
	passing := &projectionspb.CreateReq{Options: &projectionspb.CreateReq_Options{Query: `fromAll()` + counting,
		Mode: &projectionspb.CreateReq_Options_Transient_{Transient: &projectionspb.CreateReq_Options_Transient{Name: "passing"}}}}
	_, err = p.Create(ctx, passing)
	wantCode("transient", err, codes.OK)
	s.awaitProjection(t, ctx, "passing", "Completed", "")
	s.awaitState(t, ctx, "passing", `{"n":2}`)
	none := &client.Empty{}
	for _, c := range []struct {
		o    *projectionspb.StatisticsReq_Options
		want int
	}{
		{&projectionspb.StatisticsReq_Options{Mode: &projectionspb.StatisticsReq_Options_All{All: none}}, 8},
		{&projectionspb.StatisticsReq_Options{Mode: &projectionspb.StatisticsReq_Options_Continuous{Continuous: none}}, 6},
		{&projectionspb.StatisticsReq_Options{Mode: &projectionspb.StatisticsReq_Options_OneTime{OneTime: none}}, 1},
		{&projectionspb.StatisticsReq_Options{Mode: &projectionspb.StatisticsReq_Options_Transient{Transient: none}}, 1},
	} {
		if list, err := s.details(ctx, &projectionspb.StatisticsReq{Options: c.o}); err != nil || len(list) != c.want {
			t.Errorf("%v: %d projections, %v", c.o, len(list), err)
		}
	}
	known, err := features.NewServerFeaturesClient(s.conn).GetSupportedMethods(ctx, none)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(known.GetMethods(), func(m *features.SupportedMethod) bool {
		return m.GetServiceName() == "event_store.client.projections.projections" && m.GetMethodName() == "create" && slices.Contains(m.GetFeatures(), "track_emitted_streams")
	}) {
		t.Error("clients are not told of projections")
	}
}

// Goal: projections are the leader's; others say where it is.
func TestProjectionsAreTheLeaders(t *testing.T) {
	h := newHouse(t, houseOptions{nodes: 3, size: 3, projections: true})
	leader, follower, ctx := h.leader(), h.byRole("Follower"), testContext(t)
	var trailer metadata.MD
	_, err := follower.projections().Create(ctx, continuous("p", "fromAll()", false), grpc.Trailer(&trailer))
	at := strings.Join(trailer.Get("leader-endpoint-host"), "") + ":" + strings.Join(trailer.Get("leader-endpoint-port"), "")
	if status.Code(err) != codes.NotFound || strings.Join(trailer.Get("exception"), "") != "not-leader" || at != leader.addr {
		t.Errorf("%v %v", err, trailer)
	}
	resp, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Get("http://" + follower.addr + "/projections/any")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusTemporaryRedirect || !strings.HasSuffix(resp.Header.Get("Location"), leader.addr+"/projections/any") {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
}

// Goal: a projection sees and writes what its owner may, and what it takes to manage one is asked for.
func TestProjectionsHaveTheRightsOfTheirOwners(t *testing.T) {
	o := secureOptions()
	o.projections = true
	h := newHouse(t, o)
	s, ctx := h.leader(), patience(t)
	admin, ops := as(ctx, "admin", "root"), as(ctx, "ops", "ops")
	createUser(t, s, admin, "alice")
	createUser(t, s, admin, "bob")
	alice, bob := as(ctx, "alice", "alice"), as(ctx, "bob", "bob")
	mustWriteAs(t, s, alice, "secret-1", event("made", "{}"))
	mustWriteAs(t, s, admin, "$$secret-1", metadataEvent(`{"$acl":{"$r":"alice","$w":"alice"}}`))
	mustWriteAs(t, s, bob, "open-1", event("made", "{}"))
	p := s.projections()
	create := func(caller context.Context, req *projectionspb.CreateReq) {
		t.Helper()
		if _, err := p.Create(caller, req); err != nil {
			t.Fatal(err)
		}
	}
	create(bob, continuous("seen", `fromAll()`+counting, false))
	s.awaitState(t, bob, "seen", `{"n":1}`)
	create(alice, continuous("all", `fromAll()`+counting, false))
	s.awaitState(t, alice, "all", `{"n":2}`)
	create(bob, continuous("nosy", `fromStream("secret-1")`+counting, false))
	s.awaitProjection(t, bob, "nosy", "Faulted", "may not read")
	create(bob, continuous("writer", `fromStream("open-1").when({ made: function (s, e) { emit("secret-1", "made", {}); } })`, true))
	s.awaitProjection(t, bob, "writer", "Faulted", "may not write")
	create(bob, continuous("teller", `options({ resultStreamName: "$settings" }); fromStream("open-1")`+counting+`.outputState()`, true))
	s.awaitProjection(t, bob, "teller", "Faulted", "may not write")
	// Who changes a program has it run in its own name.
	if _, err := p.Update(bob, &projectionspb.UpdateReq{Options: &projectionspb.UpdateReq_Options{Name: "all", Query: `fromStream("secret-1")` + counting}}); err != nil {
		t.Fatal(err)
	}
	s.awaitProjection(t, bob, "all", "Faulted", "may not read")

	if _, err := p.Create(ctx, continuous("x", "fromAll()", false)); status.Code(err) != codes.PermissionDenied {
		t.Errorf("created by nobody: %v", err)
	}
	if _, err := p.RestartSubsystem(bob, &client.Empty{}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("restarted by a user: %v", err)
	}
	gone := &projectionspb.DeleteReq{Options: &projectionspb.DeleteReq_Options{Name: "nosy"}}
	if _, err := p.Delete(bob, gone); status.Code(err) != codes.PermissionDenied {
		t.Errorf("deleted by a user: %v", err)
	}
	if _, err := p.Delete(ops, gone); err != nil {
		t.Errorf("deleted by an operator: %v", err)
	}
}

func TestProjectionsOverHTTP(t *testing.T) {
	h := newHouse(t, houseOptions{projections: true})
	s, ctx := h.leader(), testContext(t)
	if _, err := s.write(ctx, "in", nil, event("made", "{}")); err != nil {
		t.Fatal(err)
	}
	do := func(method, path, body string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, method, "http://"+s.addr+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	program := `fromStream("in")` + counting
	for _, c := range []struct {
		method, path, body string
		status             int
		contains           string
	}{
		{"POST", "/projections/continuous?name=p&emit=yes", program, 201, `"p"`},
		{"POST", "/projections/continuous?name=p", program, 409, "projection-exists"},
		{"POST", "/projections/continuous?name=q", "fromAll(", 400, "line 1"},
		{"POST", "/projections/onetime?name=one&enabled=maybe", program, 400, "enabled"},
		{"GET", "/projections/any", "", 200, `"name":"p"`},
		{"GET", "/projections/transient", "", 200, `"projections":[]`},
		{"GET", "/projection/p", "", 200, `"status":"Running"`},
		{"GET", "/projection/p/query", "", 200, "fromStream"},
		{"GET", "/projection/p/query?config=yes", "", 200, `"emitEnabled":true`},
		{"PUT", "/projection/p/query?emit=no", program, 200, "Success"},
		{"GET", "/projection/p/statistics", "", 200, `"version":1`},
		{"POST", "/projection/p/config", `{"checkpointAfterMs":5,"emitEnabled":false}`, 200, "Success"},
		{"GET", "/projection/p/config", "", 200, `"checkpointAfterMs":5`},
		{"POST", "/projection/p/config", `{"checkpointAfterMs":-5}`, 400, "checkpointAfterMs"},
		{"POST", "/projection/p/command/dance", "", 400, "no such command"},
		{"DELETE", "/projection/p", "", 409, "disable"},
		{"POST", "/projection/p/command/disable", "", 200, "Success"},
		{"GET", "/projection/p/state", "", 200, `{"n":1}`},
		{"GET", "/projection/p/result", "", 200, `{"n":1}`},
		{"POST", "/projection/p/command/reset", "", 200, "Success"},
		{"POST", "/projection/p/command/enable", "", 200, "Success"},
		{"POST", "/projection/p/command/abort", "", 200, "Success"},
		{"GET", "/projection/p", "", 200, `"status":"Aborted/Stopped"`},
		{"DELETE", "/projection/p?deleteStateStream=yes&deleteCheckpointStream=yes", "", 200, "Success"},
		{"GET", "/projection/p", "", 404, "no-projection"},
		{"POST", "/projections/restart", "", 200, "Success"},
		{"GET", "/info", "", 200, `"projections":true`},
		{"GET", "/metrics", "", 200, `kurrentdb_projection_running{projection="$streams"} 0`},
	} {
		if c.path == "/projection/p/command/disable" {
			s.awaitState(t, ctx, "p", `{"n":1}`)
		}
		if status, body := do(c.method, c.path, c.body); status != c.status || !strings.Contains(body, c.contains) {
			t.Errorf("%s %s: %d %s, want %d with %q", c.method, c.path, status, body, c.status, c.contains)
		}
	}
	if code, body := newHouse(t, houseOptions{}).leader().get(t, "/projections/any"); code != 404 || !strings.Contains(body, "--run-projections") {
		t.Errorf("on a node without: %d %s", code, body)
	}
}
