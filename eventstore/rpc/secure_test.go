package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"baton/eventstore/rpc"
	"baton/eventstore/users"
	"baton/gen/eventstore/client"
	"baton/gen/eventstore/streams"
	userspb "baton/gen/eventstore/users"
	v2 "baton/gen/kurrent/streams"
	"baton/platform/auth"
)

// What is to be kept from bob: it stands in data and types of everything that only alice may read, and nowhere else.
const topSecret = "TOPSECRET"

// cheap keeps tests from spending their time on hashing.
var cheap = auth.Cost{MemoryKiB: 64, Passes: 1, Lanes: 1}

func secureOptions() houseOptions {
	return houseOptions{secure: &rpc.AccessOptions{AnonymousGossip: true, PasswordCost: cheap, First: users.First{AdminPassword: "root", OpsPassword: "ops"}}}
}

// patience is enough for a test on a machine that is slow and stalls.
func patience(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func as(ctx context.Context, login, password string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", basicAuth(login, password))
}

func (s *served) users() userspb.UsersClient { return userspb.NewUsersClient(s.conn) }

func createUser(t *testing.T, s *served, admin context.Context, login string, groups ...string) {
	t.Helper()
	_, err := s.users().Create(admin, &userspb.CreateReq{Options: &userspb.CreateReq_Options{LoginName: login, Password: login, FullName: login, Groups: groups}})
	if err != nil {
		t.Fatal(err)
	}
}

func mustWriteAs(t *testing.T, s *served, ctx context.Context, stream string, events ...*proposed) {
	t.Helper()
	if resp, err := s.write(ctx, stream, nil, events...); err != nil || resp.GetSuccess() == nil {
		t.Fatalf("append to %s: %v %v", stream, resp, err)
	}
}

func metadataEvent(doc string) *proposed { return event("$metadata", doc) }

func linkTo(target string) *proposed {
	e := event("$>", target)
	e.Metadata["content-type"] = "application/octet-stream"
	return e
}

type readVariant struct {
	label string
	set   func(*streams.ReadReq_Options)
}

func backwards(o *streams.ReadReq_Options) {
	o.ReadDirection = streams.ReadReq_Options_Backwards
	end := &client.Empty{}
	if s := o.GetStream(); s != nil {
		s.RevisionOption = &streams.ReadReq_Options_StreamOptions_End{End: end}
	} else {
		o.GetAll().AllOption = &streams.ReadReq_Options_AllOptions_End{End: end}
	}
}

func filtered(byType bool, prefix string) func(*streams.ReadReq_Options) {
	return func(o *streams.ReadReq_Options) {
		e := &streams.ReadReq_Options_FilterOptions_Expression{Prefix: []string{prefix}}
		f := &streams.ReadReq_Options_FilterOptions{CheckpointIntervalMultiplier: 1, Window: &streams.ReadReq_Options_FilterOptions_Count{Count: &client.Empty{}}}
		if byType {
			f.Filter = &streams.ReadReq_Options_FilterOptions_EventType{EventType: e}
		} else {
			f.Filter = &streams.ReadReq_Options_FilterOptions_StreamIdentifier{StreamIdentifier: e}
		}
		o.FilterOption = &streams.ReadReq_Options_Filter{Filter: f}
	}
}

func subscribing(o *streams.ReadReq_Options) {
	o.CountOption = &streams.ReadReq_Options_Subscription{Subscription: &streams.ReadReq_Options_SubscriptionOptions{}}
}

// everyRead is every way to read a stream ("" = all streams), each also as a subscription.
func everyRead(stream string) []readVariant {
	base := func(o *streams.ReadReq_Options) {
		o.ResolveLinks = true
		if stream == "" {
			o.StreamOption = allFromStart()
		} else {
			o.StreamOption = fromStart(stream)
		}
	}
	and := func(more ...func(*streams.ReadReq_Options)) func(*streams.ReadReq_Options) {
		return func(o *streams.ReadReq_Options) {
			base(o)
			for _, f := range more {
				f(o)
			}
		}
	}
	list := []readVariant{{"forwards", and()}, {"backwards", and(backwards)}, {"subscription", and(subscribing)}}
	if stream == "" {
		list = append(list, readVariant{"filtered by stream", and(filtered(false, "secret"))}, readVariant{"filtered by type", and(filtered(true, topSecret))},
			readVariant{"filtered backwards", and(backwards, filtered(false, ""))},
			readVariant{"subscription filtered by stream", and(subscribing, filtered(false, "secret"))}, readVariant{"subscription filtered by type", and(subscribing, filtered(true, topSecret))})
	}
	return list
}

// readUntilCaughtUp reads; of a subscription what comes before it is live.
func readUntilCaughtUp(ctx context.Context, s *served, v readVariant) ([]*streams.ReadResp, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	call, err := s.streams().Read(ctx, ask(v.set))
	if err != nil {
		return nil, err
	}
	var list []*streams.ReadResp
	for {
		r, err := call.Recv()
		if errors.Is(err, io.EOF) || err == nil && r.GetCaughtUp() != nil {
			return list, nil
		}
		if err != nil {
			return list, err
		}
		list = append(list, r)
	}
}

// Goal: no way of reading shows bob anything that only alice may read: not its stream, not through links, not in $all forwards, backwards, filtered or
// subscribed, not after the stream, and with it its list, was deleted.
// Method: everything secret carries one word; every read of bob's is searched for it, and every one of alice's must show it.
func TestNoReadShowsWhatTheReaderMayNotRead(t *testing.T) {
	t.Parallel()
	s := newHouse(t, secureOptions()).leader()
	ctx := patience(t)
	admin, alice, bob := as(ctx, "admin", "root"), as(ctx, "alice", "alice"), as(ctx, "bob", "bob")
	createUser(t, s, admin, "alice", "sales")
	createUser(t, s, admin, "bob")
	secret := func(stream, acl string) {
		mustWriteAs(t, s, admin, stream, event(topSecret, `{"what":"TOPSECRET"}`))
		if acl != "" {
			mustWriteAs(t, s, admin, "$$"+stream, metadataEvent(acl))
		}
	}
	secret("secret-own", `{"$acl":{"$r":"alice"}}`)
	secret("secret-group", `{"$acl":{"$r":["sales"],"$mr":"sales"},"note":"TOPSECRET"}`)
	secret("$secret-system", `{"$acl":{"$r":"alice"}}`)
	secret("secret-deleted", `{"$acl":{"$r":[]}}`)
	secret("secret-gone", `{"$acl":{"$r":[]}}`)
	secret("secret-revived", `{"$acl":{"$r":[]}}`)
	mustWriteAs(t, s, admin, "open", event("plain", `{"what":"open"}`))
	mustWriteAs(t, s, admin, "links", linkTo("0@secret-own"), linkTo("0@secret-group"), linkTo("0@$secret-system"), linkTo("0@open"), linkTo("0@$user-admin"))
	for _, gone := range []string{"secret-deleted", "secret-revived"} {
		if _, err := s.streams().Delete(admin, &streams.DeleteReq{Options: &streams.DeleteReq_Options{StreamIdentifier: name(gone),
			ExpectedStreamRevision: &streams.DeleteReq_Options_Any{Any: &client.Empty{}}}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.streams().Tombstone(admin, &streams.TombstoneReq{Options: &streams.TombstoneReq_Options{StreamIdentifier: name("secret-gone"),
		ExpectedStreamRevision: &streams.TombstoneReq_Options_Any{Any: &client.Empty{}}}}); err != nil {
		t.Fatal(err)
	}
	mustWriteAs(t, s, admin, "secret-revived", event("plain", `{"what":"open again"}`))

	for _, stream := range []string{"secret-own", "secret-group", "$secret-system", "$$secret-group", "$user-admin", "$user-bob", "$users", "$settings", "$$$settings", ""} {
		for _, v := range everyRead(stream) {
			for who, caller := range map[string]context.Context{"bob": bob, "a guest": ctx} {
				if list, err := readUntilCaughtUp(caller, s, v); status.Code(err) != codes.PermissionDenied || len(list) > 0 {
					t.Errorf("%s, %q %s: %v %v", who, stream, v.label, list, err)
				}
			}
		}
	}
	for _, stream := range []string{"secret-own", "secret-group", "$secret-system"} {
		for _, v := range everyRead(stream) {
			if list, err := readUntilCaughtUp(alice, s, v); err != nil || !strings.Contains(fmt.Sprint(list), topSecret) {
				t.Errorf("alice, %q %s: %v %v", stream, v.label, list, err)
			}
		}
	}

	// Links: bob gets every link, with a target only where he may read it.
	for _, v := range everyRead("links") {
		list, err := readUntilCaughtUp(bob, s, v)
		text := fmt.Sprint(list)
		if err != nil || strings.Contains(text, topSecret) || strings.Contains(text, "argon2") || !strings.Contains(text, `{\"what\":\"open\"}`) {
			t.Errorf("links, bob %s: %s %v", v.label, text, err)
		}
		links := 0
		for _, r := range list {
			if e := r.GetEvent(); e != nil && e.GetLink() != nil {
				links++
			}
		}
		if links != 5 {
			t.Errorf("links, bob %s: %d links, want 5", v.label, links)
		}
		if list, err := readUntilCaughtUp(alice, s, v); err != nil || strings.Count(fmt.Sprint(list), `{\"what\":\"TOPSECRET\"}`) != 3 {
			t.Errorf("links, alice %s: %v %v", v.label, list, err)
		}
	}

	// $all, once its list lets everybody read it.
	mustWriteAs(t, s, admin, "$$$all", metadataEvent(`{"$acl":{"$r":"$all"}}`))
	for _, v := range everyRead("") {
		list, err := readUntilCaughtUp(bob, s, v)
		text := fmt.Sprint(list)
		if err != nil || strings.Contains(text, topSecret) || strings.Contains(text, "argon2") {
			t.Errorf("$all, bob %s: %s %v", v.label, text, err)
		}
		if v.label == "forwards" && (!strings.Contains(text, `{\"what\":\"open\"}`) || !strings.Contains(text, "open again")) {
			t.Errorf("$all, bob: not all that he may read: %s", text)
		}
		if list, err := readUntilCaughtUp(alice, s, v); err != nil || !strings.Contains(fmt.Sprint(list), topSecret) || strings.Contains(fmt.Sprint(list), "argon2") {
			t.Errorf("$all, alice %s: %v %v", v.label, list, err)
		}
		if _, err := readUntilCaughtUp(ctx, s, v); status.Code(err) != codes.PermissionDenied {
			t.Errorf("$all, a guest %s: %v", v.label, err)
		}
		if list, err := readUntilCaughtUp(admin, s, v); err != nil || !strings.Contains(fmt.Sprint(list), topSecret) {
			t.Errorf("$all, admin %s: %v %v", v.label, list, err)
		}
	}
}

// Goal: every way of writing asks for the right to do so.
func TestNoWriteWithoutTheRightTo(t *testing.T) {
	t.Parallel()
	s := newHouse(t, secureOptions()).leader()
	ctx := patience(t)
	admin, bob := as(ctx, "admin", "root"), as(ctx, "bob", "bob")
	createUser(t, s, admin, "bob")
	mustWriteAs(t, s, admin, "kept", event("t", "{}"))
	mustWriteAs(t, s, admin, "$$kept", metadataEvent(`{"$acl":{"$w":"alice","$d":"alice","$mw":"alice","$r":"alice"}}`))
	anyDelete := &streams.DeleteReq_Options_Any{Any: &client.Empty{}}
	sessions := v2.NewStreamsServiceClient(s.conn)
	attempts := map[string]func(caller context.Context, stream string) error{
		"append": func(caller context.Context, stream string) error {
			_, err := s.write(caller, stream, nil, event("t", "{}"))
			return err
		},
		"delete": func(caller context.Context, stream string) error {
			_, err := s.streams().Delete(caller, &streams.DeleteReq{Options: &streams.DeleteReq_Options{StreamIdentifier: name(stream), ExpectedStreamRevision: anyDelete}})
			return err
		},
		"tombstone": func(caller context.Context, stream string) error {
			_, err := s.streams().Tombstone(caller, &streams.TombstoneReq{Options: &streams.TombstoneReq_Options{StreamIdentifier: name(stream),
				ExpectedStreamRevision: &streams.TombstoneReq_Options_Any{Any: &client.Empty{}}}})
			return err
		},
		"metadata": func(caller context.Context, stream string) error {
			_, err := s.write(caller, "$$"+stream, nil, metadataEvent(`{}`))
			return err
		},
		"session": func(caller context.Context, stream string) error {
			call, err := sessions.AppendSession(caller)
			if err != nil {
				return err
			}
			// The refusal may come before everything was sent: it is in CloseAndRecv then.
			free := "free"
			_ = call.Send(&v2.AppendRequest{Stream: &free, Records: []*v2.AppendRecord{record("", "t")}})
			_ = call.Send(&v2.AppendRequest{Stream: &stream, Records: []*v2.AppendRecord{record("", "t")}})
			_, err = call.CloseAndRecv()
			return err
		},
		"records": func(caller context.Context, stream string) error {
			_, err := sessions.AppendRecords(caller, &v2.AppendRecordsRequest{Records: []*v2.AppendRecord{record("free", "t"), record(stream, "t")}})
			return err
		},
		"check": func(caller context.Context, stream string) error {
			revision := int64(0)
			_, err := sessions.AppendRecords(caller, &v2.AppendRecordsRequest{Records: []*v2.AppendRecord{record("free", "t")},
				Checks: []*v2.ConsistencyCheck{{Type: &v2.ConsistencyCheck_StreamState{StreamState: &v2.ConsistencyCheck_StreamStateCheck{Stream: &stream, ExpectedState: &revision}}}}})
			return err
		},
		"batch": func(caller context.Context, stream string) error {
			call, err := s.streams().BatchAppend(caller)
			if err != nil {
				return err
			}
			err = call.Send(&streams.BatchAppendReq{CorrelationId: id(uuid.New()), IsFinal: true,
				Options: &streams.BatchAppendReq_Options{StreamIdentifier: name(stream), ExpectedStreamPosition: &streams.BatchAppendReq_Options_Any{Any: &emptypb.Empty{}}},
				ProposedMessages: []*streams.BatchAppendReq_ProposedMessage{{Id: id(uuid.New()), Data: []byte("{}"),
					Metadata: map[string]string{"type": "t", "content-type": "application/json"}}}})
			if err != nil {
				return err
			}
			resp, err := call.Recv()
			if err != nil {
				return err
			}
			return status.ErrorProto(resp.GetError())
		},
	}
	for label, attempt := range attempts {
		for _, stream := range []string{"kept", "$settings", "$user-admin", "$user-bob"} {
			for who, caller := range map[string]context.Context{"bob": bob, "a guest": ctx} {
				if err := attempt(caller, stream); status.Code(err) != codes.PermissionDenied {
					t.Errorf("%s, %s %s: %v", who, label, stream, err)
				}
			}
		}
		if err := attempt(bob, "own-"+label); status.Code(err) == codes.PermissionDenied {
			t.Errorf("bob, %s of a stream of everybody's: %v", label, err)
		}
	}
	list := mustReadAs(t, s, admin, "kept")
	if data(list) != "{} " {
		t.Errorf("something was written: %v", list)
	}
}

func mustReadAs(t *testing.T, s *served, caller context.Context, stream string) []*streams.ReadResp {
	t.Helper()
	list, err := s.read(caller, ask(func(o *streams.ReadReq_Options) { o.StreamOption = fromStart(stream) }))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// Goal: a subscription ends when the right to it does: by the stream's list, by $settings, by the account.
func TestSubscriptionsEndWithTheRightToThem(t *testing.T) {
	t.Parallel()
	s := newHouse(t, secureOptions()).leader()
	ctx := patience(t)
	admin := as(ctx, "admin", "root")
	for _, c := range []struct {
		login  string
		revoke func(stream, login string) error
	}{
		{"by-list", func(stream, _ string) error {
			mustWriteAs(t, s, admin, "$$"+stream, metadataEvent(`{"$acl":{"$r":[]}}`))
			return nil
		}},
		{"by-account", func(_, login string) error {
			_, err := s.users().Disable(admin, &userspb.DisableReq{Options: &userspb.DisableReq_Options{LoginName: login}})
			return err
		}},
		{"by-settings", func(string, string) error {
			mustWriteAs(t, s, admin, "$settings", event("$settings", `{"$userStreamAcl":{"$r":[]}}`))
			return nil
		}},
	} {
		createUser(t, s, admin, c.login)
		stream := "stream-" + c.login
		mustWriteAs(t, s, admin, stream, event("t", `"first"`))
		call, err := s.streams().Read(as(ctx, c.login, c.login), ask(func(o *streams.ReadReq_Options) {
			o.StreamOption = fromStart(stream)
			subscribing(o)
		}))
		if err != nil {
			t.Fatal(err)
		}
		for live := false; !live; {
			r, err := call.Recv()
			if err != nil {
				t.Fatal(err)
			}
			live = r.GetCaughtUp() != nil
		}
		if err := c.revoke(stream, c.login); err != nil {
			t.Fatal(err)
		}
		mustWriteAs(t, s, admin, stream, event("t", topSecret))
		for {
			r, err := call.Recv()
			if err != nil {
				if status.Code(err) != codes.PermissionDenied {
					t.Errorf("%s: %v", c.login, err)
				}
				break
			}
			if strings.Contains(fmt.Sprint(r), topSecret) {
				t.Fatalf("%s: the subscription went on: %v", c.login, r)
			}
		}
	}
}
