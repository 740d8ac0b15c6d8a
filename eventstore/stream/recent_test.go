package stream

import "testing"

// TestIDsThatCountSpread: ids of clients that count, in whatever byte, do not
// meet in one chain, where each append would walk past all of them.
func TestIDsThatCountSpread(t *testing.T) {
	const n = 1 << 16
	for at := range 15 {
		r := newRecent(n)
		w := r.begin("s", 0, n, 0, 0)
		for i := range uint32(n) {
			var id [16]byte
			id[at], id[at+1] = byte(i>>8), byte(i)
			r.put(w, i, id, 0)
		}
		longest := 0
		for _, b := range r.buckets {
			length := 0
			for ; b != 0; b = r.ring[b-1].next {
				length++
			}
			longest = max(longest, length)
		}
		if longest > 24 { // of random ids: 8 or 9
			t.Errorf("counting in bytes %d and %d: a chain of %d ids", at, at+1, longest)
		}
	}
}
