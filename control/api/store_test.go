package api

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"baton/control/agent"
	"baton/control/audit"
	"baton/control/engine"
	"baton/control/journal"
	"baton/platform/seal"
)

func root(r *http.Request) { r.Header.Set("Authorization", "Bearer root-token") }

// askedStore is a store site whose agent answers from a table of actions; what
// is not in it is done.
func askedStore(t *testing.T, answers map[string]func(engine.Action) agent.Result) (s *site, asked func(name string) []engine.Action) {
	t.Helper()
	s, _ = storeSite(t)
	var mu sync.Mutex
	var all []engine.Action
	s.agents.mu.Lock()
	s.agents.answer = func(o agent.Order) agent.Result {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, o.Action)
		if f := answers[o.Action.Name]; f != nil {
			return f(o.Action)
		}
		return agent.Result{}
	}
	s.agents.mu.Unlock()
	return s, func(name string) (out []engine.Action) {
		mu.Lock()
		defer mu.Unlock()
		for _, a := range all {
			if a.Name == name {
				out = append(out, a)
			}
		}
		return out
	}
}

func gives(t *testing.T, name string, v any) func(engine.Action) agent.Result {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return func(engine.Action) agent.Result { return agent.Result{Values: map[string]string{name: string(b)}} }
}

func refuses(code, detail string) func(engine.Action) agent.Result {
	return func(engine.Action) agent.Result { return agent.Result{Code: code, Detail: detail} }
}

// audited waits for a record whose sentence holds all the words, and returns it.
func (s *site) auditHolds(outcome string, words ...string) (found audit.Record) {
	s.t.Helper()
	s.eventually("the audit holds "+strings.Join(words, ", "), func() bool {
		records, _ := s.inv.Audit("events", 0, 100)
	next:
		for _, r := range records {
			for _, w := range words {
				if !strings.Contains(r.What, w) {
					continue next
				}
			}
			if r.Outcome == outcome {
				found = r
				return true
			}
		}
		return false
	})
	return found
}

// secretFree demands that nothing the journal holds contains the text.
func (s *site) secretFree(text string) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	caught := make(chan struct{})
	go func() {
		_ = s.parts.journal.Follow(ctx, 0, func(r journal.Recorded) error {
			if bytes.Contains(r.Data, []byte(text)) {
				s.t.Errorf("%q is in the journal: %s %s", text, r.Stream, r.Type)
			}
			return nil
		}, func() { close(caught) })
	}()
	<-caught
	cancel()
}

