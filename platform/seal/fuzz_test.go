package seal

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
)

// Goal: nothing opens but what was sealed, for its place, unchanged; the error never shows what was given; a key is read as itself or refused.
func FuzzOpen(f *testing.F) {
	box, err := New(bytes.Repeat([]byte("k"), KeySize))
	if err != nil {
		f.Fatal(err)
	}
	good := box.Seal([]byte("secret"), "place")
	f.Add(good, "place", []byte("secret"))
	f.Add(good[:len(good)-2], "place", []byte{})
	f.Add(prefix, "", []byte("x"))
	f.Add(prefix+strings.Repeat("A", 200), "place", bytes.Repeat([]byte("y"), 1000))
	f.Add(strings.Repeat("00", KeySize), "", []byte{})
	f.Add(base64.StdEncoding.EncodeToString(make([]byte, KeySize)), "", []byte{})
	f.Fuzz(func(t *testing.T, text, place string, plain []byte) {
		if got, err := box.Open(text, place); err == nil && (text != good || place != "place" || string(got) != "secret") {
			t.Fatalf("%q opens for %q", text, place)
		} else if err != nil && len(text) > 40 && strings.Contains(err.Error(), text) {
			t.Fatalf("the error shows what was given: %v", err)
		}
		sealed := box.Seal(plain, place)
		if got, err := box.Open(sealed, place); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("%q for %q: %q, %v", plain, place, got, err)
		}
		if _, err := box.Open(sealed, place+"x"); err == nil {
			t.Fatal("it opens in another place")
		}
		if key, err := decodeKey(text); err == nil && len(key) != KeySize {
			t.Fatalf("a key of %d bytes", len(key))
		} else if err != nil && len(text) > 20 && strings.Contains(err.Error(), text) {
			t.Fatalf("the error shows the key: %v", err)
		}
	})
}
