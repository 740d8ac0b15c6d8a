package projections

import (
	"encoding/json"
	"testing"
)

// Goal: no bytes in the streams of a projection make their readers panic; a tag counts for the projection that signed it and for no other, and a definition
// that is read is written and read as the same.
func FuzzStored(f *testing.F) {
	commit := uint64(7)
	tagged, err := json.Marshal(tag{Sign: "3:1:2", Commit: &commit, Prepare: &commit})
	if err != nil {
		f.Fatal(err)
	}
	defined, err := json.Marshal(document{HandlerType: script, Query: "fromAll()", Mode: Continuous, Enabled: true, ID: 3, Epoch: 1, Version: 2, RunAs: &runAs{Name: "a"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(tagged, defined)
	f.Add([]byte(`{"$v":"3:1","$s":{"a":-9}}`), defined[:len(defined)-4])
	f.Add([]byte(`{"$v":"9999999999999999999:1:2","$c":-1}`), []byte(`{"mode":"Never","checkpointAfterMs":-1}`))
	f.Add([]byte(`{"$v":"a:b:c:d"}`), []byte("null"))
	f.Fuzz(func(t *testing.T, metadata, data []byte) {
		d, err := parseDocument(data)
		if err != nil {
			d = document{}
		} else if b, err := json.Marshal(d); err == nil {
			again, err := parseDocument(b)
			if err != nil || again.sign() != d.sign() || again.Query != d.Query || again.Config != d.Config {
				t.Fatalf("%+v is read again as %+v, %v", d, again, err)
			}
		}
		g, ok := parseTag(metadata)
		if !ok {
			return
		}
		id, epoch, ok := g.of()
		if g.signedBy(&d) != (ok && id == d.ID && epoch == d.Epoch) {
			t.Fatalf("%q and %s", g.Sign, d.sign())
		}
		for _, other := range []document{{ID: d.ID + 1, Epoch: d.Epoch}, {ID: d.ID, Epoch: d.Epoch + 1}} {
			if g.signedBy(&d) && g.signedBy(&other) {
				t.Fatalf("%q counts for %s and for %s", g.Sign, d.sign(), other.sign())
			}
		}
	})
}