func TestSubscriptionsAreShownAndChangedByRole(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	g := engine.GroupInfo{Stream: "orders", Group: "billing", Status: "Behind, ReplayingParkedMessages", From: "0", Checkpoint: "9007199254740993", Known: "9007199254740999", LagEvents: 6, LagBytes: -1,
		InFlight: 2, Parked: 3, OldestParked: &at, Consumers: 1, Settings: engine.GroupSettings(UsualSubscription), Connections: []engine.GroupConsumer{{From: "127.0.0.1:5", Name: "worker-1", InFlight: 2}}}
	s, asked := askedStore(t, map[string]func(engine.Action) agent.Result{
		engine.ListGroups: gives(t, "groups", []engine.GroupInfo{g, {Stream: "$all", Group: "all", Status: "Live", LagEvents: -1, LagBytes: 12}}), engine.ReadGroup: gives(t, "group", g),
		engine.ReplayGroup: gives(t, "events", 3), engine.CreateGroup: func(a engine.Action) agent.Result {
			if strings.Contains(a.Arg("group"), "taken") {
				return agent.Result{Code: engine.CodeRefused, Detail: "it exists"}
			}
			return agent.Result{}
		}})
	list := get[SubscriptionList](s, "GET", "/clusters/events/subscriptions", nil, viewer).Subscriptions
	if len(list) != 2 || list[0].State != "behind" || !list[0].Replaying || *list[0].LagEvents != 6 || list[0].LagBytes != nil || list[0].Parked != 3 || !list[0].OldestParked.Equal(at) ||
		list[1].State != "live" || list[1].LagEvents != nil || *list[1].LagBytes != 12 {
		t.Errorf("subscriptions %+v", list)
	}
	d := get[SubscriptionDetail](s, "GET", "/clusters/events/subscriptions/info?stream=orders&group=billing", nil, viewer)
	if d.From != "start" || d.Settings != UsualSubscription || len(d.Consumers) != 1 || d.Consumers[0].Name != "worker-1" || d.Subscription.Checkpoint != "9007199254740993" {
		t.Errorf("detail %+v", d)
	}

	make := func(change map[string]any) map[string]any {
		out := map[string]any{"stream": "orders", "group": "billing"}
		for k, v := range change {
			out[k] = v
		}
		return out
	}
	s.refused(403, CodeForbidden, "POST", "/clusters/events/subscriptions", make(nil), viewer)
	get[SubscriptionDetail](s, "POST", "/clusters/events/subscriptions", make(nil), operator)
	var spec engine.GroupSpec
	if err := json.Unmarshal([]byte(asked(engine.CreateGroup)[0].Arg("group")), &spec); err != nil || spec.From != "end" || spec.Settings != engine.GroupSettings(UsualSubscription) {
		t.Errorf("asked for %+v, %v", spec, err)
	}
	s.refused(409, CodeRefused, "POST", "/clusters/events/subscriptions", make(map[string]any{"group": "taken"}), operator)
	never := UsualSubscription
	never.MessageTimeoutMs, never.ReadBatch, never.HistoryBuffer = 0, 30, 30
	for _, wrong := range []map[string]any{{"from": "yesterday"}, {"from": "C:1/P:1"}, {"stream": "$all", "from": "7"}, {"settings": never}, {"filter": map[string]any{"by": "type", "regex": "x"}},
		{"stream": "$all", "filter": map[string]any{"by": "type"}}, {"settings": map[string]any{"strategy": "Random"}}} {
		s.refused(422, CodeBadRequest, "POST", "/clusters/events/subscriptions", make(wrong), operator)
	}
	never.HistoryBuffer = 500
	get[SubscriptionDetail](s, "PUT", "/clusters/events/subscriptions", make(map[string]any{"settings": never, "from": "end", "reason": "slow"}), operator)
	if err := json.Unmarshal([]byte(asked(engine.UpdateGroup)[0].Arg("group")), &spec); err != nil || spec.From != "start" || spec.Settings.MessageTimeoutMs != 0 {
		t.Errorf("asked to change to %+v, %v: where it begins is decided once, and zero is a value", spec, err)
	}
	if r := s.auditHolds(audit.Done, "changed subscription billing", "messageTimeoutMs 30000 -> 0"); r.Detail != "slow" {
		t.Errorf("audited %+v", r)
	}

	get[Done](s, "POST", "/clusters/events/subscriptions/replay", make(map[string]any{"first": 3}), operator)
	if a := asked(engine.ReplayGroup); len(a) != 1 || a[0].Arg("first") != "3" {
		t.Errorf("replayed %+v", a)
	}
	s.auditHolds(audit.Done, "replayed 3 parked events of subscription billing of stream orders")
	s.refused(403, CodeForbidden, "POST", "/clusters/events/subscriptions/delete", make(map[string]any{"typedName": "billing"}), operator)
	s.refused(422, CodeTypedName, "POST", "/clusters/events/subscriptions/delete", make(map[string]any{"typedName": "orders"}), root)
	get[Done](s, "POST", "/clusters/events/subscriptions/delete", make(map[string]any{"typedName": "billing"}), root)
	if n := len(asked(engine.DeleteGroup)); n != 1 {
		t.Errorf("%d deletions reached the node", n)
	}
	s.refused(409, CodeBadRequest, "GET", "/clusters/c/subscriptions", nil, viewer)
}

