package fence

import (
	"os"
	"path/filepath"
	"testing"
)

// Goal: no record that nobody wrote raises a fence, one that was written is read as it was, and a file of any bytes is opened or refused: what is opened
// never forgets a pair that a whole record before the first damage holds.
func FuzzFile(f *testing.F) {
	var one [recordBytes]byte
	encode(one[:], "cache", Pair{Generation: 7, Term: 3})
	torn := append(append([]byte(nil), one[:]...), one[:recordBytes-1]...)
	middle := append(append(append([]byte(nil), one[:]...), make([]byte, recordBytes)...), one[:]...)
	f.Add(one[:], "cache", uint64(7), uint64(3))
	f.Add(torn, "", uint64(0), uint64(0))
	f.Add(middle, "x", uint64(1<<63), uint64(1))
	path := filepath.Join(f.TempDir(), "fences")
	f.Fuzz(func(t *testing.T, file []byte, id string, generation, term uint64) {
		if len(file) > 64*recordBytes {
			return
		}
		if id != "" && len(id) <= maxID {
			var b [recordBytes]byte
			want := Pair{Generation: generation, Term: term}
			encode(b[:], id, want)
			if gotID, got, ok := decode(b[:]); !ok || gotID != id || got != want {
				t.Fatalf("%q %+v is read as %q %+v, %v", id, want, gotID, got, ok)
			}
		}
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path)
		if err != nil {
			return
		}
		all := s.All()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for b := file; len(b) >= recordBytes; b = b[recordBytes:] {
			id, pair, ok := decode(b[:recordBytes])
			if !ok {
				break
			}
			if have := all[id]; have.Less(pair) {
				t.Fatalf("%q has %+v, the file %+v", id, have, pair)
			}
		}
	})
}
