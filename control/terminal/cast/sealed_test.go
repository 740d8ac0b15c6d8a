package cast

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"baton/platform/seal"
)

func sealing(t testing.TB, key string) (func(id string) Seal, func(id string) Unseal) {
	t.Helper()
	box, err := seal.New([]byte(strings.Repeat(key, seal.KeySize)))
	if err != nil {
		t.Fatal(err)
	}
	place := func(id string, n int) string { return fmt.Sprintf("%s/%d", id, n) }
	return func(id string) Seal { return func(line []byte, n int) string { return box.Seal(line, place(id, n)) } },
		func(id string) Unseal {
			return func(s string, n int) ([]byte, error) { return box.Open(s, place(id, n)) }
		}
}

func all(file []byte, unseal Unseal) (string, error) {
	r, err := Open(io.NopCloser(bytes.NewReader(file)), unseal)
	if err != nil {
		return "", err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	return string(b), err
}

// Goal: what is kept shows nothing, opens to the very recording with the key
// and in its place only, tells what was changed, and drops a torn last line.
func TestASealedRecordingOpensToWhatWasRecorded(t *testing.T) {
	sealFor, openFor := sealing(t, "k")
	_, strange := sealing(t, "x")
	began := time.Unix(1_700_000_000, 0)
	var plain, sealed []byte
	for _, s := range []Seal{nil, sealFor("tm-1")} {
		path := filepath.Join(t.TempDir(), "r.cast")
		w, err := Create(path, Header{Width: 80, Height: 24}, began, s)
		if err != nil {
			t.Fatal(err)
		}
		for i, text := range []string{"GET secret", strings.Repeat("a long answer ", 20_000), "end"} {
			if err := w.Output(began.Add(time.Duration(i)*time.Second), []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		plain = sealed
		if sealed, err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	if bytes.Contains(sealed, []byte("GET secret")) || bytes.Contains(sealed, []byte(`"version"`)) {
		t.Error("the sealed file shows what was recorded")
	}
	if got, err := all(sealed, openFor("tm-1")); err != nil || got != string(plain) {
		t.Errorf("it opens to %d bytes instead of %d: %v", len(got), len(plain), err)
	}
	if got, err := all(plain, nil); err != nil || got != string(plain) {
		t.Errorf("an old recording opens to %d bytes instead of %d: %v", len(got), len(plain), err)
	}
	lines := strings.SplitAfter(string(sealed), "\n")
	want := strings.SplitAfter(string(plain), "\n")
	if got, err := all([]byte(strings.Join(lines[:2], "")+lines[2][:1000]), openFor("tm-1")); err != nil || got != strings.Join(want[:2], "") {
		t.Errorf("with a torn last line it opens to %d bytes: %v", len(got), err)
	}
	if got, err := all([]byte(lines[0][:30]), openFor("tm-1")); err != nil || got != "" {
		t.Errorf("a torn first line: %q %v", got, err)
	}
	for what, c := range map[string]struct {
		file   string
		unseal Unseal
	}{
		"another recording's":    {string(sealed), openFor("tm-2")},
		"another key's":          {string(sealed), strange("tm-1")},
		"without the key":        {string(sealed), nil},
		"lines changed places":   {lines[0] + lines[2] + lines[1] + lines[3], openFor("tm-1")},
		"a line is left out":     {lines[0] + lines[2] + lines[3], openFor("tm-1")},
		"a plain line in it":     {lines[0] + want[1], openFor("tm-1")},
		"a character is changed": {lines[0] + strings.Replace(lines[1], lines[1][60:61], map[bool]string{true: "B", false: "A"}[lines[1][60] == 'A'], 1), openFor("tm-1")},
	} {
		if _, err := all([]byte(c.file), c.unseal); err == nil {
			t.Errorf("%s: it opens", what)
		}
	}
}
