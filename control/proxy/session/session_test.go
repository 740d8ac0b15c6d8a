package session

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Goal: over planned moves, however bytes and events fall, each request is
// answered as if nothing had happened, each write is carried out once, in
// order, and nothing that writes is sent during a hold.
func TestPlannedMovesAreNotSeen(t *testing.T) {
	check(t, func(t *rapid.T) { plannedMoves(t, false) })
}

// Goal: the same when the replicas leave the primary while its role has not
// ended, and also when the move is then taken back.
func TestMovesWhoseReplicasLeaveFirstAreNotSeen(t *testing.T) {
	check(t, func(t *rapid.T) { plannedMoves(t, true) })
}

func plannedMoves(t *rapid.T, early bool) {
	w := newWorld(t)
	w.early = early
	s := drawScript(t)
	rest := s.bytes
	for range rapid.IntRange(5, 120).Draw(t, "steps") {
		switch rapid.IntRange(0, 9).Draw(t, "event") {
		case 0, 1, 2:
			n := min(len(rest), rapid.IntRange(1, 60).Draw(t, "bytes"))
			w.m.FromClient(w.now, rest[:n])
			rest = rest[n:]
			w.carry()
		case 3, 4, 5, 6:
			w.step()
		case 7:
			w.pass(int64(rapid.IntRange(1, 5).Draw(t, "ms")) * 1e6)
		case 8:
			w.planned()
		case 9:
			w.servers[w.primary].noReplicas = false
		}
	}
	w.m.FromClient(w.now, rest)
	w.carry()
	w.release()
	w.servers[w.primary].noReplicas = false
	w.finish()
	w.check(s, false)
	if w.wrote {
		t.Fatalf("a request that writes was sent during a hold")
	}
}

// planned goes on with a planned move: hold; then, when nothing is under way
// or regardless, the roles; then the release.
func (w *world) planned() {
	a, b := w.servers[w.primary], w.servers[w.spare]
	switch {
	case !w.route.Hold:
		w.setRoute(Route{Target: w.route.Target, Next: Target{w.spare, w.gen + 1}, Hold: true})
	case a.primary:
		if !w.m.Drained() && rapid.Bool().Draw(w.t, "wait until drained") {
			return
		}
		if w.early && !a.noReplicas && rapid.Bool().Draw(w.t, "replicas leave first") {
			a.noReplicas = true
			return
		}
		if rapid.IntRange(0, 5).Draw(w.t, "roll back") == 0 {
			w.setRoute(Route{Target: w.route.Target})
			return
		}
		a.primary, b.primary = false, true
		b.noReplicas = rapid.Bool().Draw(w.t, "replicas are late")
	default:
		w.release()
	}
}

func (w *world) release() {
	if !w.route.Hold {
		return
	}
	if w.servers[w.primary].primary {
		w.setRoute(Route{Target: w.route.Target})
		return
	}
	w.gen++
	w.primary, w.spare = w.spare, w.primary
	w.setRoute(Route{Target: Target{w.primary, w.gen}})
}

// Goal: when a primary dies, what is answered is true: what was acknowledged is
// there once, what is said not to be carried out is not, and of the rest it is
// said that it is not known.
func TestLossIsToldHonestly(t *testing.T) {
	check(t, func(t *rapid.T) {
		w := newWorld(t)
		s := drawScript(t)
		rest := s.bytes
		for range rapid.IntRange(5, 80).Draw(t, "steps") {
			switch rapid.IntRange(0, 8).Draw(t, "event") {
			case 0, 1, 2:
				n := min(len(rest), rapid.IntRange(1, 60).Draw(t, "bytes"))
				w.m.FromClient(w.now, rest[:n])
				rest = rest[n:]
				w.carry()
			case 3, 4, 5, 6:
				w.step()
			case 7:
				w.pass(int64(rapid.IntRange(1, 50).Draw(t, "ms")) * 1e6)
			case 8:
				w.die()
			}
		}
		w.m.FromClient(w.now, rest)
		w.carry()
		w.finish()
		w.check(s, true)
	})
}

// die ends the primary; the other takes over with all it acknowledged, and the
// dead one comes back as its replica.
func (w *world) die() {
	a, b := w.servers[w.primary], w.servers[w.spare]
	a.dead = true
	for id, p := range w.pipes {
		if p.s == a {
			if rapid.Bool().Draw(w.t, "part of an answer arrives") && len(p.in) > 0 {
				w.m.FromServer(w.now, id, p.in[:rapid.IntRange(1, len(p.in)).Draw(w.t, "part")])
				w.carry()
			}
			delete(w.pipes, id)
			w.m.Lost(w.now, id)
			w.carry()
		}
	}
	a.primary, b.primary, a.dead = false, true, false
	w.gen++
	w.primary, w.spare = w.spare, w.primary
	w.setRoute(Route{Target: Target{w.primary, w.gen}})
}

// check compares what was answered with what was carried out.
func (w *world) check(s script, losses bool) {
	t := w.t
	seen := map[int]int{}
	for _, id := range *w.log {
		seen[id]++
		if seen[id] > 1 {
			t.Fatalf("write %d was carried out twice: %v", id, *w.log)
		}
	}
	if !slices.IsSorted(*w.log) {
		t.Fatalf("writes were carried out in another order: %v", *w.log)
	}
	if w.m.Closing && losses {
		w.got = whole(w.got) // the client sees a connection that ended within an answer
	}
	got := w.replies()
	if len(got) != len(s.want) && !w.m.Closing {
		t.Fatalf("%d answers to %d requests: %q", len(got), len(s.want), got)
	}
	if len(got) > len(s.want) || w.m.Closing && !losses {
		t.Fatalf("%d answers to %d requests, closing %v: %q", len(got), len(s.want), w.m.Closing, got)
	}
	for i, g := range got {
		if err := judge(s.want[i], g, seen, losses); err != nil {
			t.Fatalf("answer %d to %q: %q: %v; carried out %v", i, s.want[i], g, err, *w.log)
		}
	}
}

// whole drops an answer that was cut.
func whole(b []byte) []byte {
	for n := len(b); n > 0; n-- {
		if complete(b[:n]) {
			return b[:n]
		}
	}
	return nil
}

func judge(want, got string, seen map[int]int, losses bool) error {
	kind, arg, _ := strings.Cut(want, " ")
	unknown := strings.HasPrefix(got, "-BATON outcome unknown")
	if unknown && !losses {
		return fmt.Errorf("unknown although nothing was lost")
	}
	exact := map[string]string{"get": fmt.Sprintf("$%d\r\n%s\r\n", len(arg), arg), "range": "*2\r\n*1\r\n:1\r\n$3\r\na\r\n\r\n", "ping": "+PONG\r\n",
		"multi": "+OK\r\n", "queued": "+QUEUED\r\n", "set": "+OK\r\n"}
	switch kind {
	case "set":
		id, _ := strconv.Atoi(arg)
		if got == exact[kind] && seen[id] != 1 {
			return fmt.Errorf("acknowledged and not there")
		}
		if unknown {
			return nil
		}
	case "exec":
		ids := strings.FieldsFunc(arg, func(r rune) bool { return r == ',' })
		exact[kind] = fmt.Sprintf("*%d\r\n", len(ids)) + strings.Repeat("+OK\r\n", len(ids))
		for _, x := range ids {
			id, _ := strconv.Atoi(x)
			if got == exact[kind] && seen[id] != 1 {
				return fmt.Errorf("acknowledged and not there")
			}
		}
		if unknown {
			return nil
		}
	}
	if got != exact[kind] {
		return fmt.Errorf("want %q", exact[kind])
	}
	return nil
}
