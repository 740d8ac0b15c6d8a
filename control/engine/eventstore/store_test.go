package eventstore_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"baton/control/engine"
	"baton/control/engine/enginetest"
	"baton/control/engine/eventstore"
	"baton/gen/eventstore/client"
	"baton/gen/eventstore/persistent"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// alone starts one node with these arguments beside its own.
func alone(t *testing.T, d engine.Driver, auth engine.Auth, args ...string) engine.Instance {
	t.Helper()
	dir := t.TempDir()
	in := engine.Instance{Cluster: "test", Node: "n1", Engine: engine.EventStore, Host: "127.0.0.1", Port: freePort(t), Dir: filepath.Join(dir, "n1"), Auth: auth}
	s := &server{t: t, log: filepath.Join(dir, "n1.log"), in: in, args: append([]string{"serve", "--db", in.Dir, "--node-name", "n1",
		"--node-port", strconv.Itoa(in.Port), "--replication-port", strconv.Itoa(freePort(t))}, args...)}
	s.start()
	enginetest.Eventually(t, "the node leads", func() string {
		o, err := d.Observe(context.Background(), in)
		if err != nil || o.Role != engine.RolePrimary {
			return fmt.Sprintf("%s %s %v", o.Role, o.Err, err)
		}
		return ""
	})
	return in
}

// store does actions on one node, within the time a person waits.
type store struct {
	t  *testing.T
	d  engine.Driver
	in engine.Instance
}

func (s *store) try(name string, args ...string) (engine.Result, error) {
	s.t.Helper()
	a := engine.Action{Name: name, Args: map[string]string{}}
	for i := 0; i+1 < len(args); i += 2 {
		a.Args[args[i]] = args[i+1]
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return s.d.Do(ctx, s.in, a)
}

func (s *store) do(name string, args ...string) engine.Result {
	s.t.Helper()
	r, err := s.try(name, args...)
	if err != nil {
		s.t.Fatalf("%s: %v", name, err)
	}
	return r
}

func (s *store) refused(code, name string, args ...string) {
	s.t.Helper()
	if r, err := s.try(name, args...); engine.CodeOf(err) != code {
		s.t.Errorf("%s %v: %v %v, want %s", name, args, r, err, code)
	}
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func value[T any](t *testing.T, r engine.Result, name string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.Values[name]), &v); err != nil {
		t.Fatalf("%s: %v in %v", name, err, r)
	}
	return v
}

// Goal: groups are made, seen, changed, replayed and deleted on a real node. Method: a consumer parks five events of a stream;
// the first two are replayed and three stay.
func TestGroupsOfARealNode(t *testing.T) {
	d := eventstore.New()
	defer d.Close()
	s := &store{t, d, alone(t, d, engine.Auth{}, "--insecure", "--run-projections", "All")}
	usual := engine.GroupSettings{Strategy: "RoundRobin", MessageTimeoutMs: 60_000, MaxRetries: 10, CheckpointAfterMs: 100, MinCheckpoint: 1, MaxCheckpoint: 10, LiveBuffer: 500, HistoryBuffer: 500, ReadBatch: 20}
	spec := engine.GroupSpec{Stream: "orders", Group: "billing", From: "start", Settings: usual}
	s.do(engine.CreateGroup, "group", text(spec))
	s.refused(engine.CodeRefused, engine.CreateGroup, "group", text(spec))
	s.do(engine.CreateGroup, "group", text(engine.GroupSpec{Stream: engine.AllStreams, Group: "every order", From: "end", Settings: usual, Filter: &engine.GroupFilter{Prefixes: []string{"order"}}}))
	for range 5 {
		s.do(engine.AppendEvent, "stream", "orders", "type", "placed", "data", "{}")
	}
	group := func() engine.GroupInfo {
		t.Helper()
		return value[engine.GroupInfo](t, s.do(engine.ReadGroup, "stream", "orders", "group", "billing"), "group")
	}
	enginetest.Eventually(t, "the group is behind by what was appended", func() string {
		if g := group(); g.LagEvents != 5 || g.Settings != usual || g.From != "0" || g.Consumers != 0 || g.OldestParked != nil {
			return fmt.Sprintf("%+v", g)
		}
		return ""
	})

	consumer := consume(t, s.in, "orders", "billing")
	for range 5 {
		consumer.answer(persistent.ReadReq_Nack_Park)
	}
	enginetest.Eventually(t, "five are parked", func() string {
		g := group()
		if g.Parked != 5 || g.OldestParked == nil || g.Consumers != 1 || len(g.Connections) != 1 || g.LagEvents != 0 {
			return fmt.Sprintf("%+v", g)
		}
		return ""
	})
	if r := s.do(engine.ReplayGroup, "stream", "orders", "group", "billing", "first", "2"); r.Values["events"] != "2" {
		t.Errorf("replayed %v", r)
	}
	for range 2 {
		consumer.answer(-1)
	}
	enginetest.Eventually(t, "three stay parked", func() string {
		if g := group(); g.Parked != 3 {
			return fmt.Sprintf("%+v", g)
		}
		return ""
	})
	s.refused(engine.CodeBadAction, engine.ReplayGroup, "stream", "orders", "group", "billing", "first", "0")

	spec.Settings.Strategy, spec.Settings.MaxRetries = "PinnedByCorrelation", 2
	s.do(engine.UpdateGroup, "group", text(spec))
	if g := group(); g.Settings.Strategy != "PinnedByCorrelation" || g.Settings.MaxRetries != 2 {
		t.Errorf("changed to %+v", g)
	}
	spec.Settings.HistoryBuffer = 10
	s.refused(engine.CodeRefused, engine.UpdateGroup, "group", text(spec))
	enginetest.Eventually(t, "both are listed, the one of all streams behind by five", func() string {
		list := value[[]engine.GroupInfo](t, s.do(engine.ListGroups), "groups")
		if len(list) != 2 || list[0].Stream != engine.AllStreams || list[0].LagEvents != 5 || list[1].Parked != 3 || list[1].Connections != nil {
			return fmt.Sprintf("%+v", list)
		}
		return ""
	})
	s.do(engine.DeleteGroup, "stream", "orders", "group", "billing")
	s.do(engine.DeleteGroup, "stream", engine.AllStreams, "group", "every order")
	s.refused(engine.CodeRefused, engine.ReadGroup, "stream", "orders", "group", "billing")
	s.refused(engine.CodeRefused, engine.DeleteGroup, "stream", "orders", "group", "billing")
	s.refused(engine.CodeNotOffered, engine.ListAccounts)
	projections(s)
}

