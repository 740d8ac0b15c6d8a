package sim

import (
	"encoding/binary"
	"fmt"
	"time"

	"baton/eventstore/replica"
	"baton/eventstore/stream"
)

// client appends to streams, one op after the other, and repeats an op with the same event ids until it knows the
// outcome. Half of its ops go to a stream that nobody else writes: there it always knows the head, and every refusal
// is a false conflict.
type client struct {
	c      *cluster
	at     endpoint
	number int
	node   int   // index of the node it speaks to
	head   int64 // of its own stream
	guess  map[string]int64
	op     *op
	try    int
	ids    uint64
	done   bool
}

// Times of a client.
const (
	opTimeout  = 1 * time.Second
	retryDelay = 50 * time.Millisecond
	maxTries   = 8 // of an op on a shared stream; then its outcome stays unknown
)

func (k *client) own() string { return fmt.Sprintf("own-%d", k.number) }

// next begins an op unless the workload is over.
func (k *client) next() {
	if k.c.draining {
		k.done = true
		return
	}
	r := k.c.w.rng
	o := &op{client: k.number, call: k.c.w.now, state: opUnknown}
	events := 1 + r.IntN(k.c.swarm.BatchMax)
	for range events {
		o.ids = append(o.ids, k.newID())
	}
	if r.IntN(2) == 0 {
		o.stream = k.own()
		o.expected = k.head
		if r.IntN(4) == 0 {
			o.expected = int64(stream.Any)
		}
	} else {
		o.stream = fmt.Sprintf("shared-%d", r.IntN(k.c.swarm.Streams))
		o.expected = int64(stream.Any)
		if guess, ok := k.guess[o.stream]; ok && r.IntN(2) == 0 {
			o.expected = guess
		}
	}
	o.floor = -1
	if acked, ok := k.c.check.acks[o.stream]; ok {
		o.floor = acked
	}
	k.op = o
	k.c.history.ops = append(k.c.history.ops, o)
	k.send()
}

func (k *client) newID() (id [16]byte) {
	k.ids++
	binary.BigEndian.PutUint64(id[:8], uint64(k.number)+1)
	binary.BigEndian.PutUint64(id[8:], k.ids)
	return id
}

func (k *client) command(o *op) *stream.Command {
	w := stream.Write{Stream: o.stream, Expected: stream.Expected(o.expected)}
	for i, id := range o.ids {
		w.Events = append(w.Events, stream.Event{ID: id, Type: "t", Data: k.c.payload(i)})
	}
	cmd, err := stream.NewAppend(stream.Limits{}, w)
	if err != nil {
		panic(err)
	}
	return cmd
}

// send makes one try of the present op.
func (k *client) send() {
	k.try++
	o, try := k.op, k.try
	o.tries++
	if o.tries > 1 {
		k.c.count("append repeated")
	}
	n := k.c.nodes[k.node]
	cmd := k.command(o)
	raw := cmd.Bytes()
	k.c.net.send(k.at, n.at, func() {
		n.deliver(func() {
			c, err := stream.ParseCommand(append([]byte(nil), raw...))
			if err != nil {
				panic(err)
			}
			n.submit(c, func(p *replica.Proposal) {
				outcome, err, lead := p.Outcome, p.Err, n.core.Status().Lead
				k.c.net.send(n.at, k.at, func() { k.answered(o, outcome, err, lead) })
			})
		})
	})
	k.c.w.after(opTimeout, func() { k.timeout(o, try) })
}

func (k *client) timeout(o *op, try int) {
	if k.op != o || k.try != try {
		return
	}
	k.c.count("append timed out")
	k.elsewhere(0)
	k.again(o)
}

// elsewhere picks the node to speak to: the leader it was told of, else any.
func (k *client) elsewhere(lead uint64) {
	for i, n := range k.c.nodes {
		if lead != 0 && uint64(n.self.ID) == lead {
			k.node = i
			return
		}
	}
	k.node = k.c.w.rng.IntN(len(k.c.nodes))
}

// again repeats the op after a moment, or gives up on a shared stream.
func (k *client) again(o *op) {
	if o.tries >= maxTries && o.stream != k.own() {
		k.finish(o)
		return
	}
	if k.c.draining && o.tries >= 4*maxTries {
		k.finish(o)
		return
	}
	k.try++ // answers of earlier tries still count; timers of them do not
	try := k.try
	k.c.w.after(k.c.w.between(retryDelay/2, retryDelay), func() {
		if k.op == o && k.try == try {
			k.send()
		}
	})
}

// answered takes an answer, also to an earlier try: it is as true.
func (k *client) answered(o *op, outcome stream.Outcome, err error, lead uint64) {
	if k.op != o {
		return
	}
	if err != nil {
		k.elsewhere(lead)
		k.again(o)
		return
	}
	o.ret = k.c.w.now
	switch outcome.Kind {
	case stream.Done:
		o.state, o.first = opAcked, outcome.Writes[0].First
		last := o.first + int64(len(o.ids)) - 1
		k.c.w.trace.note(k.c.w.now, "ack", uint64(k.number), uint64(o.first), uint64(len(o.ids)))
		k.c.check.acked(o, outcome)
		if o.stream == k.own() {
			if o.first != k.head+1 {
				k.c.check.fail("P4", "client %d alone writes %s, whose head is %d, and got revision %d", k.number, o.stream, k.head, o.first)
			}
			k.head = last
		} else {
			k.guess[o.stream] = last
		}
		if outcome.Repeated {
			k.c.count("repeat recognized")
		}
	case stream.Conflict:
		o.state, o.actual = opConflict, outcome.Writes[0].Actual
		k.c.w.trace.note(k.c.w.now, "conflict", uint64(k.number), uint64(o.actual))
		k.c.check.conflict(o, o.stream == k.own())
		k.guess[o.stream] = o.actual
		k.c.count("true conflict")
	default:
		k.c.check.fail("P4", "client %d got %v for an append to %s that nothing forbids: %s", k.number, outcome.Kind, o.stream, outcome.Reason)
	}
	k.finish(o)
}

func (k *client) finish(o *op) {
	k.op = nil
	k.c.w.after(k.c.w.between(0, k.c.swarm.Think), k.next)
}
