package session

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"baton/control/proxy/resp"

	"pgregory.net/rapid"
)

// world is a client, the machine of its session, and the servers, all in one
// goroutine; what happens next is drawn.
type world struct {
	t       *rapid.T
	m       *Machine
	now     int64
	servers map[string]*server
	log     *[]int // writes that were carried out, in order, by all primaries
	primary string
	spare   string
	gen     uint64
	pipes   map[uint64]*pipe
	dialing map[uint64]string
	got     []byte // what the client received
	route   Route
	held    bool
	wrote   bool // a request that writes was sent while held
	early   bool // the replicas may leave a primary before its role ends
}

type server struct {
	name       string
	primary    bool
	dead       bool
	noReplicas bool
	log        *[]int
}

// pipe is a connection to a server with bytes under way in both directions.
type pipe struct {
	s        *server
	out, in  []byte
	requests resp.Requests
	multi    []string
	inMulti  bool
	dirty    bool
	lost     bool
}

func newWorld(t *rapid.T) *world {
	log := &[]int{}
	w := &world{t: t, now: 1, log: log, primary: "a", spare: "b", gen: 1, pipes: map[uint64]*pipe{}, dialing: map[uint64]string{},
		servers: map[string]*server{"a": {name: "a", primary: true, log: log}, "b": {name: "b", log: log}}}
	w.route = Route{Target: Target{"a", 1}}
	w.m = New(Options{Limits: resp.DefaultLimits, Wait: 1e15, MaxQueued: 1 << 20}, w.route, nil)
	return w
}

// carry carries out what the machine wishes.
func (w *world) carry() {
	for _, x := range w.m.Wishes {
		if x.Dial != "" {
			w.dialing[x.Link] = x.Dial
			continue
		}
		delete(w.dialing, x.Link)
		if p := w.pipes[x.Link]; p != nil {
			p.serve(w) // what was sent arrives
			delete(w.pipes, x.Link)
		}
	}
	w.m.Wishes = w.m.Wishes[:0]
	for _, id := range w.m.Outgoing() {
		if p := w.pipes[id]; p != nil {
			was := len(p.out)
			p.out = w.m.Out(id, p.out)
			if w.held && bytes.Contains(p.out[was:], []byte("SET")) {
				w.wrote = true
			}
		}
	}
	w.got = append(w.got, w.m.ToClient...)
	w.m.ToClient = w.m.ToClient[:0]
}

// serve has the server read what was sent to it.
func (p *pipe) serve(w *world) {
	if p.s.dead {
		p.lost = true
		return
	}
	var r resp.Request
	p.requests.Limits = resp.DefaultLimits
	for len(p.out) > 0 {
		ok, err := p.requests.Next(p.out, &r)
		if err != nil {
			w.t.Fatalf("the server got %q: %v", p.out, err)
		}
		if !ok {
			return
		}
		var args []string
		for _, a := range r.Args {
			args = append(args, string(a))
		}
		p.out = p.out[r.Size:]
		p.in = append(p.in, p.answer(w, args)...)
	}
}

func (p *pipe) answer(w *world, args []string) string {
	name := args[0]
	switch {
	case name == "SET" && !p.s.primary, name == "EXEC" && p.inMulti && !p.s.primary && len(p.multi) > 0 && !p.dirty:
		p.dirty = p.inMulti
		if name == "EXEC" {
			p.inMulti, p.multi, p.dirty = false, nil, false
			return "-EXECABORT Transaction discarded because of: READONLY You can't write against a read only replica.\r\n"
		}
		return "-READONLY You can't write against a read only replica.\r\n"
	case name == "EXEC" && p.inMulti && p.s.noReplicas && len(p.multi) > 0 && !p.dirty:
		p.inMulti, p.multi = false, nil
		return "-EXECABORT Transaction discarded because of: NOREPLICAS Not enough good replicas to write.\r\n"
	case name == "SET" && p.s.noReplicas:
		p.dirty = p.inMulti
		return "-NOREPLICAS Not enough good replicas to write.\r\n"
	case name == "MULTI":
		if p.inMulti {
			return "-ERR MULTI calls can not be nested\r\n"
		}
		p.inMulti, p.multi, p.dirty = true, nil, false
		return "+OK\r\n"
	case name == "DISCARD":
		if !p.inMulti {
			return "-ERR DISCARD without MULTI\r\n"
		}
		p.inMulti = false
		return "+OK\r\n"
	case name == "EXEC":
		if !p.inMulti {
			return "-ERR EXEC without MULTI\r\n"
		}
		p.inMulti = false
		if p.dirty {
			return "-EXECABORT Transaction discarded because of previous errors.\r\n"
		}
		out := fmt.Sprintf("*%d\r\n", len(p.multi))
		for _, id := range p.multi {
			out += p.set(id)
		}
		return out
	case p.inMulti && name == "SET":
		p.multi = append(p.multi, args[1])
		return "+QUEUED\r\n"
	case name == "SET":
		return p.set(args[1])
	case name == "GET":
		return fmt.Sprintf("$%d\r\n%s\r\n", len(args[1]), args[1])
	case name == "LRANGE":
		return "*2\r\n*1\r\n:1\r\n$3\r\na\r\n\r\n"
	}
	return "+PONG\r\n"
}