// consumer is one connection to a group.
type consumer struct {
	t *testing.T
	s persistent.PersistentSubscriptions_ReadClient
}

func consume(t *testing.T, in engine.Instance, stream, group string) *consumer {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+in.Address(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	c, err := persistent.NewPersistentSubscriptionsClient(conn).Read(ctx)
	if err == nil {
		err = c.Send(&persistent.ReadReq{Content: &persistent.ReadReq_Options_{Options: &persistent.ReadReq_Options{GroupName: group, BufferSize: 10,
			StreamOption: &persistent.ReadReq_Options_StreamIdentifier{StreamIdentifier: &client.StreamIdentifier{StreamName: []byte(stream)}},
			UuidOption:   &persistent.ReadReq_Options_UUIDOption{Content: &persistent.ReadReq_Options_UUIDOption_String_{String_: &client.Empty{}}}}}})
	}
	if err != nil {
		t.Fatal(err)
	}
	return &consumer{t, c}
}

// answer takes the next event and refuses it in this way; -1 acknowledges it.
func (c *consumer) answer(how persistent.ReadReq_Nack_Action) {
	c.t.Helper()
	for {
		m, err := c.s.Recv()
		if err != nil {
			c.t.Fatal(err)
		}
		e := m.GetEvent()
		if e == nil {
			continue
		}
		id := e.GetEvent().GetId()
		if e.GetLink() != nil {
			id = e.GetLink().GetId()
		}
		req := &persistent.ReadReq{Content: &persistent.ReadReq_Nack_{Nack: &persistent.ReadReq_Nack{Ids: []*client.UUID{id}, Action: how, Reason: "a test"}}}
		if how < 0 {
			req = &persistent.ReadReq{Content: &persistent.ReadReq_Ack_{Ack: &persistent.ReadReq_Ack{Ids: []*client.UUID{id}}}}
		}
		if err := c.s.Send(req); err != nil {
			c.t.Fatal(err)
		}
		return
	}
}

// projections: one is made, counts, is changed, halted, reset and deleted; a script that cannot be read is refused.
func projections(s *store) {
	s.t.Helper()
	spec := engine.ProjectionSpec{Name: "totals", Mode: engine.ProjectionContinuous, Query: "fromStream('orders').when({$init: () => ({n: 0}), $any: (s) => { s.n++; return s; }})"}
	broken := spec
	broken.Query = "fromAll("
	s.refused(engine.CodeRefused, engine.CreateProjection, "projection", text(broken))
	s.do(engine.CreateProjection, "projection", text(spec))
	s.refused(engine.CodeRefused, engine.CreateProjection, "projection", text(spec))
	enginetest.Eventually(s.t, "it has counted", func() string {
		r, err := s.try(engine.ReadProjectionState, "name", "totals", "partition", "")
		if err != nil || r.Values["state"] == "" {
			return fmt.Sprint(r, err)
		}
		if v := value[engine.EventText](s.t, r, "state"); v.Text != `{"n":5}` {
			return v.Text
		}
		return ""
	})
	detail := func() engine.ProjectionDetail {
		s.t.Helper()
		return value[engine.ProjectionDetail](s.t, s.do(engine.ReadProjection, "name", "totals"), "projection")
	}
	if p := detail(); !p.Known || p.Query != spec.Query || p.Emit == nil || *p.Emit || !strings.HasPrefix(p.Info.Status, "Running") {
		s.t.Errorf("read %+v", p)
	}
	s.do(engine.CommandProjection, "name", "totals", "command", engine.ProjectionDisable)
	spec.Query, spec.Emit = "fromAll().when({$any: (s) => s})", true
	s.do(engine.UpdateProjection, "projection", text(spec))
	if p := detail(); p.Query != spec.Query || !*p.Emit {
		s.t.Errorf("changed to %+v", p)
	}
	for _, c := range []string{engine.ProjectionReset, engine.ProjectionEnable, engine.ProjectionAbort} {
		s.do(engine.CommandProjection, "name", "totals", "command", c)
	}
	found := false
	for _, p := range value[[]engine.ProjectionInfo](s.t, s.do(engine.ListProjections), "projections") {
		found = found || p.Name == "totals"
	}
	if !found {
		s.t.Error("the list lacks it")
	}
	s.do(engine.DeleteProjection, "name", "totals", "emitted", "false", "state", "true", "checkpoint", "true")
	s.refused(engine.CodeRefused, engine.ReadProjection, "name", "totals")
}

// Goal: a secure node answers nobody without a login and says which one it refuses; with one, accounts are managed.
func TestAccountsOfASecureNode(t *testing.T) {
	authority := filepath.Join(t.TempDir(), "authority")
	if out, err := exec.Command(binary, "certs", "authority", authority).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	d := eventstore.New()
	defer d.Close()
	admin := engine.Auth{User: "admin", Password: "changeit", CAFile: filepath.Join(authority, "ca.crt")}
	s := &store{t, d, alone(t, d, admin, "--certificate-authority-path", authority, "--run-projections", "None")}

	stranger := s.in
	stranger.Auth = engine.Auth{CAFile: admin.CAFile}
	if o, err := d.Observe(context.Background(), stranger); err != nil || o.Up || o.State != engine.StateNoLogin {
		t.Errorf("seen without a login: %+v %v", o, err)
	}
	(&store{t, d, stranger}).refused(engine.CodeAuth, engine.ListAccounts)
	(&store{t, d, stranger}).refused(engine.CodeAuth, engine.CheckAuth, "addr", s.in.Address())
	wrong := s.in
	wrong.Auth.Password = "guessed"
	(&store{t, d, wrong}).refused(engine.CodeAuth, engine.ListGroups)

	s.refused(engine.CodeNotOffered, engine.ListProjections)
	list := value[[]engine.AccountInfo](t, s.do(engine.ListAccounts), "users")
	if len(list) != 2 || list[0].Login != "admin" || list[0].Groups[0] != "$admins" || list[0].Created == nil || list[0].Created.IsZero() {
		t.Fatalf("accounts %+v", list)
	}
	ada := engine.AccountInfo{Login: "ada", FullName: "Ada", Groups: []string{"readers"}}
	s.do(engine.CreateAccount, "account", text(ada), "password", "a long enough one")
	s.refused(engine.CodeRefused, engine.CreateAccount, "account", text(ada), "password", "a long enough one")
	ada.Groups = []string{"$ops", "readers"}
	s.do(engine.UpdateAccount, "account", text(ada))
	s.do(engine.EnableAccount, "login", "ada", "enabled", "false")
	for _, a := range value[[]engine.AccountInfo](t, s.do(engine.ListAccounts), "users") {
		if a.Login == "ada" && (!a.Disabled || len(a.Groups) != 2 || a.FullName != "Ada") {
			t.Errorf("changed to %+v", a)
		}
	}
	s.do(engine.EnableAccount, "login", "ada", "enabled", "true")
	s.do(engine.ResetAccount, "login", "ada", "password", "another long one")
	as := s.in
	as.Auth.User, as.Auth.Password = "ada", "another long one"
	(&store{t, d, as}).refused(engine.CodeRefused, engine.ListAccounts) // she is let in and may not
	s.refused(engine.CodeRefused, engine.DeleteAccount, "login", "admin")
	s.do(engine.DeleteAccount, "login", "ada")
	s.refused(engine.CodeRefused, engine.ResetAccount, "login", "ada", "password", "another long one")
}
