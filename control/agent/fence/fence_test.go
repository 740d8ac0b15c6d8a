package fence

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func open(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestOlderPairsAreRefusedAlsoAfterReopening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fences")
	s := open(t, path)
	for _, c := range []struct {
		want Pair
		ok   bool
	}{{Pair{1, 5}, true}, {Pair{1, 5}, true}, {Pair{1, 4}, false}, {Pair{2, 1}, true}, {Pair{1, 9}, false}, {Pair{2, 3}, true}} {
		if _, err := s.Accept("c1", c.want); (err == nil) != c.ok || (err != nil && !errors.Is(err, ErrStale)) {
			t.Errorf("accept %+v: %v", c.want, err)
		}
	}
	if _, err := s.Accept("c2", Pair{1, 1}); err != nil {
		t.Errorf("another cluster: %v", err)
	}
	s.Close()
	if _, err := s.Accept("c1", Pair{9, 9}); err == nil {
		t.Error("a closed store accepted")
	}
	s = open(t, path)
	if have, err := s.Accept("c1", Pair{2, 2}); !errors.Is(err, ErrStale) || have != (Pair{2, 3}) {
		t.Errorf("after reopening: %+v, %v", have, err)
	}
	for _, id := range []string{"", string(make([]byte, 64))} {
		if _, err := s.Accept(id, Pair{1, 1}); err == nil {
			t.Errorf("cluster id of %d bytes was accepted", len(id))
		}
	}
}

func TestManyRaisesCompactTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fences")
	s := open(t, path)
	for g := range uint64(3*fileRecords + 7) {
		if _, err := s.Accept("c", Pair{g + 1, 1}); err != nil {
			t.Fatal(err)
		}
	}
	if st, err := os.Stat(path); err != nil || st.Size() != fileRecords*recordBytes {
		t.Fatalf("file: %v, %v", st, err)
	}
	s.Close()
	if got := open(t, path).All()["c"]; got != (Pair{3*fileRecords + 7, 1}) {
		t.Errorf("after reopening: %+v", got)
	}
}

func TestTornEndIsForgottenDamageInTheMiddleIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fences")
	s := open(t, path)
	for g := range uint64(3) {
		if _, err := s.Accept("c", Pair{g + 1, 1}); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	torn := append([]byte{}, good...)
	torn[2*recordBytes+30] ^= 1
	if err := os.WriteFile(path, torn, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := open(t, path).All()["c"]; got != (Pair{2, 1}) {
		t.Errorf("with a torn last record: %+v", got)
	}
	bad := append([]byte{}, good...)
	bad[recordBytes+30] ^= 1
	if err := os.WriteFile(path, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil {
		t.Error("a file damaged in the middle was opened")
	}
}
