package projections

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"baton/eventstore/projection"
	"baton/eventstore/reader"
)

// Goal: each event is linked exactly once and in order, wherever projections are torn off.
// Method: events are written while the service ends and begins again at random moments; every link is compared with what was written.
func TestLinksAreWrittenExactlyOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{StartStandard: true})
	rng := rand.New(rand.NewPCG(1, 2))
	var inOrder, ofType, first []string
	revisions := map[string]int{}
	for range 25 {
		for range 5 + rng.IntN(30) {
			name := "thing-" + strconv.Itoa(rng.IntN(4))
			var data []string
			for range 1 + rng.IntN(3) {
				link := fmt.Sprintf("%d@%s", revisions[name], name)
				if revisions[name] == 0 {
					first = append(first, name)
				}
				revisions[name]++
				inOrder, ofType = append(inOrder, link), append(ofType, link)
				data = append(data, "{}")
			}
			h.write(name, "made", data...)
		}
		h.restart()
	}
	h.awaits("$ce-thing", inOrder)
	h.awaits("$et-made", ofType)
	h.awaits("$category-thing", first)
	h.eventually("the streams' first events", func() error {
		got := strings.Join(h.read("$streams"), " ")
		for _, name := range first {
			if strings.Count(got, "0@"+name) != 1 {
				return fmt.Errorf("%s in %s", name, got)
			}
		}
		return nil
	})
}

// Goal: states, emitted events and results are the same whenever the projection is torn off, each event handled once.
// Method: the same as above for a program with partitions, a shared state, results and events of its own.
func TestStatesAndEventsSurviveRestarts(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{})
	h.create(Wanted{Name: "sums", Query: "categories=thing,other each shared results emit=out", Config: Config{EmitEnabled: true, TrackEmittedStreams: true}})
	h.create(Wanted{Name: "total", Query: "streams=thing-1"})
	rng := rand.New(rand.NewPCG(3, 4))
	counts := map[string]int{}
	var out []string
	for range 12 {
		for range rng.IntN(20) {
			name := []string{"thing-1", "thing-2", "other-1", "ignored-1", "thing"}[rng.IntN(5)]
			h.write(name, "made", "{}")
			if name != "ignored-1" && name != "thing" {
				out = append(out, fmt.Sprintf(`"%d@%s"`, counts[name], name))
			}
			counts[name]++
		}
		h.restart()
	}
	h.awaits("out", out)
	for _, name := range []string{"thing-1", "thing-2", "other-1"} {
		h.awaitState("sums", name, strconv.Itoa(counts[name]))
		if got, err := h.s.Result(h.context(), "sums", name); err != nil || string(got) != fmt.Sprintf(`"%d events"`, counts[name]) {
			t.Errorf("result of %s: %s %v", name, got, err)
		}
		h.awaitLast("$projections-sums-"+name+"-result", fmt.Sprintf(`"%d events"`, counts[name]))
	}
	h.awaitState("total", "", strconv.Itoa(counts["thing-1"]))
	h.must(h.s.Disable(h.context(), "sums", true, "somebody"))
	states := h.read("$projections-sums-checkpoint")
	if want := fmt.Sprintf("[null,%d]", len(out)); states[len(states)-1] != want {
		t.Errorf("the checkpoint holds %s, want %s", states[len(states)-1], want)
	}
	for _, name := range []string{"thing-1", "missing"} {
		got, err := h.s.State(h.context(), "sums", name)
		if want := strconv.Itoa(counts[name]); err != nil || string(got) != want && counts[name] > 0 || counts[name] == 0 && got != nil {
			t.Errorf("state of %s after it was disabled: %s %v", name, got, err)
		}
	}
}

