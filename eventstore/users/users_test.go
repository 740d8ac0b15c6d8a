package users

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"baton/eventstore/node"
	"baton/eventstore/stream"
	"baton/platform/auth"
)

func basic(text string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(text)) }

func from() string { return "127.0.0.1:1" }

// newStore runs a node of its own with a store whose hashes cost little.
func newStore(t testing.TB, cost auth.Cost) (*Store, *node.Node) {
	t.Helper()
	n, err := node.Start(node.Config{Dir: filepath.Join(t.TempDir(), "data"), PeerListen: "127.0.0.1:0", WriteTimeout: time.Minute, Settle: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Stop)
	return NewStore(n, Options{Cost: cost}), n
}

var cheap = auth.Cost{MemoryKiB: 64, Passes: 1, Lanes: 1}

func makeFirst(t testing.TB, s *Store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s.MakeFirst(ctx, First{AdminPassword: "secret:with colon", OpsPassword: "o"})
	if !s.Ready() {
		t.Fatal("the first users were not made")
	}
}

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	s, n := newStore(t, cheap)
	ctx := context.Background()
	if _, err := s.Authenticate(ctx, basic("admin:x"), from); !errors.Is(err, ErrNotReady) {
		t.Errorf("before anybody is known: %v", err)
	}
	makeFirst(t, s)
	cases := []struct {
		header, name string
	}{
		{basic("admin:secret:with colon"), "admin"}, {"basic " + basic("ops:o")[6:], "ops"}, {"BASIC  " + basic("ops:o")[6:] + " ", "ops"},
		{basic("admin:wrong"), ""}, {basic("admin:"), ""}, {basic("nobody:x"), ""}, {basic("nobody:"), ""}, {basic(":"), ""}, {basic("admin"), ""},
		{basic("ADMIN:secret:with colon"), ""}, {basic("admin:secret:with colon\x00"), ""},
		{"Basic !!!", ""}, {"Bearer x", ""}, {"Basic", ""}, {"Basic " + strings.Repeat("A", maxHeaderBytes), ""}, {basic("$ops:o"), ""}, {basic("users:x"), ""},
	}
	for range 2 { // the second time from memory
		for _, c := range cases {
			p, err := s.Authenticate(ctx, c.header, from)
			if c.name == "" && !errors.Is(err, ErrWrong) || c.name != "" && (err != nil || p.Name != c.name) {
				t.Errorf("%.40q: %+v %v, want %q", c.header, p, err, c.name)
			}
		}
	}
	// An account whose event is junk is nobody's, whatever it held.
	cmd, err := stream.NewAppend(limits, stream.Write{Stream: accountPrefix + "ops", Expected: stream.Any, Events: []stream.Event{{ID: [16]byte{1}, Type: typeUpdated, JSON: true, Data: []byte(`{"loginName":"admin"}`)}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Append(ctx, cmd, false); err != nil {
		t.Fatal(err)
	}
	if p, err := s.Authenticate(ctx, basic("ops:o"), from); !errors.Is(err, ErrWrong) {
		t.Errorf("an account that cannot be read: %+v %v", p, err)
	}
}

// Goal: guessing gets slow, for the one account from the one place, and only for who guesses.
func TestGuessingGetsSlow(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t, cheap)
	makeFirst(t, s)
	ctx := context.Background()
	elsewhere := func() string { return "127.0.0.2:1" }
	if _, err := s.Authenticate(ctx, basic("ops:o"), elsewhere); err != nil {
		t.Fatal(err)
	}
	slow := false
	for i := 0; i < 100*freeTries && !slow; i++ {
		_, err := s.Authenticate(ctx, basic(fmt.Sprint("ops:", i)), elsewhere)
		slow = errors.Is(err, ErrTooMany)
	}
	if !slow {
		t.Error("nobody was told to wait")
	}
	if _, err := s.Authenticate(ctx, basic("ops:o"), elsewhere); err != nil {
		t.Errorf("credentials that were right before: %v", err)
	}
	if _, err := s.Authenticate(ctx, basic("ops:o "), func() string { return "127.0.0.3:1" }); !errors.Is(err, ErrWrong) {
		t.Errorf("from another place: %v", err)
	}
}

// Goal: a thousand calls that begin at once with new credentials cost one hash and all get in.
func TestManyCallsAtOnceAreCheckedOnce(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t, cheap)
	makeFirst(t, s)
	var all sync.WaitGroup
	failed := make(chan error, 1000)
	for range 1000 {
		all.Go(func() {
			if _, err := s.Authenticate(context.Background(), basic("ops:o"), from); err != nil {
				failed <- err
			}
		})
	}
	all.Wait()
	close(failed)
	for err := range failed {
		t.Fatal(err)
	}
}

func TestHeadersAreBounded(t *testing.T) {
	t.Parallel()
	h := newHeaders()
	kept := h.key("kept")
	h.put(kept, checked{right: true})
	for i := range 3 * maxHeaders {
		h.put(h.key(fmt.Sprint(i)), checked{})
		if c, ok := h.find(kept); !ok || !c.right {
			t.Fatalf("what is in use was forgotten after %d", i)
		}
	}
	if n := len(h.young) + len(h.old); n > 2*maxHeaders+1 {
		t.Errorf("%d headers are kept", n)
	}
	if h.key("a") == newHeaders().key("a") {
		t.Error("two processes know a header by the same key")
	}
}

// Goal: the first accounts are made once: not again by a store that starts later, not after somebody deleted one, and not over an account that is there.
func TestFirstAccountsAreMadeOnce(t *testing.T) {
	t.Parallel()
	s, n := newStore(t, cheap)
	makeFirst(t, s)
	ctx := context.Background()
	if err := s.Create(ctx, "root", "", []string{"$admins"}, "r"); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(ctx, FirstAdmin); err != nil {
		t.Fatal(err)
	}
	again := NewStore(n, Options{Cost: cheap})
	makeFirst(t, again)
	if _, err := again.Authenticate(ctx, basic("admin:secret:with colon"), from); !errors.Is(err, ErrWrong) {
		t.Errorf("a deleted administrator: %v", err)
	}
	var list []string
	if err := again.List(ctx, func(d Details) error { list = append(list, d.Login); return nil }); err != nil || fmt.Sprint(list) != "[ops root]" {
		t.Errorf("users %v %v", list, err)
	}
	if err := s.Delete(ctx, "root"); !errors.Is(err, ErrLastAdmin) {
		t.Errorf("delete the last administrator: %v", err)
	}
}

// Goal: two who change one account at once both succeed or are told, and neither change is lost unseen.
func TestChangesAtOnce(t *testing.T) {
	t.Parallel()
	s, n := newStore(t, cheap)
	makeFirst(t, s)
	ctx := context.Background()
	if err := s.Create(ctx, "u", "", nil, "p"); err != nil {
		t.Fatal(err)
	}
	other := NewStore(n, Options{Cost: cheap})
	var all sync.WaitGroup
	for i := range 4 {
		for _, store := range []*Store{s, other} {
			all.Go(func() {
				if err := store.Update(ctx, "u", fmt.Sprint(i), []string{fmt.Sprint("g", i)}); err != nil && !errors.Is(err, ErrTryAgain) {
					t.Error(err)
				}
			})
		}
	}
	all.Wait()
	d, err := s.Details("u")
	if err != nil || len(d.Groups) != 1 || d.Groups[0] != "g"+d.FullName {
		t.Errorf("%+v %v", d, err)
	}
	if p, err := other.Authenticate(ctx, basic("u:p"), from); err != nil || !p.Is(d.Groups[0]) {
		t.Errorf("%+v %v", p, err)
	}
}

// BenchmarkAuthenticate is what a call on a secure node pays for being one.
func BenchmarkAuthenticate(b *testing.B) {
	s, _ := newStore(b, cheap)
	makeFirst(b, s)
	header := basic("ops:o")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Authenticate(context.Background(), header, from); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzParseBasic: no header names somebody who cannot exist, and what is named is what was encoded.
func FuzzParseBasic(f *testing.F) {
	for _, h := range []string{"", "Basic", "Basic ", basic("a:b"), basic("a:b:c"), basic(":b"), basic("$a:b"), "bAsIc  " + basic("a:b")[6:], "Bearer x", basic("a\n:b")} {
		f.Add(h)
	}
	f.Fuzz(func(t *testing.T, header string) {
		login, password, ok := ParseBasic(header)
		if !ok {
			return
		}
		if CheckLogin(login) != nil || len(password) > maxPasswordBytes {
			t.Fatalf("%q: %q %q", header, login, password)
		}
		if l, p, ok := ParseBasic(basic(login + ":" + password)); !ok || l != login || p != password {
			t.Fatalf("%q: %q %q, then %q %q", header, login, password, l, p)
		}
	})
}
