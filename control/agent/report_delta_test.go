package agent

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"baton/control/agent/delta"
	"baton/control/engine"
	agentpb "baton/gen/agent"
)

// both are the ends of a link to a control node that reads everything.
func both() (*ReportWriter, *ReportReader) {
	return NewReportWriter(&agentpb.Welcome{ReportsInCbor: true, ReportDeltas: true}), &ReportReader{}
}

// sent is what the other end makes of a report.
func sent(t *testing.T, w *ReportWriter, l *ReportReader, r *Report, whole bool) (Report, *agentpb.Report) {
	t.Helper()
	m, err := w.Write(r, whole)
	if err != nil {
		t.Fatal(err)
	}
	got, err := l.Read(m)
	if err != nil {
		t.Fatal(err)
	}
	return got, m
}

func asText(t *testing.T, r *Report) string {
	t.Helper()
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestReportsOfALinkComeAsTheyWereMade: of whatever changes from one report to
// the next nothing is lost, and what was read before does not change.
func TestReportsOfALinkComeAsTheyWereMade(t *testing.T) {
	for seed := range uint64(10) {
		rnd := rand.New(rand.NewPCG(seed, 79))
		w, l := both()
		var r, before Report
		was := asText(t, &before)
		for step := range 30 {
			var other Report
			fill(reflect.ValueOf(&other).Elem(), rnd)
			switch at := rnd.IntN(reflect.TypeFor[Report]().NumField()); {
			case step%7 == 0:
				r = other
			case step%7 == 3: // one server more or less
				r.Instances = append(other.Instances[:rnd.IntN(3)], r.Instances...)
			case step%7 == 5:
				r.Instances = nil
			default:
				reflect.ValueOf(&r).Elem().Field(at).Set(reflect.ValueOf(&other).Elem().Field(at))
			}
			r.Sequence = uint64(step) + 1
			got, m := sent(t, w, l, &r, step == 20)
			if whole := step == 0 || step == 20; (len(m.GetCbor()) > 0) != whole || (len(m.GetDelta()) > 0) == whole {
				t.Fatalf("step %d: %d bytes whole, %d of what changed", step, len(m.GetCbor()), len(m.GetDelta()))
			}
			if got, want := asText(t, &got), asText(t, &r); got != want {
				t.Fatalf("seed %d step %d:\n%s\nbecame\n%s", seed, step, want, got)
			}
			if is := asText(t, &before); is != was {
				t.Fatalf("seed %d step %d: the report before became\n%s\nand was\n%s", seed, step, is, was)
			}
			before, was = got, asText(t, &got)
		}
	}
}

// TestWhoeverMakesAReportMayChangeItsMaps: what the other end knows is not what
// the report that was sent has become since.
func TestWhoeverMakesAReportMayChangeItsMaps(t *testing.T) {
	w, l := both()
	facts := map[string]string{"a": "1"}
	r := Report{Sequence: 1, Instances: []InstanceReport{{Observation: &engine.Observation{Details: facts}}}}
	sent(t, w, l, &r, false)
	for _, v := range []string{"2", "3"} {
		facts["a"] = v
		r.Sequence++
		if got, _ := sent(t, w, l, &r, false); got.Instances[0].Observation.Details["a"] != v {
			t.Fatalf("%v, not %s", got.Instances[0].Observation.Details, v)
		}
	}
}

// TestWholeReports come first, each WholeReportEvery, when asked for, and always
// to control nodes that know no others, in the form they read.
func TestWholeReports(t *testing.T) {
	w, l := both()
	r := Report{}
	for i := range 2*WholeReportEvery + 1 {
		r.Sequence++
		if _, m := sent(t, w, l, &r, false); (len(m.GetCbor()) > 0) != (i%WholeReportEvery == 0) {
			t.Fatalf("report %d is whole or is not", i)
		}
	}
	for _, former := range []*agentpb.Welcome{{}, {ReportsInCbor: true}, {ReportDeltas: true}} {
		w, l := NewReportWriter(former), &ReportReader{}
		for range 3 {
			r.Sequence++
			got, m := sent(t, w, l, &r, false)
			if len(m.GetDelta()) > 0 || (len(m.GetCbor()) > 0) != former.GetReportsInCbor() || got.Sequence != r.Sequence {
				t.Errorf("to %v: %v", former, m)
			}
		}
	}
}

// TestAReportSinceOneThatIsNotKnown is not guessed at: nothing but a whole one is
// read then.
func TestAReportSinceOneThatIsNotKnown(t *testing.T) {
	var first, second Report
	first.Sequence, second.Sequence = 1, 2
	d := delta.Of(&first, &second)
	for what, m := range map[string]*agentpb.Report{
		"the first on a link":  {Base: 1, Delta: d},
		"since another":        {Base: 7, Delta: d},
		"no difference at all": {Base: 1, Delta: []byte{0xff}},
	} {
		var l ReportReader
		if what != "the first on a link" {
			if _, err := l.Read(whole(t, &first)); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if _, err := l.Read(m); !errors.Is(err, ErrNoBase) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if _, err := l.Read(&agentpb.Report{Base: 1, Delta: d}); !errors.Is(err, ErrNoBase) {
			t.Errorf("%s, and then one since the first: %v", what, err)
		}
		if _, err := l.Read(whole(t, &first)); err != nil {
			t.Errorf("%s, and then a whole one: %v", what, err)
		}
		if r, err := l.Read(&agentpb.Report{Base: 1, Delta: d}); err != nil || r.Sequence != 2 {
			t.Errorf("%s, and then one since that: %v", what, err)
		}
	}
}

func whole(t *testing.T, r *Report) *agentpb.Report {
	t.Helper()
	m, err := EncodeReport(r, true)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// quiet is a report of servers that only were looked at again, and busy one of
// servers whose numbers moved.
func quietAndBusy(servers int) (before, quiet, busy Report) {
	fill(reflect.ValueOf(&before).Elem(), rand.New(rand.NewPCG(3, 3)))
	one := before.Instances[0]
	before.Instances = nil
	for range servers {
		before.Instances = append(before.Instances, one)
	}
	again := func(r *Report, numbers bool) {
		*r = before
		r.Instances = append([]InstanceReport{}, before.Instances...)
		r.Sequence++
		r.At = r.At.Add(time.Second)
		for i := range r.Instances {
			o := *r.Instances[i].Observation
			o.At = r.At
			if numbers {
				o.Position, o.PrimaryPosition, o.LagBytes = o.Position+1e6, o.PrimaryPosition+1e6, o.LagBytes+1
				query := *o.Facts.QueryMs + 0.1
				o.Facts.QueryMs = &query
			}
			r.Instances[i].Observation = &o
		}
	}
	again(&quiet, false)
	again(&busy, true)
	return before, quiet, busy
}

// TestAQuietServerTakesFewBytes: what it takes to say that a server was looked at
// and nothing else changed.
func TestAQuietServerTakesFewBytes(t *testing.T) {
	before, quiet, busy := quietAndBusy(100)
	if n := len(delta.Of(&before, &quiet)); n > 100*50 {
		t.Errorf("%d bytes for 100 servers of which nothing is new", n)
	}
	b, _ := reportForm.Marshal(&before)
	if n := len(delta.Of(&before, &busy)); n > len(b)/5 {
		t.Errorf("%d bytes for what changed of %d", n, len(b))
	}
}

// BenchmarkReportDelta makes and reads what changed of ten servers.
func BenchmarkReportDelta(b *testing.B) {
	before, quiet, busy := quietAndBusy(10)
	for name, r := range map[string]*Report{"quiet": &quiet, "busy": &busy} {
		d := delta.Of(&before, r)
		b.Run(name+"/of", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				delta.Of(&before, r)
			}
		})
		b.Run(name+"/apply", func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(d)))
			for b.Loop() {
				if _, err := delta.Apply(&before, d); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
