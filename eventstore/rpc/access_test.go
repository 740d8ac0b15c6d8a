package rpc

import (
	"context"
	"strings"
	"testing"

	"baton/eventstore/access"
)

// Goal: nothing registered is without an entry in the table of needs, and no entry is without a name clients could call.
func TestEveryMethodHasANeed(t *testing.T) {
	s := New(Options{})
	methods := 0
	for service, info := range s.h2.GetServiceInfo() {
		for _, m := range info.Methods {
			methods++
			path := "/" + service + "/" + m.Name
			if _, ok := methodNeeds[path]; !ok && !strings.HasPrefix(path, reflectionPrefix) {
				t.Errorf("%s is not in methodNeeds: say who may call it", path)
			}
		}
	}
	if methods < 20 {
		t.Errorf("only %d methods are registered", methods)
	}
}

func TestNeeds(t *testing.T) {
	secure, open := &Access{secure: true}, &Access{secure: true, anonymousGossip: true, anonymousStats: true}
	guest, user := &Caller{}, &Caller{Name: "u", Groups: []string{"g"}}
	ops, admin := &Caller{Name: "o", Groups: []string{access.Ops}}, &Caller{Name: "a", Groups: []string{access.Admins}}
	for _, c := range []struct {
		method                   string
		a                        *Access
		guest, user, ops, admins bool
	}{
		{operationsPrefix + "Shutdown", secure, false, false, true, true},
		{persistentPrefix + "Create", secure, false, false, true, true},
		{persistentPrefix + "List", secure, false, true, true, true},
		{usersPrefix + "ResetPassword", secure, false, false, false, true},
		{streamsPrefix + "Read", secure, true, true, true, true},
		{"/event_store.client.gossip.Gossip/Read", secure, false, true, true, true},
		{"/event_store.client.gossip.Gossip/Read", open, true, true, true, true},
		{"/event_store.client.monitoring.Monitoring/Stats", secure, false, true, true, true},
		{"/event_store.client.monitoring.Monitoring/Stats", open, true, true, true, true},
		{"/event_store.client.server_features.ServerFeatures/GetSupportedMethods", secure, true, true, true, true},
		{"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", secure, false, true, true, true},
		{"/some.new.Service/Method", open, false, false, false, true},
	} {
		n := needOf(c.method)
		if n.met(c.a, guest) != c.guest || n.met(c.a, user) != c.user || n.met(c.a, ops) != c.ops || n.met(c.a, admin) != c.admins {
			t.Errorf("%s: need %d is met wrongly", c.method, n)
		}
	}
}

func TestAnInsecureNodeLetsEverybodyDoEverything(t *testing.T) {
	var a Access
	caller, err := a.authenticate(context.Background(), "garbage", nil, nil)
	if err != nil || !a.MayOperate(caller) || !a.MayAdministrate(caller) || !a.MayOperate(Caller{}) || !a.MayReadStats(Caller{}) || !a.SignedIn(Caller{}) {
		t.Errorf("%+v %v", caller, err)
	}
	if a.Check(context.Background(), access.Write, "$settings") != nil || a.Visible(context.Background(), true) != nil || a.Readable(context.Background(), false) != nil {
		t.Error("streams are checked")
	}
}
