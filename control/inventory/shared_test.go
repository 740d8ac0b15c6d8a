package inventory

import (
	"context"
	"log/slog"
	"reflect"
	"slices"
	"testing"
	"time"

	"baton/control/journal"
)

// TestWhatIsGivenAwayIsOfItsMoment: a cluster that was given away stays as it was
// when events follow, and whoever asks then sees them; between events everybody
// shares one.
func TestWhatIsGivenAwayIsOfItsMoment(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	v := New(journal.NewMemory(time.Now), slog.New(slog.DiscardHandler))
	go func() { _ = v.Run(ctx) }()
	<-v.Ready()
	register := func(id string, members ...string) {
		t.Helper()
		s := Spec{ID: id, Engine: "redis"}
		for _, m := range members {
			s.Members = append(s.Members, Member{Name: m, Address: m + ":1"})
		}
		if err := v.Register(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	register("b", "x")
	register("a", "x", "y")
	if all := v.Clusters(); len(all) != 2 || all[0].ID != "a" || all[1].ID != "b" {
		t.Fatalf("%+v", all)
	}
	if got := v.Engines(); !reflect.DeepEqual(got, map[string]string{"a": "redis", "b": "redis"}) {
		t.Errorf("engines %v", got)
	}
	first, _ := v.Cluster("b")
	if again, _ := v.Cluster("b"); &again.Members[0] != &first.Members[0] {
		t.Error("made anew though nothing happened")
	}
	grown := append(first.Members, Member{Name: "mine"}) // by somebody for himself
	if again, _ := v.Cluster("b"); len(again.Members) != 1 || &grown[0] == &again.Members[0] {
		t.Error("who appends to a list he was given writes into everybody's")
	}
	register("b", "x", "z")
	if len(first.Members) != 1 {
		t.Errorf("what was given away became %+v", first.Members)
	}
	for what, c := range map[string]Cluster{"of all": v.Clusters()[1], "alone": func() Cluster { c, _ := v.Cluster("b"); return c }()} {
		if !slices.ContainsFunc(c.Members, func(m Member) bool { return m.Name == "z" }) || c.Revision <= first.Revision {
			t.Errorf("%s: after an event: %+v at revision %d", what, c.Members, c.Revision)
		}
	}
}
