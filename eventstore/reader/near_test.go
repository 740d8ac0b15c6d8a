package reader

import (
	"slices"
	"testing"

	"baton/eventstore/log"
)

// Goal: a subscription that begins near a place gets the first event after it, whatever stands there; one that does not is refused.
func TestSubscribeNearAnyPlace(t *testing.T) {
	n := newNode(t, log.Options{SegmentBytes: 4 << 10})
	var want []string
	for i := range 30 {
		n.entry(n.events("a", "1", "2"), n.events("b", "3"))
		want = append(want, "a/"+num(2*i)+" 1", "a/"+num(2*i+1)+" 2", "b/"+num(i)+" 3")
	}
	_, pos, _ := n.all(AllQuery{FromStart: true, Count: many})
	for i, at := range pos {
		for _, from := range []uint64{at - 1, at, at + 1} {
			rest := want[i:]
			if from >= at {
				rest = want[i+1:]
			}
			p, stop := n.followAll(t, AllSubscription{From: from, Near: true})
			p.awaitPauses(t, 1)
			stop()
			<-p.done
			if got := p.lines[:len(p.lines)-1]; !slices.Equal(got, rest) {
				t.Fatalf("after %d: %q, want %q", from, got, rest)
			}
		}
	}
	for _, beyond := range []uint64{n.log.End(), n.log.End() + 1000} {
		p, stop := n.followAll(t, AllSubscription{From: beyond, Near: true})
		p.awaitPauses(t, 1)
		stop()
		<-p.done
		if len(p.lines) != 1 {
			t.Fatalf("beyond the end: %q", p.lines)
		}
	}
	bad, _ := n.followAll(t, AllSubscription{From: pos[1] + 1})
	ended(t, bad, ErrInvalidPosition)
}
