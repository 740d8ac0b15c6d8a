package projections

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// Goal: projections that feed each other for ever are stopped with the reason, whatever way what they write takes; nothing more is written then.
// Method: each case is a circle, set going by one event.
func TestProjectionsThatFeedEachOtherAreStopped(t *testing.T) {
	t.Parallel()
	emit := Config{EmitEnabled: true}
	for _, c := range []struct {
		name     string
		bounds   loops
		wanted   []Wanted
		standard bool
		first    string // the stream the one event is written to
		others   string // one is named in the reason
	}{
		{"two that emit", loops{10, 1000}, []Wanted{{Name: "a", Query: "streams=ping emit=pong"}, {Name: "b", Query: "streams=pong emit=ping"}}, false, "ping", `"a" "b"`},
		{"two that follow the log", loops{10, 1000}, []Wanted{{Name: "a", Query: "categories=x emit=y-1"}, {Name: "b", Query: "categories=y emit=x-1"}}, false, "x-1", `"a" "b"`},
		{"ever more", loops{1000, 40}, []Wanted{{Name: "a", Query: "streams=ping emit=pong twice"}, {Name: "b", Query: "streams=pong emit=ping twice"}}, false, "ping", `"a" "b"`},
		{"through links", loops{10, 1000}, []Wanted{{Name: "a", Query: "streams=$ce-thing emit=thing-2"}}, true, "thing-1", `"$by_category"`},
		{"through results", loops{10, 1000}, []Wanted{{Name: "a", Query: "streams=in results"}, {Name: "b", Query: "streams=$projections-a-result emit=in"}}, false, "in", `"a" "b"`},
		{"through states", loops{10, 1000}, []Wanted{{Name: "a", Query: "streams=in each"}, {Name: "b", Query: "streams=$projections-a-in-state emit=in"}}, false, "in", `"a" "b"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, Options{StartStandard: c.standard, loops: c.bounds})
			for _, w := range c.wanted {
				w.Config = emit
				w.Config.CheckpointAfterMs = 1
				h.create(w)
			}
			h.write(c.first, "made", "{}")
			var stopped Report
			h.eventually("one is stopped", func() error {
				for _, w := range c.wanted {
					if r := h.status(w.Name); r.Status == Faulted {
						stopped = r
						return nil
					}
				}
				return errors.New("all run")
			})
			if !strings.Contains(stopped.Reason, "feeds itself through") || !strings.Contains(stopped.Reason, "update this one") {
				t.Errorf("the reason: %s", stopped.Reason)
			}
			named := false
			for _, name := range strings.Fields(c.others) {
				named = named || name != fmt.Sprintf("%q", stopped.Name) && strings.Contains(stopped.Reason, name)
			}
			if !named {
				t.Errorf("the reason names nobody else: %s", stopped.Reason)
			}
			if n := int64(stopped.Handled); n > int64(c.bounds.returned)+2 {
				t.Errorf("it handled %d events", n)
			}
		})
	}
}

// Goal: a circle that was mended goes on with an update of the projection that was stopped, and leaves nothing out.
func TestACircleThatIsMendedGoesOn(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{loops: loops{5, 1000}})
	h.create(Wanted{Name: "a", Query: "streams=ping emit=pong", Config: Config{EmitEnabled: true}})
	h.write("ping", "made", "{}")
	h.awaits("pong", []string{`"0@ping"`})
	h.create(Wanted{Name: "b", Query: "streams=pong emit=ping", Config: Config{EmitEnabled: true}})
	h.eventually("one is stopped", func() error {
		if a, b := h.status("a"), h.status("b"); a.Status != Faulted && b.Status != Faulted {
			return fmt.Errorf("%+v %+v", a, b)
		}
		return nil
	})
	h.must(h.s.Update(h.context(), "b", "streams=pong", nil, ""))
	h.must(h.s.Update(h.context(), "a", "streams=ping emit=pong", nil, ""))
	for _, name := range []string{"a", "b"} {
		h.must(h.s.Enable(h.context(), name, ""))
		h.awaitStatus(name, Running)
	}
	h.write("ping", "made", "{}")
	h.eventually("everything is handled", func() error {
		if ping, pong := len(h.read("ping")), len(h.read("pong")); ping != pong {
			return fmt.Errorf("%d events in one stream, %d in the other", ping, pong)
		}
		return nil
	})
	for _, name := range []string{"a", "b"} {
		h.awaitStatus(name, Running)
	}
}

// Goal: a chain says what took part, and counts for the event it was written for only.
func TestChains(t *testing.T) {
	t.Parallel()
	one, two := newID(), newID()
	if c := behind(one, []byte(`{"mine":1}`), false); c != nil || c.length() != 0 || c.next("1:0:0") != nil || string(c.next("1:0:0").marked([]byte(`{"a":1}`), one)) != `{"a":1}` {
		t.Errorf("an event that nobody's projection wrote: %+v", c)
	}
	plain := []byte(`{"$v":"1:0:0","$c":7,"$p":7,"$causedBy":"root"}`)
	first := behind(one, plain, false)
	if first.Root != "root" || first.By["1:0:0"] != 1 || first.length() != 1 || behind(one, plain, true) != nil {
		t.Errorf("the first link: %+v", first)
	}
	text := first.next("2:0:0").next("1:0:0").marked(plain, one)
	c := behind(one, text, true)
	if c == nil || c.Root != "root" || c.By["1:0:0"] != 2 || c.By["2:0:0"] != 1 || c.length() != 3 {
		t.Fatalf("%s: %+v", text, c)
	}
	if c := behind(two, text, false); c.length() != 1 || c.Root != "root" {
		t.Errorf("copied to another event: %+v", c)
	}
	// A program that emits with the metadata of the event it was given.
	again := first.next("3:0:0").marked([]byte(`{"$v":"3:0:0","$causedBy":"x",`+string(text[1:])+"\n"), two)
	if c := behind(two, again, true); c == nil || c.By["3:0:0"] != 1 || c.length() != 2 {
		t.Errorf("%s: %+v", again, c)
	}
	if c := behind(one, []byte(`{"$v":"1:0:0","$chain":{"of":1}}`), false); c == nil || c.length() != 1 {
		t.Errorf("a chain that is none: %+v", c)
	}
	for _, bad := range []string{`"$v":"`, `{"$v":7,"x":"\"$v\":\""}`} {
		if c := behind(one, []byte(bad), false); c != nil {
			t.Errorf("%s: %+v", bad, c)
		}
	}
}