func TestProjectionsAreShownAndChangedByRole(t *testing.T) {
	emit := true
	info := engine.ProjectionInfo{Name: "totals", Status: "Faulted (Enabled)", Reason: "line 3: boom", Mode: "Continuous", Progress: 41.5, PerSecond: -1, Processed: 9007199254740993}
	s, asked := askedStore(t, map[string]func(engine.Action) agent.Result{
		engine.ListProjections:     gives(t, "projections", []engine.ProjectionInfo{{Name: "$streams", Status: "Running", Progress: 100, PerSecond: 12.5}, info}),
		engine.ReadProjection:      gives(t, "projection", engine.ProjectionDetail{Info: info, Query: "fromAll()", Known: true, Emit: &emit, Partitions: []string{"a"}}),
		engine.ReadProjectionState: gives(t, "state", engine.EventText{Text: `{"n":1}`, Bytes: 7})})
	list := get[ProjectionList](s, "GET", "/clusters/events/projections", nil, viewer)
	if !list.Available || len(list.Projections) != 2 || !list.Projections[0].System || list.Projections[0].State != "running" || *list.Projections[0].PerSecond != 12.5 ||
		list.Projections[1].State != "faulted" || list.Projections[1].PerSecond != nil || *list.Projections[1].Progress != 41.5 || list.Projections[1].Processed != 9007199254740993 {
		t.Errorf("projections %+v", list)
	}
	if d := get[ProjectionDetail](s, "GET", "/clusters/events/projections/info?name=totals", nil, viewer); d.Query != "fromAll()" || !*d.Emit || d.Track != nil || len(d.Partitions) != 1 {
		t.Errorf("detail %+v", d)
	}
	if st := get[ProjectionState](s, "GET", "/clusters/events/projections/state?name=totals&partition=a", nil, viewer); st.State == nil || st.State.Text != `{"n":1}` || st.Result != nil {
		t.Errorf("state %+v", st)
	}
	s.refused(403, CodeForbidden, "GET", "/clusters/events/projections/state?name=%24streams", nil, viewer)

	p := map[string]any{"name": "totals", "query": "fromAll()", "emit": true, "track": true}
	s.refused(403, CodeForbidden, "POST", "/clusters/events/projections", p, viewer)
	get[ProjectionDetail](s, "POST", "/clusters/events/projections", p, operator)
	var spec engine.ProjectionSpec
	if err := json.Unmarshal([]byte(asked(engine.CreateProjection)[0].Arg("projection")), &spec); err != nil || spec != (engine.ProjectionSpec{Name: "totals", Mode: "continuous", Query: "fromAll()", Emit: true, Track: true}) {
		t.Errorf("asked for %+v, %v", spec, err)
	}
	s.refused(422, CodeBadRequest, "POST", "/clusters/events/projections", map[string]any{"name": "$mine", "query": "x"}, operator)
	s.refused(422, CodeBadRequest, "POST", "/clusters/events/projections", map[string]any{"name": "mine", "query": "x", "track": true}, operator)
	get[ProjectionDetail](s, "PUT", "/clusters/events/projections", p, operator)
	command := func(name, typed string) map[string]any {
		return map[string]any{"name": "totals", "command": name, "typedName": typed}
	}
	for _, c := range []string{"enable", "disable", "abort"} {
		get[Done](s, "POST", "/clusters/events/projections/command", command(c, ""), operator)
	}
	s.refused(422, CodeTypedName, "POST", "/clusters/events/projections/command", command("reset", ""), operator)
	get[Done](s, "POST", "/clusters/events/projections/command", command("reset", "totals"), operator)
	s.refused(422, CodeBadRequest, "POST", "/clusters/events/projections/command", command("explode", ""), operator)
	if n := len(asked(engine.CommandProjection)); n != 4 {
		t.Errorf("%d commands reached the node", n)
	}
	s.refused(403, CodeForbidden, "POST", "/clusters/events/projections/delete", map[string]any{"name": "totals", "typedName": "totals"}, operator)
	s.refused(409, CodeRefused, "POST", "/clusters/events/projections/delete", map[string]any{"name": "$streams", "typedName": "$streams"}, root)
	get[Done](s, "POST", "/clusters/events/projections/delete", map[string]any{"name": "totals", "typedName": "totals", "emitted": true}, root)
	if a := asked(engine.DeleteProjection); len(a) != 1 || a[0].Arg("emitted") != "true" || a[0].Arg("state") != "false" {
		t.Errorf("deleted %+v", a)
	}
	s.auditHolds(audit.Done, "deleted projection totals, with the streams it wrote to")
	for status, word := range map[string]string{"Running": "running", "Stopped": "stopped", "Completed/Stopped/Writing results": "completed", "Stopped (Faulted)": "faulted", "Preparing": "changing", "": "changing"} {
		if got := projectionState(status); got != word {
			t.Errorf("%q is %s, want %s", status, got, word)
		}
	}
}

