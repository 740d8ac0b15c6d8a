package seal

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func box(t *testing.T, b byte) *Box {
	t.Helper()
	x, err := New(bytes.Repeat([]byte{b}, KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// Goal: what was sealed opens again, and nothing of it shows outside.
func TestSealedValueOpensAgain(t *testing.T) {
	b := box(t, 1)
	for _, plain := range []string{"", "x", "p\"a s's\\wo#rd\n\x00", strings.Repeat("long ", 10000)} {
		s := b.Seal([]byte(plain), "here")
		if strings.ContainsAny(s, " \n\t") || !IsSealed(s) || len(plain) > 3 && strings.Contains(s, plain) {
			t.Errorf("sealed %q is not opaque printable text: %.80q", plain, s)
		}
		got, err := b.Open(s, "here")
		if err != nil || string(got) != plain {
			t.Errorf("opened %q, %v; sealed %q", got, err, plain)
		}
		if again := b.Seal([]byte(plain), "here"); again == s {
			t.Error("the same text twice: a nonce was used again")
		}
	}
}

// Goal: a wrong key, a wrong place and any change are refused, and a wrong key
// is told from the rest. Method: each change of each byte.
func TestWrongKeyPlaceOrByteDoesNotOpen(t *testing.T) {
	b := box(t, 1)
	s := b.Seal([]byte("secret"), "here")
	if _, err := box(t, 2).Open(s, "here"); !errors.Is(err, ErrWrongKey) {
		t.Errorf("another key: %v", err)
	}
	if got, err := b.Open(s, "there"); !errors.Is(err, ErrDamaged) || got != nil {
		t.Errorf("another place: %q, %v", got, err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(s, prefix))
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		bad := bytes.Clone(raw)
		bad[i] ^= 0x10
		if got, err := b.Open(prefix+base64.RawURLEncoding.EncodeToString(bad), "here"); err == nil || got != nil {
			t.Errorf("byte %d changed: %q, %v", i, got, err)
		}
	}
	for n := range len(s) {
		if got, err := b.Open(s[:n], "here"); err == nil || got != nil {
			t.Errorf("cut to %d of %d characters: %q, %v", n, len(s), got, err)
		}
	}
	for _, text := range []string{"", "secret", prefix, prefix + "!!!!", s + "A", strings.ToUpper(s)} {
		if _, err := b.Open(text, "here"); err == nil {
			t.Errorf("%.40q opened", text)
		}
	}
}

// Goal: the key file is made once, for its owner only, and counts again.
func TestKeyFileIsMadeOnceAndPrivate(t *testing.T) {
	t.Setenv(MasterKeyVariable, "")
	path := filepath.Join(t.TempDir(), "keys", "master-key")
	var wg sync.WaitGroup
	boxes := make([]*Box, 8)
	for i := range boxes { // at the same time, as two processes would
		wg.Go(func() {
			var err error
			if boxes[i], err = Open(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v; want 0600", st.Mode(), err)
	}
	s := boxes[0].Seal([]byte("x"), "c")
	for i, b := range boxes {
		if _, err := b.Open(s, "c"); err != nil {
			t.Errorf("box %d has another key: %v", i, err)
		}
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("%d files beside the key, %v", len(left)-1, err)
	}
}

func TestKeyFileThatOthersMayReadIsRefused(t *testing.T) {
	t.Setenv(MasterKeyVariable, "")
	path := filepath.Join(t.TempDir(), "master-key")
	if _, err := Open(path); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660, 0o620} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path); !errors.Is(err, ErrExposed) {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
}

func TestDamagedKeyFileIsRefusedAndKept(t *testing.T) {
	t.Setenv(MasterKeyVariable, "")
	path := filepath.Join(t.TempDir(), "master-key")
	for _, text := range []string{"", "short", strings.Repeat("0", 65), base64.StdEncoding.EncodeToString(make([]byte, 31))} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path); !errors.Is(err, ErrBadKey) {
			t.Errorf("%q: %v", text, err)
		}
		if got, _ := os.ReadFile(path); string(got) != text {
			t.Errorf("the file with %q was overwritten", text)
		}
	}
}

// Goal: the variable wins over the file, takes both spellings, and a wrong one
// is told without showing it.
func TestMasterKeyFromTheEnvironment(t *testing.T) {
	key := bytes.Repeat([]byte{0xa7}, KeySize)
	path := filepath.Join(t.TempDir(), "master-key")
	s := ""
	for _, text := range []string{hex.EncodeToString(key), base64.StdEncoding.EncodeToString(key), base64.RawURLEncoding.EncodeToString(key) + "\n"} {
		t.Setenv(MasterKeyVariable, text)
		b, err := Open(path)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if s == "" {
			s = b.Seal([]byte("x"), "c")
		}
		if _, err := b.Open(s, "c"); err != nil {
			t.Errorf("%q is another key: %v", text, err)
		}
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a key file was made although the variable is set")
	}
	t.Setenv(MasterKeyVariable, "hunter2-hunter2")
	if _, err := Open(path); !errors.Is(err, ErrBadKey) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a wrong variable: %v", err)
	}
}
