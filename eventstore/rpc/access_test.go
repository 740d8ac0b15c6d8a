package rpc

import (
	"context"
	"encoding/base64"
	"errors"
	"testing"
)

func basic(text string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(text)) }

func TestAuthenticate(t *testing.T) {
	a := NewAccess(AccessOptions{Users: []User{{"admin", "secret:with colon", GroupAdmins}, {"ops", "o", GroupOps}}})
	cases := []struct {
		header, name string
		err          error
	}{
		{"", "", nil},
		{basic("admin:secret:with colon"), "admin", nil},
		{"basic " + basic("ops:o")[6:], "ops", nil},
		{basic("admin:wrong"), "", errUnauthenticated},
		{basic("admin:"), "", errUnauthenticated},
		{basic("nobody:x"), "", errUnauthenticated},
		{basic("nobody:"), "", errUnauthenticated},
		{basic("admin"), "", errUnauthenticated},
		{"Basic !!!", "", errUnauthenticated},
		{"Bearer x", "", errUnauthenticated},
	}
	for _, c := range cases {
		caller, err := a.Authenticate(c.header)
		if caller.Name != c.name || !errors.Is(err, c.err) {
			t.Errorf("%q: %+v %v, want %q %v", c.header, caller, err, c.name, c.err)
		}
	}
}

func TestWhoMayUseWhat(t *testing.T) {
	a := NewAccess(AccessOptions{AnonymousGossip: true})
	admin, ops, nobody := Caller{"admin", GroupAdmins}, Caller{"ops", GroupOps}, Caller{}
	cases := []struct {
		caller Caller
		stream string
		want   bool
	}{
		{admin, "orders", true}, {admin, "$all", true}, {admin, "$$orders", true}, {admin, "$settings", true},
		{ops, "orders", true}, {ops, "$$orders", true}, {ops, "$all", false}, {ops, "$settings", false}, {ops, "$$$settings", false},
		{nobody, "orders", false}, {nobody, "$all", false},
	}
	for _, c := range cases {
		err := a.read(context.WithValue(context.Background(), callerKey{}, c.caller), c.stream)
		if (err == nil) != c.want {
			t.Errorf("%q on %q: %v", c.caller.Name, c.stream, err)
		}
	}
	if !a.MayReadGossip(nobody) || a.MayReadStats(nobody) || a.MayOperate(nobody) || !a.MayOperate(ops) {
		t.Error("rights beside streams are wrong")
	}
	var insecure Access
	if caller, err := insecure.Authenticate("garbage"); err != nil || !insecure.MayOperate(caller) {
		t.Error("an insecure node must ignore authorization headers")
	}
}
