package session

import (
	"testing"

	"baton/control/proxy/resp"
)

const (
	ok         = "+OK\r\n"
	noReplicas = "-NOREPLICAS Not enough good replicas to write.\r\n"
	execAbort  = "-EXECABORT Transaction discarded because of: NOREPLICAS Not enough good replicas to write.\r\n"
)

// talk is a machine that has a link to a, proven by a write.
type talk struct {
	t   *testing.T
	m   *Machine
	now int64
}

func newTalk(t *testing.T) *talk {
	x := &talk{t: t, now: 1, m: New(Options{Limits: resp.DefaultLimits, Wait: 1e9, MaxQueued: 1 << 20}, Route{Target: Target{"a", 1}}, nil)}
	x.ask("SET", "1", "x")
	x.dialed("a")
	x.sent("SET", "1", "x")
	x.reply(ok)
	x.told(ok)
	return x
}

func (x *talk) ask(args ...string) { x.m.FromClient(x.now, resp.AppendStrings(nil, args...)) }

func (x *talk) reply(s string) { x.m.FromServer(x.now, x.m.cur.id, []byte(s)) }

func (x *talk) route(r Route) { x.m.SetRoute(x.now, r) }

// later lets the wait before another try pass.
func (x *talk) later() {
	x.now += againMax
	x.m.Tick(x.now)
}

// dialed makes the last wish, to connect to addr, come true.
func (x *talk) dialed(addr string) {
	x.t.Helper()
	n := len(x.m.Wishes)
	if n == 0 || x.m.Wishes[n-1].Dial != addr {
		x.t.Fatalf("wishes %v, want a link to %s", x.m.Wishes, addr)
	}
	id := x.m.Wishes[n-1].Link
	x.m.Wishes = nil
	x.m.Dialed(x.now, id)
}

// sent checks what is under way on the link in use: one request or nothing.
func (x *talk) sent(args ...string) {
	x.t.Helper()
	var want string
	if len(args) > 0 {
		want = string(resp.AppendStrings(nil, args...))
	}
	if got := string(x.m.Out(x.m.cur.id, nil)); got != want {
		x.t.Fatalf("sent %q, want %q", got, want)
	}
}

func (x *talk) told(want string) {
	x.t.Helper()
	if got := string(x.m.ToClient); got != want {
		x.t.Fatalf("the client was told %q, want %q", got, want)
	}
	x.m.ToClient = nil
}

// Goal: a write that reaches its server only after two moves, when it is
// primary again and has no replicas yet, is sent again on the new link.
func TestWriteThatArrivesAfterTwoMovesIsSentAgain(t *testing.T) {
	x := newTalk(t)
	x.ask("SET", "2", "x")
	x.sent("SET", "2", "x")
	b2, a3 := Target{"b", 2}, Target{"a", 3}
	x.route(Route{Target: Target{"a", 1}, Next: b2, Hold: true})
	x.route(Route{Target: b2})
	x.route(Route{Target: b2, Next: a3, Hold: true})
	x.route(Route{Target: a3})
	x.reply(noReplicas)
	x.told("")
	x.later()
	x.dialed("a")
	x.sent("SET", "2", "x")
	x.reply(ok)
	x.told(ok)
}

// Goal: a write refused for want of replicas during a hold, or in flight when
// the hold is taken back, is sent again; also behind one that was carried out.
func TestWriteRefusedAroundAHoldIsSentAgain(t *testing.T) {
	a1, b2 := Target{"a", 1}, Target{"b", 2}
	for name, during := range map[string]bool{"during": true, "after": false} {
		t.Run(name, func(t *testing.T) {
			x := newTalk(t)
			x.ask("SET", "2", "x")
			x.sent("SET", "2", "x")
			x.ask("SET", "3", "x")
			x.sent("SET", "3", "x")
			x.route(Route{Target: a1, Next: b2, Hold: true})
			if during {
				x.reply(ok + noReplicas)
				x.told(ok)
				x.later()
				x.sent()
			}
			x.route(Route{Target: a1})
			if !during {
				x.reply(ok + noReplicas)
				x.told(ok)
			}
			x.later()
			x.sent("SET", "3", "x")
			x.reply(ok)
			x.told(ok)
		})
	}
}

// Goal: a write that was carried out before a hold and is answered after it
// does not show that the replicas are there after it.
func TestWriteOfBeforeAHoldProvesNothing(t *testing.T) {
	a1 := Target{"a", 1}
	x := newTalk(t)
	x.ask("SET", "2", "x")
	x.sent("SET", "2", "x")
	x.route(Route{Target: a1, Hold: true})
	x.route(Route{Target: a1})
	x.reply(ok)
	x.told(ok)
	x.ask("SET", "3", "x")
	x.sent("SET", "3", "x")
	x.reply(noReplicas)
	x.told("")
	x.later()
	x.sent("SET", "3", "x")
	x.reply(ok)
	x.told(ok)
	x.ask("SET", "4", "x")
	x.reply(noReplicas)
	x.told(noReplicas)
}

// Goal: with no move about, the client is told that replicas are missing; a
// transaction too.
func TestWantOfReplicasIsToldWithoutAMove(t *testing.T) {
	x := newTalk(t)
	x.ask("SET", "2", "x")
	x.reply(noReplicas)
	x.told(noReplicas)
	x.ask("MULTI")
	x.ask("SET", "3", "x")
	x.ask("EXEC")
	x.reply(ok + "+QUEUED\r\n" + execAbort)
	x.told(ok + "+QUEUED\r\n" + execAbort)
}
