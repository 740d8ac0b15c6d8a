package swarm

import (
	"maps"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"baton/control/agent"
)

// TestReportsHaveTheAgentsForm: a simulated report decodes as an agent's, every
// member of it, and says again what was simulated; so do those that tell only
// what changed, in a fraction of the bytes.
func TestReportsHaveTheAgentsForm(t *testing.T) {
	h := newHost(3)
	for c := range 4 {
		h.add(c, c%2, 3)
	}
	strict, err := cbor.DecOptions{ExtraReturnErrors: cbor.ExtraDecErrorUnknownField}.DecMode()
	if err != nil {
		t.Fatal(err)
	}
	var link agent.ReportReader
	largest := 0
	for sequence := uint64(1); sequence <= 6; sequence++ {
		whole := sequence == 1 || sequence == 4
		m, size, err := h.next(sequence == 4)
		if err != nil {
			t.Fatal(err)
		}
		if (len(m.GetCbor()) > 0) != whole || (len(m.GetDelta()) > 0) == whole {
			t.Fatalf("report %d: %d bytes whole, %d of what changed", sequence, len(m.GetCbor()), len(m.GetDelta()))
		}
		if largest = max(largest, size); !whole && size > largest/2 {
			t.Errorf("%d bytes of what changed in %d", size, largest)
		}
		if whole {
			var r agent.Report
			if err := strict.Unmarshal(m.GetCbor(), &r); err != nil {
				t.Fatalf("%v in %x", err, m.GetCbor())
			}
		}
		r, err := link.Read(m)
		if err != nil {
			t.Fatal(err)
		}
		if r.Sequence != sequence || len(r.Instances) != 4 || len(r.Processes) != 4 || r.Name == "" || !r.At.Equal(h.report.At) {
			t.Errorf("%+v", r)
		}
		for i, in := range r.Instances {
			o, said := in.Observation, h.report.Instances[i].Observation
			if o == nil || !o.Up || o.Node != in.Node || o.Position == 0 || o.Position != said.Position || !o.At.Equal(said.At) ||
				!maps.Equal(o.Details, said.Details) || len(o.Facts.Settings) == 0 || len(o.Facts.Reach) != 2 {
				t.Errorf("%+v", in)
			}
		}
	}
}
