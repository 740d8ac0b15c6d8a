// Package targettest is what every kind of backup target must do.
package targettest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand"
	"strings"
	"testing"

	"baton/control/backup/target"
)

// Run runs the suite against an empty target.
func Run(t *testing.T, tg target.Target) {
	ctx := t.Context()
	put := func(t *testing.T, name string, data []byte) {
		t.Helper()
		if err := tg.Put(ctx, name, int64(len(data)), bytes.NewReader(data)); err != nil {
			t.Fatalf("put %s: %v", name, err)
		}
	}
	get := func(t *testing.T, name string) []byte {
		t.Helper()
		r, err := tg.Get(ctx, name)
		if err != nil {
			t.Fatalf("get %s: %v", name, err)
		}
		defer r.Close()
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatalf("read %s: %v", name, err)
		}
		return b
	}
	names := func(t *testing.T, prefix string) string {
		t.Helper()
		list, err := tg.List(ctx, prefix)
		if err != nil {
			t.Fatalf("list %q: %v", prefix, err)
		}
		var out []string
		for _, o := range list {
			out = append(out, o.Name)
		}
		return strings.Join(out, " ")
	}
	large := make([]byte, 8<<20+11) // more than one part of a store
	rand.New(rand.NewSource(1)).Read(large)

	t.Run("nothing is there", func(t *testing.T) {
		if _, err := tg.Get(ctx, "c/none.baton"); !errors.Is(err, target.ErrNotFound) {
			t.Errorf("get: %v", err)
		}
		if err := tg.Delete(ctx, "c/none.baton"); err != nil {
			t.Errorf("delete: %v", err)
		}
		if err := tg.Abandon(ctx, "c/none.baton"); err != nil {
			t.Errorf("abandon: %v", err)
		}
		if got := names(t, ""); got != "" {
			t.Errorf("list: %s", got)
		}
	})
	t.Run("objects come back and are listed", func(t *testing.T) {
		put(t, "c/b1.baton", []byte("one"))
		put(t, "c/b1.json", []byte("{}"))
		put(t, "other/b2.baton", large)
		if got := get(t, "c/b1.baton"); string(got) != "one" {
			t.Errorf("got %q", got)
		}
		if got := get(t, "c/b1.json"); string(got) != "{}" {
			t.Errorf("got %q", got)
		}
		if !bytes.Equal(get(t, "other/b2.baton"), large) {
			t.Error("a large object came back different")
		}
		if got := names(t, ""); got != "c/b1.baton c/b1.json other/b2.baton" {
			t.Errorf("all: %s", got)
		}
		if got := names(t, "c/"); got != "c/b1.baton c/b1.json" {
			t.Errorf("of c: %s", got)
		}
		if got := names(t, "c/b1.j"); got != "c/b1.json" {
			t.Errorf("by half a name: %s", got)
		}
		list, err := tg.List(ctx, "other/")
		if err != nil || len(list) != 1 || list[0].Bytes != int64(len(large)) || list[0].Changed.IsZero() {
			t.Errorf("facts of an object: %+v, %v", list, err)
		}
	})
	t.Run("an object is replaced as a whole", func(t *testing.T) {
		put(t, "c/b1.baton", []byte("two, longer"))
		put(t, "c/b1.baton", []byte("3"))
		if got := get(t, "c/b1.baton"); string(got) != "3" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("health leaves nothing", func(t *testing.T) {
		before := names(t, "")
		if err := tg.Health(ctx); err != nil {
			t.Fatal(err)
		}
		if got := names(t, ""); got != before {
			t.Errorf("before %s, after %s", before, got)
		}
	})
	t.Run("what breaks off is not there", func(t *testing.T) {
		broken := errors.New("the source broke")
		for name, r := range map[string]io.Reader{
			"early":       io.MultiReader(bytes.NewReader(large[:100]), failing{broken}),
			"in the last": io.MultiReader(bytes.NewReader(large[:len(large)-1]), failing{broken}),
			"too short":   bytes.NewReader(large[:len(large)-1]),
			"too long":    io.MultiReader(bytes.NewReader(large), strings.NewReader("x")),
		} {
			if err := tg.Put(ctx, "c/broken.baton", int64(len(large)), r); err == nil {
				t.Errorf("%s: no error", name)
			}
			if got := names(t, "c/broken"); got != "" {
				t.Errorf("%s: %s is listed", name, got)
			}
			if _, err := tg.Get(ctx, "c/broken.baton"); !errors.Is(err, target.ErrNotFound) {
				t.Errorf("%s: get: %v", name, err)
			}
		}
		err := tg.Put(ctx, "c/broken.baton", 100, io.MultiReader(strings.NewReader("x"), failing{broken}))
		if !errors.Is(err, broken) {
			t.Errorf("the reason got lost: %v", err)
		}
	})
	t.Run("a cancelled put leaves nothing", func(t *testing.T) {
		ctx, cancel := context.WithCancel(ctx)
		r := io.MultiReader(bytes.NewReader(large[:len(large)/2]), called(cancel), bytes.NewReader(large[len(large)/2:]))
		if err := tg.Put(ctx, "c/cancelled.baton", int64(len(large)), r); err == nil {
			t.Error("no error")
		}
		if got := names(t, "c/cancelled"); got != "" {
			t.Errorf("%s is listed", got)
		}
	})
	t.Run("names stay inside", func(t *testing.T) {
		for _, name := range []string{"", "/etc/passwd", "../x", "c/../../x", "c//x", "c/.hidden", "c/x\x00", "C/x", "c/x y", "./x", strings.Repeat("x", 300)} {
			if err := tg.Put(ctx, name, 1, strings.NewReader("x")); !errors.Is(err, target.ErrName) {
				t.Errorf("put %q: %v", name, err)
			}
			if _, err := tg.Get(ctx, name); !errors.Is(err, target.ErrName) {
				t.Errorf("get %q: %v", name, err)
			}
			if err := tg.Delete(ctx, name); !errors.Is(err, target.ErrName) {
				t.Errorf("delete %q: %v", name, err)
			}
		}
	})
	t.Run("deleted is gone", func(t *testing.T) {
		for _, name := range []string{"c/b1.baton", "c/b1.json", "other/b2.baton"} {
			if err := tg.Delete(ctx, name); err != nil {
				t.Error(err)
			}
		}
		if got := names(t, ""); got != "" {
			t.Errorf("left: %s", got)
		}
	})
}

type failing struct{ err error }

// Read fails.
func (f failing) Read([]byte) (int, error) { return 0, f.err }

// called calls f when it is reached and gives nothing.
type called func()

// Read calls f.
func (f called) Read([]byte) (int, error) {
	f()
	return 0, io.EOF
}