func TestAStoreWithoutProjectionsOrSecuritySaysSo(t *testing.T) {
	not := refuses(engine.CodeNotOffered, "unknown service")
	s, _ := askedStore(t, map[string]func(engine.Action) agent.Result{engine.ListProjections: not, engine.CreateProjection: not, engine.ListAccounts: refuses(engine.CodeNotOffered, "no security"), engine.DeleteAccount: not})
	list := get[ProjectionList](s, "GET", "/clusters/events/projections", nil, viewer)
	if list.Available || !strings.Contains(list.Fix, "--run-projections") {
		t.Errorf("projections %+v", list)
	}
	p := s.refused(409, CodeNotOffered, "POST", "/clusters/events/projections", map[string]any{"name": "p", "query": "x"}, operator)
	if !strings.Contains(p.Fix, "--run-projections") {
		t.Errorf("refused %+v", p)
	}
	if users := get[StoreUserList](s, "GET", "/clusters/events/store-users", nil, root); users.Secure || len(users.Users) != 0 {
		t.Errorf("users %+v", users)
	}
	s.refused(409, CodeNotOffered, "PUT", "/clusters/events/store-users/ada", map[string]any{"disabled": true}, root)
}

func TestStoreUsersAreManagedByAdmins(t *testing.T) {
	users := gives(t, "users", []engine.AccountInfo{{Login: "ada", FullName: "Ada", Groups: []string{"$ops"}}, {Login: "admin", Groups: []string{"$admins"}}})
	s, asked := askedStore(t, map[string]func(engine.Action) agent.Result{engine.ListAccounts: users})
	s.refused(403, CodeForbidden, "GET", "/clusters/events/store-users", nil, operator)
	if list := get[StoreUserList](s, "GET", "/clusters/events/store-users", nil, root); !list.Secure || len(list.Users) != 2 || list.Users[0].Groups[0] != "$ops" || list.Users[0].Created != nil {
		t.Errorf("users %+v", list)
	}
	made := get[StoreUserSecret](s, "POST", "/clusters/events/store-users", map[string]any{"login": "bob", "groups": []string{"readers"}}, root)
	if a := asked(engine.CreateAccount); len(a) != 1 || a[0].Arg("password") != made.Password || len(made.Password) < 32 {
		t.Errorf("made %+v with %q", made, a[0].Arg("password"))
	}
	s.secretFree(made.Password)
	given := get[StoreUserSecret](s, "POST", "/clusters/events/store-users/bob/password", map[string]any{"password": "chosen-by-a-person"}, root)
	if given.Password != "" || asked(engine.ResetAccount)[0].Arg("password") != "chosen-by-a-person" {
		t.Errorf("reset %+v", given)
	}
	s.secretFree("chosen-by-a-person")
	s.refused(422, CodeBadRequest, "POST", "/clusters/events/store-users", map[string]any{"login": "a:b"}, root)
	get[StoreUser](s, "PUT", "/clusters/events/store-users/ada", map[string]any{"groups": []string{"$admins", "team"}, "disabled": true}, root)
	var x engine.AccountInfo
	if err := json.Unmarshal([]byte(asked(engine.UpdateAccount)[0].Arg("account")), &x); err != nil || x.FullName != "Ada" || len(x.Groups) != 2 {
		t.Errorf("changed to %+v, %v: what is not named stays", x, err)
	}
	if a := asked(engine.EnableAccount); len(a) != 1 || a[0].Arg("enabled") != "false" {
		t.Errorf("disabled %+v", a)
	}
	s.auditHolds(audit.Done, "changed account ada", "in $admins, team; disabled")
	s.refused(404, CodeNotFound, "PUT", "/clusters/events/store-users/nobody", map[string]any{"disabled": true}, root)
	s.refused(422, CodeTypedName, "POST", "/clusters/events/store-users/ada/delete", map[string]any{"typedName": "bob"}, root)
	get[Done](s, "POST", "/clusters/events/store-users/ada/delete", map[string]any{"typedName": "ada"}, root)
}

