package subscriptions

import (
	"encoding/json"
	"math"
	"reflect"
	"testing"
	"time"

	"baton/eventstore/stream"
	"baton/eventstore/subscription"
)

func full() Config {
	return Config{From: From{At: 7}, Filter: &Filter{ByType: true, Prefixes: []string{"a,b", "c"}}, Settings: subscription.Settings{
		ResolveLinks: true, ExtraStatistics: true, MessageTimeout: 3 * time.Second, MaxRetryCount: 4, CheckpointAfter: time.Second, MinCheckpointCount: 5,
		MaxCheckpointCount: 6, MaxSubscribers: 7, LiveBuffer: 8, HistoryBuffer: 90, ReadBatch: 10, Strategy: subscription.Pinned,
	}}
}

// Goal: what is stored of a group is what was asked for.
func TestEntriesKeepWhatTheyAreGiven(t *testing.T) {
	t.Parallel()
	c := full()
	k := Key{stream.AllStream, "g"}
	data, err := json.Marshal(document{Version: configVersion, Entries: []entry{newEntry(k, c, 6, false)}})
	if err != nil {
		t.Fatal(err)
	}
	d, err := parseDocument(data)
	if err != nil {
		t.Fatal(err)
	}
	e := d.Entries[0]
	if e.key() != k || !reflect.DeepEqual(e.settings(), c.Settings) || !reflect.DeepEqual(e.filter(), c.Filter) || *e.StartsAfter != 6 || e.startText() != "C:7/P:7" {
		t.Fatalf("stored %s", data)
	}
	for want, e := range map[string]entry{
		"C:-1/P:-1": newEntry(k, Config{}, 5, true), "-1": newEntry(Key{"s", "g"}, Config{}, 5, true), "0": newEntry(Key{"s", "g"}, Config{}, -1, false),
		"C:0/P:0": newEntry(k, Config{}, -1, false),
	} {
		if e.startText() != want {
			t.Errorf("start %q, want %q", e.startText(), want)
		}
	}
	// As others write it: prefixes in one text, no place fixed.
	old := `{"version":"2","entries":[{"stream":"$all","group":"g","filter":{"context":"StreamId","type":"Prefix","data":"a,b"},"startPosition":"C:3/P:3"}]}`
	if d, err = parseDocument([]byte(old)); err != nil || !reflect.DeepEqual(d.Entries[0].filter(), &Filter{Prefixes: []string{"a", "b"}}) || d.Entries[0].StartsAfter != nil {
		t.Fatalf("%+v %v", d, err)
	}
}

func TestPlaces(t *testing.T) {
	t.Parallel()
	all, one := Key{stream.AllStream, "g"}, Key{"s", "g"}
	for _, c := range []struct {
		k    Key
		at   subscription.Point
		text string
	}{{all, 12, "C:12/P:12"}, {one, 12, "12"}, {one, 0, "0"}, {all, -1, ""}, {one, math.MaxInt64, "9223372036854775807"}} {
		if got := placeText(c.k, c.at); got != c.text {
			t.Errorf("%v: %q, want %q", c.at, got, c.text)
		}
		if c.text == "" {
			continue
		}
		for _, data := range []string{`"` + c.text + `"`, c.text} {
			if got, err := parsePlace(c.k, []byte(data)); err != nil || got != c.at {
				t.Errorf("%s is read as %d, %v", data, got, err)
			}
		}
	}
	for _, bad := range []string{"", "x", "-1", "C:1", "C:1/P:x", "1/P:1", "C:18446744073709551615/P:0"} {
		if at, err := parsePlace(all, []byte(bad)); err == nil {
			t.Errorf("%q is read as %d", bad, at)
		}
	}
}

func TestFilters(t *testing.T) {
	t.Parallel()
	m, err := (&Filter{Regex: "^a.*z$"}).compile()
	if err != nil || !m.matches("abcz", "x") || m.matches("abc", "abcz") {
		t.Errorf("regex on streams: %v", err)
	}
	m, err = (&Filter{ByType: true, Prefixes: []string{"p", "Q"}}).compile()
	if err != nil || !m.matches("x", "park") || !m.matches("x", "Quit") || m.matches("park", "q") {
		t.Errorf("prefixes of types: %v", err)
	}
	for _, f := range []*Filter{{}, {Regex: "("}, {Regex: "a", Prefixes: []string{"b"}}, {Regex: string(make([]byte, maxRegexBytes+1))}} {
		if _, err := f.compile(); err == nil {
			t.Errorf("%v is accepted", f)
		}
	}
	for name, want := range map[string]bool{
		"$persistentsubscription-$all::g-checkpoint": true, "$$$persistentsubscription-$all::g-parked": true,
		"$persistentsubscription-s::g-checkpoint": false, "orders": false,
	} {
		if ofAllGroups(name) != want {
			t.Errorf("ofAllGroups(%q) is %v", name, !want)
		}
	}
}

// Goal: no bytes in the streams of persistent subscriptions make a node panic; what is accepted is written again as the same.
func FuzzStoredGroups(f *testing.F) {
	data, _ := json.Marshal(document{Entries: []entry{newEntry(Key{stream.AllStream, "g"}, full(), 6, false)}})
	f.Add(data)
	f.Add([]byte(`"C:1/P:1"`))
	f.Add([]byte(`17`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, k := range []Key{{stream.AllStream, "g"}, {"s", "g"}} {
			if at, err := parsePlace(k, b); err == nil {
				text, _ := json.Marshal(placeText(k, at))
				if again, err := parsePlace(k, text); err != nil || again != at {
					t.Fatalf("%d is written as %s and read as %d, %v", at, text, again, err)
				}
			}
		}
		d, err := parseDocument(b)
		if err != nil {
			return
		}
		for i := range d.Entries {
			e := &d.Entries[i]
			s := e.settings()
			_ = s.Check()
			_, _ = e.filter().compile()
			_ = e.startText()
		}
	})
}
