package audit

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"
)

// Goal: whatever stands in a chain, it is read to its end; a record passes only if its own hash covers its very bytes, and with one of them changed never.
func FuzzChain(f *testing.F) {
	r := Record{ID: "a", Cluster: "c", What: "tried", Outcome: Refused, At: time.Unix(7, 0).UTC()}
	r.Hash = r.hash()
	whole, err := json.Marshal(r)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole, whole, uint16(20))
	f.Add(bytes.Replace(whole, []byte(r.Hash), nil, 1), []byte("{}"), uint16(3)) // a record without a hash
	f.Add([]byte(`{"Cluster":"c"}`), []byte("null"), uint16(0))                  // nor a place for one
	f.Add(whole[:len(whole)-2], []byte{}, uint16(0))
	f.Fuzz(func(t *testing.T, first, second []byte, at uint16) {
		c := Chain{Cluster: "c"}
		c.Add(first)
		if c.Bad == nil {
			if len(c.Hash) != 64 || !bytes.HasSuffix(first, []byte(`"hash":"`+c.Hash+`"}`)) {
				t.Fatalf("%q passes with the hash %q", first, c.Hash)
			}
			changed := bytes.Clone(first)
			changed[int(at)%len(changed)] ^= 1
			other := Chain{Cluster: "c"}
			if other.Add(changed); other.Bad == nil {
				t.Fatalf("%q passes, and so does %q", first, changed)
			}
		}
		passed := c.Bad == nil
		c.Add(second)
		if c.Records != 2 || !passed && (c.Bad == nil || c.Bad.Index != 1) {
			t.Fatalf("%+v", c)
		}
	})
}