// Goal: a store that asks for a login says so on every page; a login is tried before it is kept, is kept sealed, is told to the agents
// also when one missed it, and Baton's own account cannot be taken from under it.
func TestBatonSignsInToASecureStore(t *testing.T) {
	var mu sync.Mutex
	right, told := "correct-horse", ""
	lock := func(f func(a engine.Action) agent.Result) func(engine.Action) agent.Result {
		return func(a engine.Action) agent.Result { mu.Lock(); defer mu.Unlock(); return f(a) }
	}
	needs := func(f func(a engine.Action) agent.Result) func(engine.Action) agent.Result {
		return lock(func(a engine.Action) agent.Result {
			if told != right {
				return agent.Result{Code: engine.CodeAuth, Detail: "the node asks for a login"}
			}
			return f(a)
		})
	}
	s, asked := askedStore(t, map[string]func(engine.Action) agent.Result{
		engine.ListGroups:   needs(gives(t, "groups", []engine.GroupInfo{})),
		engine.ListAccounts: needs(gives(t, "users", []engine.AccountInfo{{Login: "admin", Groups: []string{"$admins"}}})),
		engine.ResetAccount: needs(func(a engine.Action) agent.Result { right = a.Arg("password"); return agent.Result{} }),
		agent.ActionStoreLogin: lock(func(a engine.Action) agent.Result {
			switch {
			case a.Arg("try") != "true":
				told = a.Arg("password")
			case a.Arg("password") != right:
				return agent.Result{Code: engine.CodeAuth, Detail: "wrong user name or password"}
			}
			return agent.Result{}
		})})
	login := map[string]any{"user": "admin", "password": "correct-horse"}
	s.refused(503, CodeUnavailable, "PUT", "/clusters/events/store-login", login, root) // no master key
	box, err := seal.New(bytes.Repeat([]byte{7}, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	s.srv.Executor.Secrets = box
	for _, path := range []string{"subscriptions", "store-users"} {
		p := s.refused(409, CodeStoreLogin, "GET", "/clusters/events/"+path, nil, root)
		if !strings.Contains(p.Fix, "baton store-login events") {
			t.Errorf("refused %+v", p)
		}
	}
	s.refused(403, CodeForbidden, "PUT", "/clusters/events/store-login", login, operator)
	s.refused(422, CodeWrongLogin, "PUT", "/clusters/events/store-login", map[string]any{"user": "admin", "password": "guessed-wrong"}, root)
	s.refused(422, CodeBadRequest, "PUT", "/clusters/events/store-login", map[string]any{"user": "admin", "password": "x", "ca": "no PEM"}, root)
	if v := get[StoreLogin](s, "GET", "/clusters/events/store-login", nil, viewer); v.Kept || v.User != "" {
		t.Errorf("kept %+v", v)
	}
	if v := get[StoreLogin](s, "PUT", "/clusters/events/store-login", login, root); !v.Kept || v.User != "admin" {
		t.Errorf("kept %+v", v)
	}
	s.secretFree("correct-horse")
	s.secretFree("guessed-wrong")
	get[SubscriptionList](s, "GET", "/clusters/events/subscriptions", nil, viewer)
	mu.Lock()
	told = "" // the agent forgets, as one does that comes from a backup
	mu.Unlock()
	get[SubscriptionList](s, "GET", "/clusters/events/subscriptions", nil, viewer)

	for _, change := range []map[string]any{{"disabled": true}, {"groups": []string{"readers"}}} {
		s.refused(409, CodeRefused, "PUT", "/clusters/events/store-users/admin", change, root)
	}
	s.refused(409, CodeRefused, "POST", "/clusters/events/store-users/admin/delete", map[string]any{"typedName": "admin"}, root)
	reset := get[StoreUserSecret](s, "POST", "/clusters/events/store-users/admin/password", map[string]any{}, root)
	mu.Lock()
	follows := told == right && told == reset.Password
	mu.Unlock()
	if !follows || !strings.Contains(reset.Sentence, "Baton signs in with the new one") {
		t.Errorf("after a reset of its own account: %+v", reset)
	}
	s.secretFree(reset.Password)

	// An agent that missed the login is told once its node is seen to ask for one.
	mu.Lock()
	told = ""
	mu.Unlock()
	s.agents.mu.Lock()
	s.agents.more[0].Observation = &engine.Observation{Cluster: "events", Node: "e", Engine: engine.EventStore, State: engine.StateNoLogin, Err: "Not signed in"}
	s.agents.mu.Unlock()
	s.eventually("the agent is told by itself", func() bool { mu.Lock(); defer mu.Unlock(); return told == right })
	if v := get[StoreLogin](s, "GET", "/clusters/events/store-login", nil, viewer); len(v.Refused) != 1 || !strings.Contains(v.Sentence, "did not take") {
		t.Errorf("seen %+v", v)
	}
	if v := get[StoreLogin](s, "DELETE", "/clusters/events/store-login", nil, root); v.Kept {
		t.Errorf("dropped %+v", v)
	}
	s.eventually("streams ask for a login", func() bool {
		res, b := s.try("GET", "/clusters/events/streams", nil, viewer)
		return res.StatusCode == 409 && bytes.Contains(b, []byte(CodeStoreLogin))
	})
	if n := len(asked(agent.ActionStoreLogin)); n < 6 {
		t.Errorf("%d orders about the login", n)
	}
}
