package system

import (
	"fmt"
	"os"
	"testing"
	"time"

	"baton/control/lease"
	"baton/test/fleet"
)

// partitionsVariable names which partitions are tried: "all" for every one,
// else those that show the most.
const partitionsVariable = "BATON_TEST_PARTITIONS"

func allPartitions() bool { return os.Getenv(partitionsVariable) == "all" }

// standsLong is how long a partition lasts that nothing is to end: a lease and
// the drift allowed, and a second in which something could go wrong.
const standsLong = lease.DefaultTTL + 200*time.Millisecond + time.Second

// partedCase is one partition.
type partedCase struct {
	name string
	// short: tried by default.
	short bool
	// moves: another node takes over. Else the primary stays what it is.
	moves bool
	// either: when it ends the control plane may hear of a replica before it
	// hears of the primary, whose lease is over: it may move or stay.
	either bool
	// goesOn: writes go on while it lasts.
	goesOn bool
	cut    func(s *partedSite, p *partedHost)
}

func oneOf(h *partedHost) []*space { return []*space{h.space} }

var partedCases = []partedCase{
	{name: "primary, a control node and a client cut off from the rest", short: true, moves: true, cut: func(s *partedSite, p *partedHost) {
		few := s.other(s.leader())
		side := []*space{p.space, few.space, s.beside}
		s.net.cut(side, s.net.rest(side...))
	}},
	{name: "primary cut off from the control plane only", short: true, moves: true, cut: func(s *partedSite, p *partedHost) {
		s.net.cut(oneOf(p), s.controlSpaces())
	}},
	{name: "one way: nothing of the primary's host arrives anywhere", short: true, moves: true, cut: func(s *partedSite, p *partedHost) {
		s.net.oneWay(oneOf(p), s.net.rest(p.space))
	}},
	{name: "control plane split, its leader alone", short: true, goesOn: true, cut: func(s *partedSite, p *partedHost) {
		l := s.leader()
		s.net.cut([]*space{l.space}, s.net.rest(l.space))
	}},
	{name: "primary cut off from everything but a client", moves: true, cut: func(s *partedSite, p *partedHost) {
		s.net.cut([]*space{p.space, s.beside}, s.net.rest(p.space, s.beside))
	}},
	{name: "primary and the leading control node cut off from the rest", moves: true, cut: func(s *partedSite, p *partedHost) {
		side := []*space{p.space, s.leader().space, s.beside}
		s.net.cut(side, s.net.rest(side...))
	}},
	{name: "one way: nothing arrives at the primary's host", moves: true, cut: func(s *partedSite, p *partedHost) {
		s.net.oneWay(s.net.rest(p.space), oneOf(p))
	}},
	{name: "primary cut off from its replicas only", cut: func(s *partedSite, p *partedHost) {
		var others []*space
		for _, h := range s.hosts {
			if h != p {
				others = append(others, h.space)
			}
		}
		s.net.cut(oneOf(p), others)
	}},
	{name: "control plane split, each node alone", either: true, cut: func(s *partedSite, p *partedHost) {
		for i, c := range s.control {
			for _, o := range s.control[:i] {
				s.net.cut([]*space{c.space}, []*space{o.space})
			}
		}
	}},
	{name: "all hosts cut off from the control plane", either: true, cut: func(s *partedSite, p *partedHost) {
		s.net.cut([]*space{s.hosts[0].space, s.hosts[1].space, s.hosts[2].space}, s.controlSpaces())
	}},
}

// failsafeCases are those of a cluster whose primary may go on by promises of
// all others while no control node answers.
var failsafeCases = []partedCase{
	{name: "mode failsafe: all hosts cut off from the control plane", short: true, goesOn: true, cut: func(s *partedSite, p *partedHost) {
		s.net.cut([]*space{s.hosts[0].space, s.hosts[1].space, s.hosts[2].space}, s.controlSpaces())
	}},
	{name: "mode failsafe: primary cut off from the control plane and one replica", short: true, moves: true, cut: func(s *partedSite, p *partedHost) {
		side := s.controlSpaces()
		for _, h := range s.hosts {
			if h != p {
				side = append(side, h.space)
				break
			}
		}
		s.net.cut(oneOf(p), side)
	}},
	{name: "mode failsafe: primary cut off from the control plane only", goesOn: true, cut: func(s *partedSite, p *partedHost) {
		s.net.cut(oneOf(p), s.controlSpaces())
	}},
	{name: "mode failsafe: primary and a client cut off from the rest", moves: true, cut: func(s *partedSite, p *partedHost) {
		side := []*space{p.space, s.beside}
		s.net.cut(side, s.net.rest(side...))
	}},
	{name: "mode failsafe: control plane split, each node alone", goesOn: true, cut: func(s *partedSite, p *partedHost) {
		for i, c := range s.control {
			for _, o := range s.control[:i] {
				s.net.cut([]*space{c.space}, []*space{o.space})
			}
		}
	}},
}

