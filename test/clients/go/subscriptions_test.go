package clients

import (
	"context"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/kurrent-io/KurrentDB-Client-Go/kurrentdb"
)

// receive returns the next n events of a subscription, and how many checkpoints and caught-ups came before the last.
func receive(t *testing.T, s *kurrentdb.Subscription, n int) (events []*kurrentdb.ResolvedEvent, checkpoints, caughtUp int) {
	t.Helper()
	for len(events) < n {
		e := s.Recv()
		switch {
		case e.EventAppeared != nil:
			events = append(events, e.EventAppeared)
		case e.CheckPointReached != nil:
			checkpoints++
		case e.CaughtUp != nil:
			caughtUp++
		case e.SubscriptionDropped != nil:
			t.Fatalf("dropped after %d of %d events: %v", len(events), n, e.SubscriptionDropped.Error)
		}
	}
	return events, checkpoints, caughtUp
}

func TestSubscribeToStreamOnEveryRole(t *testing.T) {
	writer := connect(t, five.ConnectionString(""))
	onEachRole(t, func(t *testing.T, c *kurrentdb.Client) {
		name, _ := seed(t, 10)
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		defer cancel()
		s, err := c.SubscribeToStream(ctx, name, kurrentdb.SubscribeToStreamOptions{From: kurrentdb.Start{}})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		got, _, _ := receive(t, s, 10)
		more := newEvents(5, "live")
		if _, err := writer.AppendToStream(ctx, name, kurrentdb.AppendToStreamOptions{StreamState: kurrentdb.Revision(9)}, more...); err != nil {
			t.Fatal(err)
		}
		live, _, caughtUp := receive(t, s, 5)
		got = append(got, live...)
		for i, e := range got {
			if e.OriginalEvent().EventNumber != uint64(i) {
				t.Fatalf("event %d has revision %d: skipped or repeated at the join of past and live", i, e.OriginalEvent().EventNumber)
			}
		}
		if caughtUp == 0 {
			t.Fatal("no caught-up between past and live")
		}
		s2, err := c.SubscribeToStream(ctx, name, kurrentdb.SubscribeToStreamOptions{From: kurrentdb.Revision(11)})
		if err != nil {
			t.Fatal(err)
		}
		defer s2.Close()
		if rest, _, _ := receive(t, s2, 3); rest[0].OriginalEvent().EventNumber != 12 {
			t.Fatalf("resumed after 11, got %d first", rest[0].OriginalEvent().EventNumber)
		}
	})
}

func TestSubscribeToAllWithFilter(t *testing.T) {
	writer := connect(t, five.ConnectionString(""))
	filters := map[string]func(prefix string) *kurrentdb.SubscriptionFilter{
		"type prefix": func(p string) *kurrentdb.SubscriptionFilter {
			return &kurrentdb.SubscriptionFilter{Type: kurrentdb.EventFilterType, Prefixes: []string{p}}
		},
		"type regex": func(p string) *kurrentdb.SubscriptionFilter {
			return &kurrentdb.SubscriptionFilter{Type: kurrentdb.EventFilterType, Regex: "^" + p}
		},
		"stream prefix": func(p string) *kurrentdb.SubscriptionFilter {
			return &kurrentdb.SubscriptionFilter{Type: kurrentdb.StreamFilterType, Prefixes: []string{p}}
		},
		"stream regex": func(p string) *kurrentdb.SubscriptionFilter {
			return &kurrentdb.SubscriptionFilter{Type: kurrentdb.StreamFilterType, Regex: "^" + p + ".*$"}
		},
	}
	for what, filter := range filters {
		t.Run(what, func(t *testing.T) {
			onEachRole(t, func(t *testing.T, c *kurrentdb.Client) {
				ctx, cancel := context.WithTimeout(context.Background(), deadline)
				defer cancel()
				prefix := strings.ReplaceAll(uuid.NewString(), "-", "")
				add := func(n int) {
					t.Helper()
					opts := kurrentdb.AppendToStreamOptions{StreamState: kurrentdb.Any{}}
					if _, err := writer.AppendToStream(ctx, prefix+"-s", opts, newEvents(n, prefix+"-t")...); err != nil {
						t.Fatal(err)
					}
					if _, err := writer.AppendToStream(ctx, newStream(t), opts, newEvents(40, "other")...); err != nil {
						t.Fatal(err)
					}
				}
				add(4)
				s, err := c.SubscribeToAll(ctx, kurrentdb.SubscribeToAllOptions{
					From: kurrentdb.Start{}, Filter: filter(prefix), MaxSearchWindow: 10, CheckpointInterval: 1,
				})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				events, checkpoints, _ := receive(t, s, 4)
				add(3)
				live, more, _ := receive(t, s, 3)
				for _, e := range append(events, live...) {
					if r := e.OriginalEvent(); r.StreamID != prefix+"-s" || r.EventType != prefix+"-t" {
						t.Fatalf("event of %s, type %s passed the filter", r.StreamID, r.EventType)
					}
				}
				if checkpoints+more == 0 {
					t.Fatal("no checkpoint although more events were examined than the window holds")
				}
			})
		})
	}
}

func TestSubscribeToAllResumes(t *testing.T) {
	name, events := seed(t, 6)
	onEachRole(t, func(t *testing.T, c *kurrentdb.Client) {
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		defer cancel()
		s, err := c.SubscribeToAll(ctx, kurrentdb.SubscribeToAllOptions{From: kurrentdb.Start{},
			Filter: &kurrentdb.SubscriptionFilter{Type: kurrentdb.StreamFilterType, Prefixes: []string{name}}})
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := receive(t, s, 3)
		s.Close()
		s, err = c.SubscribeToAll(ctx, kurrentdb.SubscribeToAllOptions{From: first[2].OriginalEvent().Position,
			Filter: &kurrentdb.SubscriptionFilter{Type: kurrentdb.StreamFilterType, Prefixes: []string{name}}})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		rest, _, _ := receive(t, s, 3)
		if rest[0].OriginalEvent().EventID != events[3].EventID {
			t.Fatalf("resumed after revision 2, got %d first", rest[0].OriginalEvent().EventNumber)
		}
	})
}
