package stream

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

// Goal: what Remove leaves is a record that every reader and apply take as the
// same record, without the events. Method: random records, a random choice.
func TestRemoveKeepsEverythingButTheEvents(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		var writes []Write
		for i := range 1 + rng.IntN(3) {
			w := Write{Stream: fmt.Sprintf("s%d", i), Expected: Any}
			for range 1 + rng.IntN(4) {
				w.Events = append(w.Events, Event{ID: [16]byte{1, byte(rng.Uint32())}, Type: "type", JSON: rng.IntN(2) == 0,
					Data: bytes.Repeat([]byte("d"), rng.IntN(300)), Metadata: bytes.Repeat([]byte("m"), rng.IntN(3)*100)})
			}
			writes = append(writes, w)
		}
		cmd, err := NewMultiAppend(Limits{}, writes, nil)
		if err != nil {
			t.Fatal(err)
		}
		before := cmd.rec
		data := bytes.Clone(before.b)
		gone := map[uint32]bool{}
		sum, err := Remove(data, 0, func(_ Record, e EventView) bool {
			gone[e.Offset()] = rng.IntN(2) == 0
			return gone[e.Offset()]
		})
		if err != nil {
			t.Fatal(err)
		}
		after, err := ParseRecord(data, 0)
		if err != nil {
			t.Fatalf("after %d of %d events were removed: %v", sum.Events, before.NumEvents(), err)
		}
		if sum.Events+sum.Left != before.NumEvents() || after.scavenged() != (sum.Events > 0) {
			t.Fatalf("%+v of %d events", sum, before.NumEvents())
		}
		head := int(u32(before.b, offHeadSize))
		if !bytes.Equal(after.b[offFormat:head], before.b[offFormat:head]) || len(after.b) != len(before.b) {
			t.Fatal("the head changed")
		}
		was, is, left := before.Events(), after.AllEvents(), after.Events()
		for was.Next() {
			a := was.Event()
			if !is.Next() {
				t.Fatal("an event has no place any more")
			}
			b := is.Event()
			if b.Removed() != gone[a.Offset()] || a.Offset() != b.Offset() || before.Revision(a) != after.Revision(b) || a.Write() != b.Write() {
				t.Fatalf("event at %d became that at %d, removed %v", a.Offset(), b.Offset(), b.Removed())
			}
			if b.Removed() {
				if b.ID() != [16]byte{} || len(b.Type())+len(b.Data())+len(b.Metadata()) > 0 || bytes.ContainsAny(b.b[24:], "dmt") {
					t.Fatal("something of a removed event is left")
				}
				continue
			}
			if !left.Next() || !bytes.Equal(left.Event().b, a.b) {
				t.Fatal("an event that stays was changed or not found")
			}
		}
		if left.Next() || is.Next() || left.Err() != nil || is.Err() != nil {
			t.Fatal("more events than before")
		}
		once := bytes.Clone(data)
		if again, err := Remove(data, 0, func(Record, EventView) bool { return false }); err != nil || again.Events > 0 || again.Left != sum.Left || !bytes.Equal(data, once) {
			t.Fatalf("removing nothing changes something: %+v, %v", again, err)
		}
		if sum.Events > 0 {
			if _, err := ParseCommand(bytes.Clone(data)); !errors.Is(err, ErrMalformed) {
				t.Fatalf("a peer's command with removed events: %v", err)
			}
		}
	}
}

