package access

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"baton/eventstore/stream"
)

var (
	admin = &Principal{Name: "root", Groups: []string{Admins}}
	ops   = &Principal{Name: "o", Groups: []string{Ops}}
	alice = &Principal{Name: "alice", Groups: []string{"sales"}}
	guest = &Principal{}
)

func list(doc string) *stream.ACL { return stream.ParseACL(json.RawMessage(doc)) }

func TestAllowed(t *testing.T) {
	open := &Settings{User: list(`{"$w":"sales","$r":"$all"}`), System: list(`{"$r":"$all","$w":["sales"]}`)}
	cases := []struct {
		who      *Principal
		action   Action
		name     string
		own      string // "" = none
		settings *Settings
		guests   bool
		want     bool
	}{
		// Built-in: user streams are everybody's who is known, system streams the administrators'.
		{alice, Read, "orders", "", nil, false, true}, {alice, Write, "orders", "", nil, false, true}, {alice, Delete, "orders", "", nil, false, true},
		{alice, Read, "$$orders", "", nil, false, true}, {alice, Write, "$$orders", "", nil, false, true},
		{alice, Read, "$all", "", nil, false, false}, {alice, Read, "$projections", "", nil, false, false}, {alice, Read, "$$$all", "", nil, false, false},
		{ops, Read, "$all", "", nil, false, false}, {ops, Read, "$settings", "", nil, false, false}, {ops, Write, "orders", "", nil, false, true},
		{admin, Read, "$all", "", nil, false, true}, {admin, Write, "$settings", "", nil, false, true}, {admin, Read, "$$$settings", "", nil, false, true},
		// Nobody is known: nothing, unless streams are open to everybody, and then only what everyone may.
		{guest, Read, "orders", "", nil, false, false}, {guest, Read, "orders", `{"$r":"$all"}`, nil, false, false},
		{guest, Read, "orders", "", nil, true, true}, {guest, Read, "orders", `{"$r":"alice"}`, nil, true, false},
		{guest, Read, "$all", "", nil, true, false}, {guest, Read, "orders", `{"$r":""}`, nil, true, false},
		// Not even administrators write or delete $all; its metadata they do.
		{admin, Write, "$all", "", nil, false, false}, {admin, Delete, "$all", "", nil, false, false}, {admin, Write, "$$$all", "", nil, false, true},
		{alice, Write, "$all", `{"$w":"$all"}`, nil, false, false},
		// A stream's own list, by name, by group, by everybody; what it does not set falls to the defaults.
		{alice, Read, "orders", `{"$r":"alice"}`, nil, false, true}, {ops, Read, "orders", `{"$r":"alice"}`, nil, false, false},
		{alice, Read, "orders", `{"$r":["x","sales"]}`, nil, false, true}, {ops, Write, "orders", `{"$r":"alice"}`, nil, false, true},
		{alice, Read, "orders", `{"$r":[]}`, nil, false, false}, {admin, Read, "orders", `{"$r":[]}`, nil, false, true},
		{alice, Read, "$all", `{"$r":"alice"}`, nil, false, true}, {alice, Read, "$all", `{"$r":"$all"}`, nil, false, true},
		{alice, Read, "$$orders", `{"$r":[]}`, nil, false, true}, {alice, Read, "$$orders", `{"$mr":[]}`, nil, false, false},
		{alice, Write, "$$orders", `{"$mw":"ops"}`, nil, false, false}, {alice, Delete, "$$orders", `{"$mw":"alice"}`, nil, false, true},
		// Defaults of $settings; they never open what holds passwords and settings.
		{alice, Write, "orders", "", open, false, true}, {ops, Write, "orders", "", open, false, false}, {ops, Read, "orders", "", open, false, true},
		{ops, Write, "orders", `{"$w":"$ops"}`, open, false, true}, {ops, Delete, "orders", "", open, false, true},
		{ops, Read, "$projections", "", open, false, true}, {ops, Write, "$projections", "", open, false, false}, {alice, Read, "$all", "", open, false, true},
		{alice, Read, "$user-admin", "", open, false, false}, {alice, Write, "$user-alice", "", open, false, false}, {alice, Write, "$settings", "", open, false, false},
		{alice, Read, "$users", "", open, false, false}, {alice, Read, "$users", `{"$r":"alice"}`, open, false, true},
		// What cannot be understood lets nobody but administrators through.
		{alice, Read, "orders", `"sales"`, nil, false, false}, {alice, Read, "orders", `{"$r":7}`, nil, false, false}, {alice, Read, "orders", `{"$r":[7]}`, nil, false, false},
		{alice, Write, "orders", `{"$r":7}`, nil, false, true}, {alice, Read, "orders", `[]`, nil, false, false}, {alice, Read, "orders", `null`, nil, false, true},
		{alice, Read, "orders", `{"$r":null}`, nil, false, true}, {alice, Read, "orders", "", ParseSettings([]byte("junk")), false, false},
	}
	for i, c := range cases {
		var own *stream.ACL
		if c.own != "" {
			own = list(c.own)
		}
		action, name := Target(c.action, c.name)
		if got := Allowed(c.who, action, name, own, c.settings, Options{AnonymousStreams: c.guests}); got != c.want {
			t.Errorf("case %d: may %q %s %q with %s: %v, want %v", i, c.who.Name, c.action, c.name, c.own, got, c.want)
		}
	}
}