// Goal: a result that is not in memory is made of both states. Method: a projection with a shared state is stopped, and loaded anew; results are asked for.
func TestResultsOfTwoStatesAreMadeOfBoth(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{})
	h.create(Wanted{Name: "both", Query: "categories=thing each shared results total"})
	h.create(Wanted{Name: "one", Query: "categories=thing shared results total"})
	h.write("thing-1", "made", "{}", "{}")
	h.write("thing-2", "made", "{}")
	check := func(when, name, partition, want string) {
		t.Helper()
		if got, err := h.s.Result(h.context(), name, partition); err != nil || string(got) != want {
			t.Errorf("%s, result %q of %s: %s %v, want %s", when, partition, name, got, err, want)
		}
	}
	h.awaitState("both", "thing-2", "1")
	h.awaitState("one", "", "3")
	check("while it runs", "both", "thing-1", `"2 of 2 events"`) // as of its last event
	check("while it runs", "both", "thing-2", `"1 of 3 events"`)
	for _, name := range []string{"both", "one"} {
		h.must(h.s.Disable(h.context(), name, true, ""))
	}
	for _, when := range []string{"while it is stopped", "after a restart"} {
		check(when, "both", "thing-1", `"2 of 3 events"`)
		check(when, "one", "", `"3 of 3 events"`)
		h.restart()
	}
	for _, name := range []string{"both", "one"} {
		h.must(h.s.Enable(h.context(), name, ""))
	}
	check("while it runs again", "both", "thing-1", `"2 of 3 events"`)
	check("while it runs again", "one", "", `"3 of 3 events"`)
}

func TestEmittedEventsSayWhereTheyComeFrom(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{})
	h.create(Wanted{Name: "p", Query: "streams=in,more emit=out", Config: Config{EmitEnabled: true}})
	h.write("in", "made", "{}")
	h.awaits("out", []string{`"0@in"`})
	var cause string
	_, err := h.n.Reader().Stream(h.context(), reader.StreamQuery{Stream: "in", FromStart: true, Count: 1}, func(e *reader.Event) error {
		cause = fmt.Sprintf("%x", e.ID)
		return nil
	})
	h.must(err)
	var metadata struct {
		Sign   string `json:"$v"`
		Commit uint64 `json:"$c"`
		Cause  string `json:"$causedBy"`
		Mine   int    `json:"mine"`
	}
	_, err = h.n.Reader().Stream(h.context(), reader.StreamQuery{Stream: "out", FromStart: true, Count: 1}, func(e *reader.Event) error {
		return json.Unmarshal(e.Metadata(), &metadata)
	})
	h.must(err)
	if metadata.Mine != 1 || metadata.Commit == 0 || strings.ReplaceAll(metadata.Cause, "-", "") != cause || strings.Count(metadata.Sign, ":") != 2 {
		t.Errorf("metadata %+v, caused by %s", metadata, cause)
	}
}

// Goal: a projection of all events that writes events does not feed itself, nor on what projections note.
func TestAProjectionIsNotFedWhatItWrote(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{})
	h.create(Wanted{Name: "a", Query: "all types=made,emitted emit=loop-1", Config: Config{EmitEnabled: true}})
	h.create(Wanted{Name: "any", Query: "all", Config: Config{CheckpointAfterMs: 1}})
	h.write("in-1", "made", "{}", "{}")
	h.awaits("loop-1", []string{`"0@in-1"`, `"1@in-1"`})
	h.eventually("the projection of everything", func() error {
		if r := h.status("any"); r.Handled < 4 {
			return fmt.Errorf("%+v", r)
		}
		return nil
	})
	at := h.status("any").Handled
	h.write("in-1", "other", "{}")
	h.eventually("the last event", func() error {
		if r := h.status("any"); r.Handled != at+1 || r.Checkpoint != r.Position && r.Buffered > 0 {
			return fmt.Errorf("%+v after %d", r, at)
		}
		return nil
	})
	if got := h.read("loop-1"); len(got) != 2 {
		t.Errorf("it fed on itself: %q", got)
	}
}

