package agent

import (
	"errors"
	"log/slog"
	"slices"
	"testing"

	"baton/control/engine"
)

// TestAServerComesBackInTheRoleItWasTold: from the order to follow until its
// own file says so, a server is started as that replica, by the next agent too.
func TestAServerComesBackInTheRoleItWasTold(t *testing.T) {
	dir := t.TempDir()
	open := func() *roles {
		t.Helper()
		r, err := openRoles(dir, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	in := engine.Instance{Engine: engine.Redis, Cluster: "c", Node: "a", Process: "c-a"}
	told := func(name, addr string) engine.Action {
		return engine.Action{Name: name, Args: map[string]string{"addr": addr}}
	}
	replica := []string{"--replicaof", "127.0.0.1", "7002"}
	lost := &engine.ActionError{Code: engine.CodeUnknown}
	for _, c := range []struct {
		what   string
		action engine.Action
		err    error
		want   []string
	}{
		{"refused", told(engine.Demote, "127.0.0.1:7001"), errors.New("no"), nil},
		{"the answer is lost", told(engine.Demote, "127.0.0.1:7002"), lost, replica},
		{"a refused order does not undo the one before", told(engine.Repoint, "127.0.0.1:7001"), errors.New("no"), replica},
		{"a promotion whose answer is lost", told(engine.Promote, ""), lost, replica},
		{"written to its file", told(engine.Persist, ""), nil, nil},
		{"demoted again", told(engine.Demote, "127.0.0.1:7002"), nil, replica},
		{"another action", told(engine.PauseWrites, ""), nil, replica},
		{"promoted", told(engine.Promote, ""), nil, nil},
		{"pointed elsewhere", told(engine.Repoint, "127.0.0.1:7002"), nil, replica},
	} {
		r := open()
		r.ordered(in, c.action)(c.err)
		if got := r.arguments(in.Process); !slices.Equal(got, c.want) {
			t.Errorf("%s: started with %q, want %q", c.what, got, c.want)
		}
		r.close()
		if got := open().arguments(in.Process); !slices.Equal(got, c.want) {
			t.Errorf("%s: the next agent starts it with %q, want %q", c.what, got, c.want)
		}
	}
	r := open()
	done := r.ordered(in, told(engine.Demote, "127.0.0.1:7003"))
	if got := r.arguments(in.Process); !slices.Equal(got, []string{"--replicaof", "127.0.0.1", "7003"}) {
		t.Errorf("killed before it answered, it is started with %q", got)
	}
	done(nil)
	r.close()
}
