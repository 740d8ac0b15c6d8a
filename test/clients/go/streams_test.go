package clients

import (
	"bytes"
	"testing"

	"github.com/google/uuid"
	"github.com/kurrent-io/KurrentDB-Client-Go/kurrentdb"
)

func TestAppendAndReadBothWays(t *testing.T) {
	name, events := seed(t, 20)
	onEachRole(t, func(t *testing.T, c *kurrentdb.Client) {
		s, err := c.ReadStream(testContext(t), name, kurrentdb.ReadStreamOptions{From: kurrentdb.Start{}}, 100)
		got := collect(t, s, err)
		if len(got) != len(events) {
			t.Fatalf("forwards: %d events, want %d", len(got), len(events))
		}
		for i, e := range got {
			r := e.OriginalEvent()
			if r.EventID != events[i].EventID || r.EventNumber != uint64(i) || r.StreamID != name || r.EventType != "seeded" ||
				!bytes.Equal(r.Data, events[i].Data) || !bytes.Equal(r.UserMetadata, events[i].Metadata) || r.ContentType != "application/json" {
				t.Fatalf("event %d differs: %+v", i, r)
			}
			if r.CreatedDate.IsZero() || r.Position.Commit == 0 {
				t.Fatalf("event %d has created %v, position %v", i, r.CreatedDate, r.Position)
			}
		}
		s, err = c.ReadStream(testContext(t), name, kurrentdb.ReadStreamOptions{From: kurrentdb.End{}, Direction: kurrentdb.Backwards}, 5)
		got = collect(t, s, err)
		if len(got) != 5 || got[0].OriginalEvent().EventNumber != 19 || got[4].OriginalEvent().EventNumber != 15 {
			t.Fatalf("backwards: %d events, first %v", len(got), got[0].OriginalEvent().EventNumber)
		}
		s, err = c.ReadStream(testContext(t), name, kurrentdb.ReadStreamOptions{From: kurrentdb.Revision(7)}, 3)
		got = collect(t, s, err)
		if len(got) != 3 || got[0].OriginalEvent().EventNumber != 7 {
			t.Fatalf("from revision 7: %d events, first %v", len(got), got[0].OriginalEvent().EventNumber)
		}
	})
}

func TestAppendThroughEveryRole(t *testing.T) {
	onEachRole(t, func(t *testing.T, c *kurrentdb.Client) {
		name := newStream(t)
		r, err := c.AppendToStream(testContext(t), name, kurrentdb.AppendToStreamOptions{StreamState: kurrentdb.NoStream{}}, newEvents(3, "x")...)
		if err != nil {
			t.Fatal(err)
		}
		if r.NextExpectedVersion != 2 {
			t.Fatalf("revision %d, want 2", r.NextExpectedVersion)
		}
		// Read your own write on the node that took it.
		s, err := c.ReadStream(testContext(t), name, kurrentdb.ReadStreamOptions{From: kurrentdb.Start{}}, 10)
		if got := collect(t, s, err); len(got) != 3 {
			t.Fatalf("%d events right after the append, want 3", len(got))
		}
	})
}

func TestWrongExpectedRevision(t *testing.T) {
	name, _ := seed(t, 3)
	c := connect(t, five.ConnectionString(""))
	ctx := testContext(t)
	for what, state := range map[string]kurrentdb.StreamState{
		"too low": kurrentdb.Revision(1), "too high": kurrentdb.Revision(7), "no stream": kurrentdb.NoStream{},
	} {
		_, err := c.AppendToStream(ctx, name, kurrentdb.AppendToStreamOptions{StreamState: state}, newEvents(1, "x")...)
		if err == nil {
			t.Fatalf("%s: accepted", what)
		}
		wantCode(t, err, kurrentdb.ErrorCodeWrongExpectedVersion)
	}
	_, err := c.AppendToStream(ctx, newStream(t), kurrentdb.AppendToStreamOptions{StreamState: kurrentdb.StreamExists{}}, newEvents(1, "x")...)
	wantCode(t, err, kurrentdb.ErrorCodeWrongExpectedVersion)
	r, err := c.AppendToStream(ctx, name, kurrentdb.AppendToStreamOptions{StreamState: kurrentdb.Revision(2)}, newEvents(1, "x")...)
	if err != nil || r.NextExpectedVersion != 3 {
		t.Fatalf("right revision: %+v, %v", r, err)
	}
}

func TestRepeatedAppendIsStoredOnce(t *testing.T) {
	name, events := newStream(t), newEvents(2, "x")
	c := connect(t, five.ConnectionString(""))
	ctx := testContext(t)
	opts := kurrentdb.AppendToStreamOptions{StreamState: kurrentdb.NoStream{}}
	first, err := c.AppendToStream(ctx, name, opts, events...)
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.AppendToStream(ctx, name, opts, events...)
	if err != nil {
		t.Fatal(err)
	}
	if first.NextExpectedVersion != again.NextExpectedVersion {
		t.Fatalf("first %+v, repeat %+v", first, again)
	}
	s, err := c.ReadStream(ctx, name, kurrentdb.ReadStreamOptions{From: kurrentdb.Start{}}, 10)
	if got := collect(t, s, err); len(got) != 2 {
		t.Fatalf("%d events stored, want 2", len(got))
	}
}

