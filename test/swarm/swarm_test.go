package swarm

import (
	"testing"

	"github.com/fxamacker/cbor/v2"

	"baton/control/agent"
)

// TestReportsHaveTheAgentsForm: a simulated report decodes as an agent's, every
// member of it, and says again what was simulated.
func TestReportsHaveTheAgentsForm(t *testing.T) {
	h := newHost(3)
	for c := range 4 {
		h.add(c, c%2, 3)
	}
	for sequence := uint64(1); sequence <= 2; sequence++ {
		b, err := h.next()
		if err != nil {
			t.Fatal(err)
		}
		strict, err := cbor.DecOptions{ExtraReturnErrors: cbor.ExtraDecErrorUnknownField}.DecMode()
		if err != nil {
			t.Fatal(err)
		}
		var r agent.Report
		if err := strict.Unmarshal(b, &r); err != nil {
			t.Fatalf("%v in %x", err, b)
		}
		if r.Sequence != sequence || len(r.Instances) != 4 || len(r.Processes) != 4 || r.Name == "" {
			t.Errorf("%+v", r)
		}
		for _, in := range r.Instances {
			if o := in.Observation; o == nil || !o.Up || o.Node != in.Node || o.Position == 0 || len(o.Facts.Settings) == 0 || len(o.Facts.Reach) != 2 {
				t.Errorf("%+v", in)
			}
		}
	}
}
