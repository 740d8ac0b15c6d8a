package operation

import (
	"strings"
	"testing"
)

// FuzzDecode: whatever stands in the journal, decoding and applying it never
// panics, and what decodes encodes to something that decodes again.
func FuzzDecode(f *testing.F) {
	for _, e := range []Event{requested(), event("start:pause"), event("finish:pause"), event("commit:b"), event("back"), event("undo:pause"), event("end:done")} {
		kind, data, err := Encode(e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(kind, data)
	}
	f.Add("step-started", []byte(`{"generation":"-1"}`))
	f.Fuzz(func(t *testing.T, kind string, data []byte) {
		e, err := Decode(kind, data)
		if err != nil || e == nil {
			return
		}
		for _, start := range []string{"", "request", "request start:pause", "request back"} {
			var o Operation
			for _, w := range strings.Fields(start) {
				o, _ = Apply(o, event(w))
			}
			_, _ = Apply(o, e)
		}
		again, data, err := Encode(e)
		if err != nil || again != kind {
			t.Fatalf("%s encodes as %s: %v", kind, again, err)
		}
		if _, err := Decode(again, data); err != nil {
			t.Fatalf("%s does not decode again: %v", data, err)
		}
	})
}