// Goal: the decision agrees with its specification, written the long way, for any lists.
// Method: random principals, lists and streams against a model that walks the three layers by name.
func TestAllowedAgreesWithItsSpecification(t *testing.T) {
	roles := []string{"a", "b", "c", Ops, Everyone, ""}
	keys := []string{"$r", "$w", "$d", "$mr", "$mw"}
	names := []string{"s", "$s", "$all", "$settings", "$user-a", "$users"}
	r := rand.New(rand.NewPCG(1, 2))
	document := func() map[string][]string {
		if r.IntN(4) == 0 {
			return nil
		}
		doc := map[string][]string{}
		for _, k := range keys {
			if r.IntN(2) == 0 {
				doc[k] = []string{}
				for range r.IntN(3) {
					doc[k] = append(doc[k], roles[r.IntN(len(roles))])
				}
			}
		}
		return doc
	}
	parsed := func(doc map[string][]string) *stream.ACL {
		if doc == nil {
			return nil
		}
		b, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		return list(string(b))
	}
	for range 4_000 {
		p := &Principal{}
		if r.IntN(5) > 0 {
			p.Name = roles[r.IntN(3)]
			for _, g := range []string{"b", "c", Ops, Admins} {
				if r.IntN(4) == 0 {
					p.Groups = append(p.Groups, g)
				}
			}
		}
		own, user, system := document(), document(), document()
		action, name, guests := Action(1+r.IntN(5)), names[r.IntN(len(names))], r.IntN(2) == 0
		mine := append([]string{}, p.Groups...)
		if p.Name != "" {
			mine = append(mine, p.Name, Everyone)
		} else if guests {
			mine = []string{Everyone}
		}
		want := func() bool {
			if name == "$all" && (action == Write || action == Delete) {
				return false
			}
			if p.Name != "" && slices.Contains(p.Groups, Admins) {
				return true
			}
			layers := []map[string][]string{own}
			builtIn := map[string][]string{}
			isSystem := name[0] == '$'
			for _, k := range keys {
				builtIn[k] = []string{Everyone}
				if isSystem {
					builtIn[k] = []string{Admins}
				}
			}
			if !isSystem {
				layers = append(layers, user)
			} else if name == "$s" || name == "$all" {
				layers = append(layers, system)
			}
			for _, layer := range append(layers, builtIn) {
				if who, ok := layer[keys[action-1]]; ok {
					return slices.ContainsFunc(who, func(role string) bool { return role != "" && slices.Contains(mine, role) })
				}
			}
			return false
		}()
		got := Allowed(p, action, name, parsed(own), &Settings{User: parsed(user), System: parsed(system)}, Options{AnonymousStreams: guests})
		if got != want {
			t.Fatalf("%+v %s %s own %v user %v system %v guests %v: %v, want %v", p, action, name, own, user, system, guests, got, want)
		}
	}
}

func TestParseSettings(t *testing.T) {
	s := ParseSettings([]byte(`{"$userStreamAcl":{"$r":"$all","$w":["a","b"]},"$systemStreamAcl":{"$r":"$ops"},"other":1}`))
	if !reflect.DeepEqual(s.User, &stream.ACL{Read: []string{"$all"}, Write: []string{"a", "b"}}) || !reflect.DeepEqual(s.System, &stream.ACL{Read: []string{"$ops"}}) {
		t.Errorf("%+v %+v", s.User, s.System)
	}
	if s := ParseSettings([]byte(`{}`)); s.User != nil || s.System != nil {
		t.Errorf("%+v", s)
	}
}

// FuzzLists: whatever stands in metadata or settings, the parsers return, a key that is set stays set, and nobody but administrators gets more than
// the document says.
func FuzzLists(f *testing.F) {
	for _, s := range []string{`{"$r":"a"}`, `{"$r":["a","b"],"$w":[]}`, `null`, `[]`, `{"$r":{"a":1}}`, `{"$r":[null]}`, `"x"`, `{"$userStreamAcl":{"$r":1}}`, `{"$R":"$all"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		own := stream.ParseACL(doc)
		var object map[string]json.RawMessage
		isObject := json.Unmarshal(doc, &object) == nil && object != nil
		if own != nil && isObject {
			if raw, ok := object["$r"]; ok && string(raw) != "null" && own.Read == nil {
				t.Fatalf("%s: $r was lost", doc)
			}
		}
		stranger := &Principal{Name: "stranger-to-every-list"}
		if own != nil && own.Read != nil && !slices.Contains(own.Read, Everyone) && !slices.Contains(own.Read, stranger.Name) && Allowed(stranger, Read, "s", own, nil, Options{}) {
			t.Fatalf("%s: a stranger may read", doc)
		}
		ParseSettings(doc)
	})
}
