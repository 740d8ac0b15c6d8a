package auth

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestPassword(t *testing.T) {
	ctx := context.Background()
	h, err := HashPassword(ctx, "a long and odd one")
	if err != nil || !strings.HasPrefix(h, "$argon2id$v=19$m=65536,t=3,p=1$") {
		t.Fatalf("%q, %v", h, err)
	}
	if again, _ := HashPassword(ctx, "a long and odd one"); again == h {
		t.Error("two hashes share a salt")
	}
	for password, want := range map[string]bool{"a long and odd one": true, "a long and odd onE": false, "": false} {
		if ok, err := VerifyPassword(ctx, password, h); ok != want || err != nil {
			t.Errorf("%q: %v, %v", password, ok, err)
		}
	}
	if ok, err := VerifyPassword(ctx, "x", ""); ok || err != nil {
		t.Errorf("unknown user: %v, %v", ok, err)
	}
	for _, bad := range []string{"plain", "$argon2id$v=19$m=65536,t=0,p=1$AA$AA", "$argon2i$v=19$m=1,t=1,p=1$AA$AA", "$argon2id$v=19$m=99999999,t=3,p=1$AA$AA"} {
		if _, err := VerifyPassword(ctx, "x", bad); err == nil {
			t.Errorf("%q is taken as a hash", bad)
		}
	}
}

// TestHashesAreBounded: however many sign in, two hash and a few wait; the
// rest is turned away at once.
func TestHashesAreBounded(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	busy := make(chan error, 200)
	for range 2 {
		hashing <- struct{}{}
	}
	for range 60 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			_, err := VerifyPassword(ctx, "x", "")
			busy <- err
		}()
	}
	for range 60 - maxHashes - maxWaiting {
		if err := <-busy; err != ErrBusy {
			t.Errorf("turned away with %v", err)
		}
	}
	cancel()
	wg.Wait()
	<-hashing
	<-hashing
	if len(hashing) != 0 || len(waiting) != 0 {
		t.Errorf("%d hash, %d wait for ever", len(hashing), len(waiting))
	}
}

func TestWeakPasswords(t *testing.T) {
	for _, p := range []string{"short", "password1234", "Password2024!", "P4ssw0rd2024!!", "123456789012", "aaaaaaaaaaaa", "abababababab",
		"qwertyuiopas", "letmein123456", "changeme2026", "ann-the-admin"} {
		if CheckPassword(p, "ann-the-adm") == "" {
			t.Errorf("%q is taken", p)
		}
	}
	for _, p := range []string{"violet hammer 7 river", "kD9#fe2Lq!vbn", "überraschung im moor"} {
		if why := CheckPassword(p, "ann"); why != "" {
			t.Errorf("%q: %s", p, why)
		}
	}
}

func TestSessions(t *testing.T) {
	now := time.Unix(1000, 0)
	s := NewSessions(func() time.Time { return now })
	id, _ := s.Begin("ann", "admin")
	other, _ := s.Begin("bob", "viewer")
	if len(id) < 43 || id == other {
		t.Fatalf("ids %q %q", id, other)
	}
	for h := 0; h < 23; h++ { // used every 29 minutes it lives, at most 12 hours
		now = now.Add(29 * time.Minute)
		if _, ok := s.Lookup(id); !ok {
			t.Fatalf("ended after %v", now.Sub(time.Unix(1000, 0)))
		}
	}
	if _, ok := s.Lookup(other); ok {
		t.Error("an idle session lives")
	}
	now = time.Unix(1000, 0).Add(SessionAbsolute)
	if _, ok := s.Lookup(id); ok {
		t.Error("a session outlives its absolute end")
	}
	a, _ := s.Begin("ann", "admin")
	b, _ := s.Begin("ann", "admin")
	c, _ := s.Begin("bob", "viewer")
	s.End(a)
	if s.Alive(a) || !s.Alive(b) {
		t.Error("End ends another")
	}
	s.EndAll("ann")
	if s.Alive(b) || !s.Alive(c) {
		t.Error("EndAll ends the wrong ones")
	}
}

func TestLimiter(t *testing.T) {
	now := time.Unix(1000, 0)
	l := NewLimiter(func() time.Time { return now }, 3)
	for range 2 {
		l.Fail("ann")
	}
	if l.Wait("ann") != 0 {
		t.Error("the first tries wait")
	}
	var waits []time.Duration
	for range 8 {
		l.Fail("ann")
		waits = append(waits, l.Wait("ann"))
	}
	for i, w := range waits {
		if want := min(time.Second<<i, maxDelay); w != want {
			t.Errorf("after %d more: %v, want %v", i, w, want)
		}
	}
	if l.Wait("bob") != 0 {
		t.Error("one account's failures hold another")
	}
	now = now.Add(maxDelay)
	if l.Wait("ann") != 0 {
		t.Error("locked out for good")
	}
	l.Forget("ann")
	l.Fail("ann")
	if l.Wait("ann") != 0 {
		t.Error("not forgotten")
	}
}

func TestSecrets(t *testing.T) {
	s := NewSecret()
	if !MatchSecret(s, HashSecret(s)) || MatchSecret(s+"x", HashSecret(s)) || MatchSecret("", "") || MatchSecret(s, "") {
		t.Error("secrets do not compare")
	}
}