func TestLifeOfAProjection(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{})
	ctx := h.context()
	h.write("in", "made", "{}", "{}", "{}")
	h.create(Wanted{Name: "p", Query: "streams=in emit=out", Config: Config{EmitEnabled: true, TrackEmittedStreams: true}})
	var exists *ExistsError
	if _, err := h.s.Create(ctx, Wanted{Name: "p", Mode: Continuous, Query: "all"}, ""); !errors.As(err, &exists) {
		t.Errorf("created twice: %v", err)
	}
	h.awaits("out", []string{`"0@in"`, `"1@in"`, `"2@in"`})
	var state *StateError
	if err := h.s.Delete(ctx, "p", Deletion{}, ""); !errors.As(err, &state) {
		t.Errorf("deleted while it runs: %v", err)
	}
	h.must(h.s.Disable(ctx, "p", true, ""))
	if r := h.status("p"); r.Status != Stopped || r.Checkpoint != "in: 2" || r.Progress != 100 {
		t.Errorf("disabled: %+v", r)
	}
	h.write("in", "made", "{}")
	h.must(h.s.Update(ctx, "p", "streams=in emit=out results", nil, "other"))
	h.must(h.s.Enable(ctx, "p", ""))
	h.awaits("out", []string{`"0@in"`, `"1@in"`, `"2@in"`, `"3@in"`})
	h.awaitState("p", "", "4")
	h.must(h.s.Disable(ctx, "p", false, ""))
	if r := h.status("p"); r.Status != Aborted || r.Version != 1 {
		t.Errorf("aborted: %+v", r)
	}
	h.restart()
	if r := h.status("p"); r.Status != Aborted {
		t.Errorf("after a restart: %+v", r)
	}
	h.must(h.s.Reset(ctx, "p", ""))
	if r := h.status("p"); r.Status != Stopped || r.Epoch != 1 {
		t.Errorf("reset: %+v", r)
	}
	h.awaits("out", nil)
	h.must(h.s.Enable(ctx, "p", ""))
	h.awaits("out", []string{`"0@in"`, `"1@in"`, `"2@in"`, `"3@in"`})
	h.awaitState("p", "", "4")
	h.must(h.s.Disable(ctx, "p", true, ""))
	h.must(h.s.Delete(ctx, "p", Deletion{EmittedStreams: true, StateStream: true, CheckpointStream: true}, ""))
	var missing *NotFoundError
	if _, err := h.s.Statistics(ctx, "p"); !errors.As(err, &missing) {
		t.Errorf("after it was deleted: %v", err)
	}
	h.awaits("out", nil)
	h.create(Wanted{Name: "p", Query: "streams=in"})
	h.awaitState("p", "", "4")
}

// Goal: a reset hides what was written before, also where streams were not noted.
func TestResetWritesAnew(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{StartStandard: true})
	h.write("a-1", "made", "{}", "{}")
	h.awaits("$ce-a", []string{"0@a-1", "1@a-1"})
	h.must(h.s.Reset(h.context(), "$by_category", ""))
	h.write("a-1", "made", "{}")
	h.awaits("$ce-a", []string{"0@a-1", "1@a-1", "2@a-1"})
}

func TestProjectionsThatEnd(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{})
	h.write("in-1", "made", "{}", "{}")
	name, err := h.s.Create(h.context(), Wanted{Mode: OneTime, Query: "categories=in results", Config: Config{EmitEnabled: true}}, "")
	h.must(err)
	h.awaitStatus(name, Completed)
	h.awaitState(name, "", "2")
	h.awaitLast("$projections-"+name+"-result", `"2 events"`)
	h.create(Wanted{Name: "fleeting", Mode: Transient, Query: "categories=in each"})
	h.awaitStatus("fleeting", Completed)
	h.awaitState("fleeting", "in-1", "2")
	h.restart()
	h.awaitStatus(name, Completed)
	h.awaitState(name, "", "2")
	var missing *NotFoundError
	if _, err := h.s.Statistics(h.context(), "fleeting"); !errors.As(err, &missing) {
		t.Errorf("a transient projection outlived the leadership: %v", err)
	}
	if list, err := h.s.List(h.context(), func(m Mode) bool { return m == OneTime }); err != nil || len(list) != 1 || list[0].Name != name {
		t.Errorf("%+v %v", list, err)
	}
}

