package failover

import (
	"strings"
	"testing"

	"baton/control/engine"
)

// TestWithoutLease: how it becomes certain without a lease that the old primary
// is silent, and what speaks against a person who says that it is off.
func TestWithoutLease(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(f *Facts)
		off  bool
		code string // of the refusal; "" none
		says string // in the first step's title or the refusal's detail
	}{
		{"its agent can end it", func(f *Facts) { f.Connected["A"] = true; f.Node("a").Process = &engine.ProcessState{Name: "p"} }, false, "", "ended by its agent"},
		{"its agent can, and it is said to be off", func(f *Facts) { f.Connected["A"] = true; f.Node("a").Process = &engine.ProcessState{Name: "p"} }, true, "", "ended by its agent"},
		{"its agent is gone", func(*Facts) {}, false, CodeNotSilent, "cannot be reached to end it"},
		{"its agent did not start it", func(f *Facts) { f.Connected["A"] = true }, false, CodeNotSilent, ""},
		{"off", func(*Facts) {}, true, "", "is switched off, as was said"},
		{"said to be off, and its agent sees it up", func(f *Facts) {
			f.Connected["A"] = true
			f.Node("a").SeenAge = 0
		}, true, CodeStillAnswers, "its agent says that a answers"},
		{"said to be off, and a replica receives from it", func(f *Facts) {
			s := f.Node("s").Seen
			s.ReplicaOf, s.LinkUp, s.LinkSilenceSeconds = "a:1", true, 1
		}, true, CodeStillAnswers, "s still receives from it"},
		{"a replica receives from another", func(f *Facts) {
			s := f.Node("s").Seen
			s.ReplicaOf, s.LinkUp, s.LinkSilenceSeconds = "b:1", true, 1
		}, true, "", "no other host reaches it"},
		{"nobody knows who it was", func(f *Facts) { f.Primary = "" }, true, CodeNotOnRecord, ""},
	} {
		f := dead()
		tt.set(f)
		p := Plan(f, ByHand(f, f.candidates(), "b"), true, "b")
		WithoutLease(&p, f, tt.off)
		code, says := "", p.Steps[0].Title
		if len(p.Refusals) > 0 {
			code, says = p.Refusals[0].Code, p.Refusals[0].Detail
			if p.Refusals[0].Fix == "" || p.Refusals[0].Title == "" {
				t.Errorf("%s: refused without a way out: %+v", tt.name, p.Refusals[0])
			}
		}
		if code != tt.code || !strings.Contains(says, tt.says) || len(p.Refusals) > 1 {
			t.Errorf("%s: %q %q", tt.name, code, says)
		}
		if want := tt.off && f.Primary != ""; (p.Arg(ArgOff) == "a") != want {
			t.Errorf("%s: the plan keeps %q", tt.name, p.Arg(ArgOff))
		}
		if p.PossibleLoss == "" {
			t.Errorf("%s: the plan says nothing of the loss", tt.name)
		}
	}
}

// TestLastPrimary: only one node that was seen as primary can have been it.
func TestLastPrimary(t *testing.T) {
	f := dead()
	if got := f.LastPrimary(); got != "" {
		t.Errorf("nobody was seen: %q", got)
	}
	f.Node("a").LastRole = engine.RolePrimary
	if got := f.LastPrimary(); got != "a" {
		t.Errorf("%q", got)
	}
	f.Node("b").LastRole = engine.RolePrimary
	if got := f.LastPrimary(); got != "" {
		t.Errorf("of two: %q", got)
	}
}