func (p *pipe) set(id string) string {
	n, _ := strconv.Atoi(id)
	*p.s.log = append(*p.s.log, n)
	return "+OK\r\n"
}

// step lets one thing happen that was under way.
func (w *world) step() bool {
	var ids []uint64
	for id, p := range w.pipes {
		if p.s.dead || len(p.out) > 0 || len(p.in) > 0 {
			ids = append(ids, id)
		}
	}
	for id := range w.dialing {
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return false
	}
	slices.Sort(ids)
	id := ids[0]
	if len(ids) > 1 {
		id = rapid.SampledFrom(ids).Draw(w.t, "link")
	}
	if address, ok := w.dialing[id]; ok {
		delete(w.dialing, id)
		s := w.servers[address]
		if s.dead {
			w.m.Lost(w.now, id)
		} else {
			w.pipes[id] = &pipe{s: s}
			w.m.Dialed(w.now, id)
		}
		w.carry()
		return true
	}
	p := w.pipes[id]
	switch {
	case p.s.dead:
		delete(w.pipes, id)
		w.m.Lost(w.now, id)
	case len(p.out) > 0 && (len(p.in) == 0 || rapid.Bool().Draw(w.t, "serve first")):
		p.serve(w)
		return true
	case len(p.in) > 0:
		n := min(len(p.in), rapid.IntRange(1, 40).Draw(w.t, "piece"))
		b := p.in[:n]
		p.in = p.in[n:]
		w.m.FromServer(w.now, id, b)
	}
	w.carry()
	return true
}

func (w *world) setRoute(r Route) {
	w.route, w.held = r, r.Hold
	w.m.SetRoute(w.now, r)
	w.carry()
}

// pass lets time pass.
func (w *world) pass(d int64) {
	w.now += d
	w.m.Tick(w.now)
	w.carry()
}

// finish lets everything that is under way come to its end.
func (w *world) finish() {
	idle := 0
	for range 100_000 {
		if w.step() {
			idle = 0
			continue
		}
		w.pass(2e8)
		if idle++; idle > 50 {
			return
		}
	}
	w.t.Fatalf("does not come to rest")
}

// replies cuts what the client received into answers.
func (w *world) replies() []string {
	var p resp.Replies
	var out []string
	b := w.got
	for len(b) > 0 {
		n, done, err := p.Next(b)
		if err != nil {
			w.t.Fatalf("the client received %q: %v", w.got, err)
		}
		if !done {
			w.t.Fatalf("an answer was cut: %q", b)
		}
		out = append(out, string(b[:n]))
		b = b[n:]
	}
	return out
}

// script is what a client sends, and what each answer may be.
type script struct {
	bytes []byte
	want  []string // "set N", "get N", "range", "ping", "multi", "queued", "exec N,N"
}

func drawScript(t *rapid.T) script {
	var s script
	next := 1
	add := func(want string, args ...string) {
		s.bytes = resp.AppendStrings(s.bytes, args...)
		s.want = append(s.want, want)
	}
	for range rapid.IntRange(1, 12).Draw(t, "requests") {
		id := strconv.Itoa(next)
		switch rapid.IntRange(0, 5).Draw(t, "request") {
		case 0, 1:
			add("set "+id, "SET", id, "x")
			next++
		case 2:
			add("get "+id, "GET", id)
		case 3:
			add("range", "LRANGE", "l", "0", "-1")
		case 4:
			s.bytes = append(s.bytes, "ping\r\n"...)
			s.want = append(s.want, "ping")
		case 5:
			add("multi", "MULTI")
			var ids []string
			for range rapid.IntRange(0, 3).Draw(t, "inside") {
				add("queued", "SET", strconv.Itoa(next), "x")
				ids = append(ids, strconv.Itoa(next))
				next++
			}
			add("exec "+strings.Join(ids, ","), "EXEC")
		}
	}
	return s
}

func complete(b []byte) bool {
	var p resp.Replies
	for len(b) > 0 {
		n, done, err := p.Next(b)
		if err != nil || !done {
			return false
		}
		b = b[n:]
	}
	return true
}