func TestFaultsKeepWhatWasBefore(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{})
	ctx := h.context()
	h.write("in", "made", "{}", "{}")
	h.write("in", "awful", "{}")
	h.create(Wanted{Name: "p", Query: "streams=in bad=awful"})
	if r := h.awaitStatus("p", Faulted); !strings.Contains(r.Reason, "does not like awful") || r.Checkpoint != "in: 1" {
		t.Errorf("%+v", r)
	}
	h.awaitState("p", "", "2")
	h.must(h.s.Update(ctx, "p", "streams=in", nil, ""))
	h.awaitState("p", "", "3")
	h.create(Wanted{Name: "mute", Query: "streams=in emit=out"})
	if r := h.awaitStatus("mute", Faulted); !strings.Contains(r.Reason, "enable emit") {
		t.Errorf("%+v", r)
	}
	yes := true
	h.must(h.s.Update(ctx, "mute", "streams=in emit=out", &yes, ""))
	h.awaits("out", []string{`"0@in"`, `"1@in"`, `"2@in"`})
	h.create(Wanted{Name: "nosy", Query: "streams=in emit=$projections-p-checkpoint", Config: Config{EmitEnabled: true}})
	if r := h.awaitStatus("nosy", Faulted); !strings.Contains(r.Reason, "own notes") {
		t.Errorf("%+v", r)
	}
	var fault *projection.Fault
	if _, err := h.s.Create(ctx, Wanted{Name: "x", Mode: Continuous, Query: "nonsense"}, ""); !errors.As(err, &fault) {
		t.Errorf("a program that is none: %v", err)
	}
}

func TestDeletedStreamsAreLeftOut(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{StartStandard: true})
	h.write("a-1", "made", "{}")
	h.awaits("$ce-a", []string{"0@a-1"})
	h.delete("$ce-a", true)
	h.write("a-1", "made", "{}")
	h.write("b-1", "made", "{}")
	h.awaits("$ce-b", []string{"0@b-1"})
	h.delete("b-1", false)
	h.awaits("$et-$deleted", []string{"9223372036854775807@$ce-a", "0@$$b-1"})
	if r := h.status("$by_category"); r.Status != Running {
		t.Errorf("%+v", r)
	}
	h.create(Wanted{Name: "ends", Query: "categories=b deleted types=none each"})
	h.awaitState("ends", "b-1", "1")
}

func TestNamesThatCannotBe(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{})
	var bad *RequestError
	for _, w := range []Wanted{
		{Mode: Continuous, Query: "all"}, {Name: "$all", Mode: Continuous, Query: "all"}, {Name: "a-checkpoint", Mode: Continuous, Query: "all"},
		{Name: "a", Query: "all"}, {Name: "a", Mode: Continuous}, {Name: strings.Repeat("a", 600), Mode: Continuous, Query: "all"},
		{Name: "a", Mode: Continuous, Query: "all", EngineVersion: 3}, {Name: "a", Mode: Continuous, Query: "all", Config: Config{CheckpointAfterMs: -1}},
		{Name: "a", Mode: Transient, Query: "all", Config: Config{EmitEnabled: true}},
	} {
		if _, err := h.s.Create(h.context(), w, ""); !errors.As(err, &bad) {
			t.Errorf("%+v: %v", w, err)
		}
	}
	h.create(Wanted{Name: "custom", Query: "all"})
	h.o.Run = System
	h.restart()
	var state *StateError
	if _, err := h.s.Create(h.context(), Wanted{Name: "a", Mode: Continuous, Query: "all"}, ""); !errors.As(err, &state) {
		t.Errorf("with the system's projections only: %v", err)
	}
	if list, err := h.s.List(h.context(), nil); err != nil || len(list) != 6 || list[0].Status != Stopped || list[5].Status != Stopped || list[5].Reason == "" {
		t.Errorf("%+v %v", list, err)
	}
}

// Goal: nothing is written once a projection has read everything: what projections write does not keep them busy.
func TestTheLogComesToRest(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{StartStandard: true})
	h.create(Wanted{Name: "any", Query: "all", Config: Config{CheckpointAfterMs: 1}})
	h.create(Wanted{Name: "other", Query: "all", Config: Config{CheckpointAfterMs: 1}})
	h.write("a-1", "made", "{}")
	h.awaits("$ce-a", []string{"0@a-1"})
	last := uint64(0)
	calm := 0
	h.eventually("the log to come to rest", func() error {
		end, err := h.s.present().endOfLog(h.context())
		if err != nil || end != last {
			last, calm = end, 0
			return fmt.Errorf("%d %v", end, err)
		}
		if calm++; calm < 60 {
			return errors.New("not for long enough")
		}
		return nil
	})
}
