package membership

import "testing"

// Goal: no bytes in the log make a change of the roster panic, when read or when applied.
func FuzzDecodeChange(f *testing.F) {
	f.Add(Change{Put: []Member{{ID: 4, Name: "four"}}, Remove: []MemberID{2}, Reason: "test"}.Encode())
	f.Add([]byte(`{"put":[null]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		change, err := DecodeChange(b)
		if err != nil {
			return
		}
		roster := Roster{Members: []Member{{ID: 1}, {ID: 2}}}
		roster.Apply(change)
		if _, err := DecodeChange(change.Encode()); err != nil {
			t.Fatalf("% x is read and cannot be written: %v", b, err)
		}
	})
}