func TestReadAll(t *testing.T) {
	name, events := seed(t, 10)
	first := uuid.UUID(events[0].EventID)
	var order []uuid.UUID // as the first role saw it
	onEachRole(t, func(t *testing.T, c *kurrentdb.Client) {
		s, err := c.ReadAll(testContext(t), kurrentdb.ReadAllOptions{From: kurrentdb.Start{}}, 100000)
		var seen []uuid.UUID
		last, mine := uint64(0), 0
		for _, e := range collect(t, s, err) {
			r := e.OriginalEvent()
			if r.Position.Commit < last {
				t.Fatalf("position %d after %d", r.Position.Commit, last)
			}
			last = r.Position.Commit
			if r.StreamID == name {
				mine++
			}
			seen = append(seen, r.EventID)
		}
		if mine != 10 {
			t.Fatalf("%d events of %s in $all, want 10", mine, name)
		}
		if order == nil {
			order = seen
		}
		for i := range min(len(order), len(seen)) {
			if order[i] != seen[i] {
				t.Fatalf("event %d of $all differs between roles", i)
			}
		}
		s, err = c.ReadAll(testContext(t), kurrentdb.ReadAllOptions{From: kurrentdb.End{}, Direction: kurrentdb.Backwards}, uint64(len(seen)))
		back := collect(t, s, err)
		for i := range back[:min(len(back), 10)] {
			if back[i].OriginalEvent().Position.Commit == 0 {
				t.Fatal("backwards event without position")
			}
		}
		if back[len(back)-1].OriginalEvent().Position.Commit > back[0].OriginalEvent().Position.Commit {
			t.Fatal("backwards read of $all runs forwards")
		}
		var at kurrentdb.Position
		for _, e := range back {
			if e.OriginalEvent().EventID == first {
				at = e.OriginalEvent().Position
			}
		}
		s, err = c.ReadAll(testContext(t), kurrentdb.ReadAllOptions{From: at}, 1)
		if one := collect(t, s, err); len(one) != 1 || one[0].OriginalEvent().EventID != first {
			t.Fatalf("reading $all from the position of an event does not begin with it: %v", one)
		}
	})
}

func TestDeleteAndTombstone(t *testing.T) {
	ctx := testContext(t)
	c := connect(t, five.ConnectionString(""))
	name, _ := seed(t, 3)
	if _, err := c.DeleteStream(ctx, name, kurrentdb.DeleteStreamOptions{StreamState: kurrentdb.Revision(9)}); err == nil {
		t.Fatal("delete with a wrong revision was accepted") // this client gives the refusal no code of its own
	}
	if _, err := c.DeleteStream(ctx, name, kurrentdb.DeleteStreamOptions{StreamState: kurrentdb.Revision(2)}); err != nil {
		t.Fatal(err)
	}
	s, err := c.ReadStream(ctx, name, kurrentdb.ReadStreamOptions{From: kurrentdb.Start{}}, 10)
	if err == nil {
		_, err = s.Recv()
		s.Close()
	}
	wantCode(t, err, kurrentdb.ErrorCodeResourceNotFound)
	r, err := c.AppendToStream(ctx, name, kurrentdb.AppendToStreamOptions{StreamState: kurrentdb.Any{}}, newEvents(1, "again")...)
	if err != nil || r.NextExpectedVersion != 3 {
		t.Fatalf("a deleted stream begins again at revision 3, got %+v, %v", r, err)
	}
	if _, err := c.TombstoneStream(ctx, name, kurrentdb.TombstoneStreamOptions{StreamState: kurrentdb.Any{}}); err != nil {
		t.Fatal(err)
	}
	_, err = c.AppendToStream(ctx, name, kurrentdb.AppendToStreamOptions{StreamState: kurrentdb.Any{}}, newEvents(1, "x")...)
	wantCode(t, err, kurrentdb.ErrorCodeStreamDeleted)
	s, err = c.ReadStream(ctx, name, kurrentdb.ReadStreamOptions{From: kurrentdb.Start{}}, 10)
	if err == nil {
		_, err = s.Recv()
		s.Close()
	}
	wantCode(t, err, kurrentdb.ErrorCodeStreamDeleted)
}

func TestMetadataLimitsReads(t *testing.T) {
	ctx := testContext(t)
	name, _ := seed(t, 10)
	c := connect(t, five.ConnectionString(""))
	var meta kurrentdb.StreamMetadata
	meta.SetMaxCount(4)
	meta.AddCustomProperty("owner", "test")
	if _, err := c.SetStreamMetadata(ctx, name, kurrentdb.AppendToStreamOptions{StreamState: kurrentdb.Any{}}, meta); err != nil {
		t.Fatal(err)
	}
	got, err := c.GetStreamMetadata(ctx, name, kurrentdb.ReadStreamOptions{From: kurrentdb.End{}, Direction: kurrentdb.Backwards})
	if err != nil || got.MaxCount() == nil || *got.MaxCount() != 4 || got.CustomProperty("owner") != "test" {
		t.Fatalf("metadata %+v, %v", got, err)
	}
	s, err := c.ReadStream(ctx, name, kurrentdb.ReadStreamOptions{From: kurrentdb.Start{}}, 100)
	if events := collect(t, s, err); len(events) != 4 || events[0].OriginalEvent().EventNumber != 6 {
		t.Fatalf("%d events with $maxCount 4", len(events))
	}
}

func TestMissingStreamIsNotFound(t *testing.T) {
	onEachRole(t, func(t *testing.T, c *kurrentdb.Client) {
		s, err := c.ReadStream(testContext(t), newStream(t), kurrentdb.ReadStreamOptions{From: kurrentdb.Start{}}, 1)
		if err == nil {
			_, err = s.Recv()
			s.Close()
		}
		wantCode(t, err, kurrentdb.ErrorCodeResourceNotFound)
	})
}
