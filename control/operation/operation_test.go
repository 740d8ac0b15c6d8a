package operation

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"baton/control/plan"
)

var at = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func requested() Requested {
	return Requested{Operation: "op", Kind: Promotion, At: at, Plan: plan.Plan{Node: "b", From: "a", Generation: 4,
		Steps: []plan.Step{{ID: "pause"}, {ID: "commit", PointOfNoReturn: true}, {ID: "promote"}}}}
}

// events by short names, for the table below.
func event(name string) Event {
	word, arg, _ := strings.Cut(name, ":")
	switch word {
	case "request":
		return requested()
	case "start":
		return StepStarted{Operation: "op", Step: arg, At: at}
	case "finish":
		return StepFinished{Operation: "op", Step: arg, At: at.Add(time.Second), Values: map[string]string{"x": arg}}
	case "fail":
		return StepFinished{Operation: "op", Step: arg, At: at, Failed: true, Detail: "no"}
	case "commit":
		return Committed{Operation: "op", Node: arg, Generation: 5, At: at}
	case "redirect":
		return Committed{Operation: "op", Node: arg, Generation: 6, At: at, Why: "b died"}
	case "back":
		return RollingBack{Operation: "op", Why: "it took too long", At: at}
	case "undo":
		return StepUndone{Operation: "op", Step: arg, At: at}
	case "end":
		return Finished{Operation: "op", State: State(arg), At: at.Add(time.Minute)}
	case "other":
		return StepStarted{Operation: "another", Step: "pause", At: at}
	}
	panic(name)
}

// TestLife: every story ends in the state said; where a "!" stands the event
// after it must be refused and change nothing.
func TestLife(t *testing.T) {
	for _, c := range []struct{ story, want string }{
		{"request", "requested b 4 false"},
		{"request start:pause finish:pause start:commit commit:b finish:commit start:promote finish:promote end:done", "done b 5 true"},
		{"request start:pause finish:pause back undo:pause end:rolled-back", "rolled-back b 4 false"},
		{"request back end:rolled-back", "rolled-back b 4 false"},
		{"request start:pause fail:pause back undo:pause end:needs-human", "needs-human b 4 false"},
		{"request start:pause commit:b start:promote redirect:s start:promote finish:promote end:done", "done s 6 true"},
		{"request start:pause commit:b redirect:a end:rolled-back", "rolled-back a 6 true"},
		{"request start:pause start:pause finish:pause", "running b 4 false"}, // begun again after a restart
		{"request start:pause fail:pause start:pause finish:pause", "running b 4 false"},
		// What cannot be.
		{"! start:pause", " 0 false"},
		{"! end:done", " 0 false"},
		{"request ! request", "requested b 4 false"},
		{"request ! end:done", "requested b 4 false"},
		{"request ! commit:b", "requested b 4 false"},
		{"request start:pause ! end:done", "running b 4 false"},
		{"request start:pause ! end:rolled-back", "running b 4 false"},
		{"request start:pause ! undo:pause", "running b 4 false"},
		{"request start:pause ! other", "running b 4 false"},
		{"request start:pause ! start:nothing", "running b 4 false"},
		{"request start:pause ! finish:promote", "running b 4 false"},
		{"request start:pause finish:pause ! finish:pause", "running b 4 false"},
		{"request start:pause finish:pause ! start:pause", "running b 4 false"},
		{"request start:pause commit:b ! back", "running b 5 true"},
		{"request start:pause commit:b ! commit:b", "running b 5 true"},
		{"request start:pause back ! commit:b", "rolling-back b 4 false"},
		{"request start:pause back ! start:promote", "rolling-back b 4 false"},
		{"request start:pause back ! end:done", "rolling-back b 4 false"},
		{"request start:pause back ! undo:promote", "rolling-back b 4 false"},
		{"request start:pause commit:b end:done ! start:promote", "done b 5 true"},
		{"request start:pause commit:b end:done ! end:done", "done b 5 true"},
		{"request back end:rolled-back ! start:pause", "rolled-back b 4 false"},
		{"request back end:rolled-back ! redirect:s", "rolled-back b 4 false"},
	} {
		var o Operation
		var err error
		refuse := false
		for _, w := range strings.Fields(c.story) {
			if w == "!" {
				refuse = true
				continue
			}
			was := o
			o, err = Apply(o, event(w))
			if refuse != (err != nil) {
				t.Errorf("%s: %s: %v", c.story, w, err)
			}
			if refuse && !reflect.DeepEqual(o.State, was.State) {
				t.Errorf("%s: a refused %s changes the state to %s", c.story, w, o.State)
			}
		}
		if got := strings.TrimSpace(fmt.Sprintf("%s %s %d %v", o.State, o.Candidate, o.Generation, o.Past)); got != strings.TrimSpace(c.want) {
			t.Errorf("%s\n got %s\nwant %s", c.story, got, c.want)
		}
	}
}

// TestRebuild: an operation rebuilt from encoded events equals the one that
// lived, values are found by step, steps never begun are skipped at the end.
func TestRebuild(t *testing.T) {
	var live Operation
	var stored []Event
	for _, w := range strings.Fields("request start:pause finish:pause start:commit commit:b finish:commit start:promote end:needs-human") {
		e := event(w)
		var err error
		if live, err = Apply(live, e); err != nil {
			t.Fatal(err)
		}
		kind, data, err := Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		back, err := Decode(kind, data)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, back)
	}
	again, err := Rebuild(stored...)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprintf("%+v", again) != fmt.Sprintf("%+v", live) {
		t.Errorf("rebuilt\n%+v\nlived\n%+v", again, live)
	}
	if live.Values["pause/x"] != "pause" {
		t.Errorf("values %v", live.Values)
	}
	if s, _ := live.Step("promote"); s.State != StepFailed {
		t.Errorf("the running step ended %s", s.State)
	}
	if e, err := Decode("cluster-registered", []byte("{}")); e != nil || err != nil {
		t.Errorf("a stranger decodes to %v, %v", e, err)
	}
	if _, err := Decode("step-started", []byte("{")); err == nil {
		t.Error("damaged data decodes")
	}
	if _, err := Rebuild(stored[1:]...); err == nil {
		t.Error("an operation without its beginning is rebuilt")
	}
}

// TestUndoUntil: only a done promotion that moved the primary may be switched
// back, for a day.
func TestUndoUntil(t *testing.T) {
	for story, want := range map[string]bool{
		"request start:pause commit:b end:done":                          true,
		"request start:pause commit:b redirect:a end:rolled-back":        false,
		"request back end:rolled-back":                                   false,
		"request start:pause commit:b end:needs-human":                   false,
		"request start:pause commit:b start:promote redirect:s end:done": true,
	} {
		var o Operation
		for _, w := range strings.Fields(story) {
			o, _ = Apply(o, event(w))
		}
		until, ok := o.UndoUntil()
		if ok != want || ok && !until.Equal(at.Add(time.Minute+24*time.Hour)) {
			t.Errorf("%s: %v %v", story, until, ok)
		}
	}
}
