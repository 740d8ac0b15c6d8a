package grant

import (
	"encoding/base64"
	"errors"
	"testing"
	"time"
)

// Goal: no text opens as a grant but one that was sealed to this key for this purpose, and only once.
func FuzzOpen(f *testing.F) {
	now := time.Unix(1_800_000_000, 0)
	var k Keyring
	public, err := k.New(now)
	if err != nil {
		f.Fatal(err)
	}
	good, err := Seal(public, "take c/b-1", Grant{Key: []byte("k")})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good[:len(good)-1], "take c/b-1")
	f.Add(public, "take c/b-1")
	f.Add(base64.RawURLEncoding.EncodeToString(make([]byte, publicBytes+1)), "")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, sealed, purpose string) {
		var own Keyring
		public, err := own.New(now)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := own.Open(sealed, purpose, now); !errors.Is(err, ErrGrant) {
			t.Fatalf("%q opens: %v", sealed, err)
		}
		mine, err := Seal(public, purpose, Grant{Key: []byte(sealed)})
		if err != nil {
			t.Fatal(err)
		}
		g, err := own.Open(mine, purpose, now)
		if err != nil || string(g.Key) != sealed {
			t.Fatalf("a grant for %q: %v", purpose, err)
		}
		if _, err := own.Open(mine, purpose, now); !errors.Is(err, ErrGrant) {
			t.Fatalf("a grant opens twice: %v", err)
		}
	})
}