func (s *partedSite) other(than *partedControl) *partedControl {
	for _, c := range s.control {
		if c != than {
			return c
		}
	}
	return nil
}

// TestPartitionsOfARedisCluster: three control nodes and three hosts, each on a
// machine of its own, with a writer on both sides of each partition.
//
// Whatever is cut: once a new primary acknowledged a write, the old one
// acknowledges none that was sent later; everything a replica confirmed is on
// the primary at the end; and when the partition ends, the cluster is whole
// again by itself.
func TestPartitionsOfARedisCluster(t *testing.T) {
	t.Parallel() // on a network of its own
	s := startParted(t, "strict")
	s.tryAll("partitions of a Redis cluster", partedCases)
}

// TestPartitionsInModeFailsafe: while no control node answers the primary goes
// on as long as the agents beside all others promise, and no longer.
func TestPartitionsInModeFailsafe(t *testing.T) {
	t.Parallel() // on a network of its own
	s := startParted(t, "failsafe")
	s.tryAll("partitions of a Redis cluster in mode failsafe", failsafeCases)
}

func (s *partedSite) tryAll(what string, cases []partedCase) {
	s.t.Helper()
	outside, beside := s.writer("outside", s.outside), s.writer("beside", s.beside)
	tried := 0
	for _, c := range cases {
		if c.short || allPartitions() {
			s.try(&c, outside, beside)
			tried++
		}
	}
	p, _ := s.ready()
	n, lost := outside.lost(p)
	m, more := beside.lost(p)
	fmt.Printf("=> | %s in network namespaces | %d of %d tried (all: %s=all) | never two primaries | %d writes confirmed, %d lost |\n",
		what, tried, len(cases), partitionsVariable, n+m, lost+more)
}

// stoodStill tells whether the machine itself stood still for so long that
// leases may have ended by that alone.
func (s *partedSite) stoodStill(since time.Time) bool {
	return s.machine.Stalled(fleet.Gap{From: since, To: time.Now()}) > lease.DefaultTTL/5
}

// try makes one partition, ends it, and checks what was acknowledged.
func (s *partedSite) try(c *partedCase, writers ...*partedWriter) {
	s.t.Helper()
	p, generation := s.ready()
	before := time.Now()
	c.cut(s, p)
	began := time.Now()
	// first is the first acknowledgement of another primary.
	first := func() (a partedAck, ok bool) {
		for _, w := range writers {
			for _, x := range w.since(before) {
				if x.host != p && (!ok || x.acked.Before(a.acked)) {
					a, ok = x, true
				}
			}
		}
		return a, ok
	}
	if c.moves {
		s.await("writes on another node after: "+c.name, func() (bool, string) {
			_, ok := first()
			v, err := s.view()
			return ok, fmt.Sprintf("%+v %+v %v", v.Verdict, v.Failover, err)
		})
	}
	s.await("the partition has lasted: "+c.name, func() (bool, string) { return c.moves || time.Since(began) > standsLong, "" })
	if c.goesOn {
		now := time.Now()
		s.await("writes while it lasts: "+c.name, func() (bool, string) {
			return len(writers[0].since(now)) > 0 || time.Since(now) > standsLong && s.stoodStill(before), fmt.Sprint(s.machine)
		})
	}
	healed := time.Now()
	s.net.heal()
	s.together()
	q, now := s.ready()
	whole := time.Since(healed)
	for _, w := range writers {
		at := time.Now()
		s.await("the writer "+w.name+" writes again after: "+c.name, func() (bool, string) { return len(w.since(at)) > 0, "" })
	}
	line := "stays primary"
	a, moved := first()
	switch {
	case c.moves != moved && !c.either && !s.stoodStill(before) || moved && now == generation || !moved && q != p:
		s.t.Errorf("%s: moved %v to %s, it should be %v", c.name, moved, q.node, c.moves)
	case !moved && now != generation:
		s.t.Errorf("%s: generation %s became %s although the primary stays", c.name, generation, now)
	case moved:
		var last time.Time
		for _, w := range writers {
			for _, x := range w.since(before) {
				if x.host != p {
					continue
				}
				if x.acked.After(last) {
					last = x.acked
				}
				// A machine that stands still may bring a second failover after the end, back to the node it began with.
				if x.sent.After(a.acked) && !(q == p && x.sent.After(healed)) {
					s.t.Errorf("%s: %s took write %d of %s, sent at %s, after %s had acknowledged its first at %s", c.name, p.node, x.n, w.name,
						x.sent.Format("05.000"), a.host.node, a.acked.Format("05.000"))
				}
			}
		}
		line = fmt.Sprintf("writes on another node after %.1f s", a.acked.Sub(began).Seconds())
		if !last.IsZero() {
			line += fmt.Sprintf(", %.1f s after the last on the old one", a.acked.Sub(last).Seconds())
		}
	}
	fmt.Printf("=> | partition: %s | %s | longest gap outside %.1f s | whole again %.1f s after its end |\n", c.name, line, writers[0].gap(began).Seconds(), whole.Seconds())
}