func TestRemovable(t *testing.T) {
	const second = 10_000_000
	cases := []struct {
		name     string
		h        Head
		revision int64
		age      int64 // seconds
		want     bool
	}{
		{"nothing set", Head{Last: 9}, 0, 1000, false},
		{"last event", Head{Last: 9, Meta: &Metadata{TruncateBefore: 100}}, 9, 1000, false},
		{"below $tb", Head{Last: 9, Meta: &Metadata{TruncateBefore: 5}}, 4, 0, true},
		{"at $tb", Head{Last: 9, Meta: &Metadata{TruncateBefore: 5}}, 5, 0, false},
		{"beyond $maxCount", Head{Last: 9, Meta: &Metadata{MaxCount: 2}}, 7, 0, true},
		{"within $maxCount", Head{Last: 9, Meta: &Metadata{MaxCount: 2}}, 8, 0, false},
		{"too old", Head{Last: 9, Meta: &Metadata{MaxAgeSeconds: 60}}, 0, 61, true},
		{"just not too old", Head{Last: 9, Meta: &Metadata{MaxAgeSeconds: 60}}, 0, 60, false},
		{"of the future", Head{Last: 9, Meta: &Metadata{MaxAgeSeconds: 60}}, 0, -5, false},
		{"soft-deleted", Head{Last: 9, Meta: &Metadata{TruncateBefore: TombstoneRevision}}, 8, 0, true},
		{"soft-deleted, last", Head{Last: 9, Meta: &Metadata{TruncateBefore: TombstoneRevision}}, 9, 0, false},
		{"tombstoned", Head{Last: TombstoneRevision, Tombstoned: true}, 9, 0, true},
		{"tombstone", Head{Last: TombstoneRevision, Tombstoned: true}, TombstoneRevision, 0, false},
		{"metadata replaced", Head{Last: 3, MetaLast: 4}.OfMetaStream(), 3, 0, true},
		{"metadata in force", Head{Last: 3, MetaLast: 4}.OfMetaStream(), 4, 0, false},
		{"last metadata of a tombstoned stream", Head{Last: TombstoneRevision, MetaLast: 4, Tombstoned: true}.OfMetaStream(), 4, 0, false},
	}
	for _, c := range cases {
		now := int64(1_000_000 * second)
		if got := c.h.Removable(c.revision, now-c.age*second, now); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// Goal: a redacted event loses its content and nothing else changes.
func TestRedactClearsContentOnly(t *testing.T) {
	events := []Event{{ID: [16]byte{1}, Type: "a", Data: []byte("first"), Metadata: []byte("meta")}, {ID: [16]byte{2}, Type: "b", JSON: true, Data: []byte("second")}}
	cmd, err := NewAppend(Limits{}, Write{Stream: "s", Expected: Any, Events: events})
	if err != nil {
		t.Fatal(err)
	}
	const base = 1000
	data := bytes.Clone(cmd.rec.b)
	it := cmd.rec.Events()
	it.Next()
	at := base + uint64(it.Event().Offset())
	for _, pos := range []uint64{0, base, at + 1} {
		if found, err := Redact(data, base, pos); found || err != nil || !bytes.Equal(data, cmd.rec.b) {
			t.Fatalf("position %d: %v, %v", pos, found, err)
		}
	}
	if found, err := Redact(data, base, at); !found || err != nil {
		t.Fatal(found, err)
	}
	r, err := ParseRecord(data, base)
	if err != nil {
		t.Fatal(err)
	}
	evs := r.Events()
	for i := 0; evs.Next(); i++ {
		e := evs.Event()
		want := events[i]
		if i == 0 {
			want.Data, want.Metadata = make([]byte, 5), make([]byte, 4)
		}
		if e.ID() != want.ID || string(e.Type()) != want.Type || !bytes.Equal(e.Data(), want.Data) || !bytes.Equal(e.Metadata(), want.Metadata) ||
			e.JSON() != want.JSON || e.Redacted() != (i == 0) || !validBody(e.Body(), len(want.Type), len(want.Metadata), len(want.Data), want.JSON) {
			t.Fatalf("event %d: %q %q %v", i, e.Data(), e.Metadata(), e.Redacted())
		}
	}
	if _, err := Redact(data[:len(data)-1], base, at+1); !errors.Is(err, ErrMalformed) {
		t.Fatal(err)
	}
}
