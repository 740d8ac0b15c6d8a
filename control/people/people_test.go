package people

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"baton/control/inventory"
	"baton/control/journal"
	"baton/platform/auth"
)

// desk is a book over a journal, with a clock of its own.
type desk struct {
	*Book
	j   *journal.Memory
	mu  sync.Mutex
	now time.Time
}

func (d *desk) time() time.Time { d.mu.Lock(); defer d.mu.Unlock(); return d.now }
func (d *desk) sleep(by time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now = d.now.Add(by)
}

func newDesk(t *testing.T, j *journal.Memory) *desk {
	t.Helper()
	d := &desk{j: j, now: time.Unix(1_800_000_000, 0)}
	d.Book = New(j, d.time)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() { _ = j.Follow(ctx, 0, func(r journal.Recorded) error { d.Take(r); return nil }, nil) }()
	return d
}

// admin makes an administrator who can sign in.
func (d *desk) admin(t *testing.T, name string) {
	t.Helper()
	secret, err := d.Create(t.Context(), name, "admin", "cli")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.UseLink(t.Context(), name, secret, "hash"); err != nil {
		t.Fatal(err)
	}
}

// TestUsers: a user is made without a password, sets it with a link that works
// once and ends, changes role, is disabled and removed; names are checked.
func TestUsers(t *testing.T) {
	d := newDesk(t, journal.NewMemory(time.Now))
	ctx := t.Context()
	for _, bad := range []string{"", "Ann", "ann smith", "ann;rm", "-ann", "ánn", "a\x00"} {
		if _, err := d.Create(ctx, bad, "viewer", "root"); !errors.Is(err, inventory.ErrName) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	first, err := d.Create(ctx, "ann", "operator", "root")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Create(ctx, "ann", "viewer", "root"); !errors.Is(err, ErrExists) {
		t.Errorf("twice: %v", err)
	}
	second, err := d.NewLink(ctx, "ann", "root")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.ByLink(first); !errors.Is(err, ErrLink) {
		t.Errorf("an older link works: %v", err)
	}
	if u, err := d.ByLink(second); err != nil || u.Name != "ann" {
		t.Errorf("link: %+v %v", u, err)
	}
	if err := d.UseLink(ctx, "ann", second, "hash"); err != nil {
		t.Fatal(err)
	}
	if err := d.UseLink(ctx, "ann", second, "other"); !errors.Is(err, ErrLink) {
		t.Errorf("a link works twice: %v", err)
	}
	late, err := d.NewLink(ctx, "ann", "root")
	if err != nil {
		t.Fatal(err)
	}
	d.sleep(LinkLife)
	if err := d.UseLink(ctx, "ann", late, "other"); !errors.Is(err, ErrLink) {
		t.Errorf("an old link works: %v", err)
	}
	off := true
	if err := d.Change(ctx, "ann", "root", "approver", &off); err != nil {
		t.Fatal(err)
	}
	if u, _ := d.User("ann"); u.Role != "approver" || !u.Disabled || u.Password != "hash" || u.Created.IsZero() {
		t.Errorf("%+v", u)
	}
	if err := d.Remove(ctx, "ann", "root"); err != nil {
		t.Fatal(err)
	}
	if err := d.Change(ctx, "ann", "root", "viewer", nil); !errors.Is(err, ErrUnknown) {
		t.Errorf("a removed user changes: %v", err)
	}
}

// TestLastAdmin: whatever is tried, an administrator who can sign in stays,
// also when two control nodes try at once.
func TestLastAdmin(t *testing.T) {
	j := journal.NewMemory(time.Now)
	d := newDesk(t, j)
	ctx := t.Context()
	d.admin(t, "ann")
	off := true
	for what, f := range map[string]func() error{
		"removed":  func() error { return d.Remove(ctx, "ann", "ann") },
		"demoted":  func() error { return d.Change(ctx, "ann", "ann", "viewer", nil) },
		"disabled": func() error { return d.Change(ctx, "ann", "ann", "", &off) },
	} {
		if err := f(); !errors.Is(err, ErrLastAdmin) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := d.Create(ctx, "bob", "admin", "ann"); err != nil { // invited, cannot sign in yet
		t.Fatal(err)
	}
	if err := d.Remove(ctx, "ann", "ann"); !errors.Is(err, ErrLastAdmin) {
		t.Errorf("with an invited admin: %v", err)
	}
	for round := range 10 {
		a, b := fmt.Sprintf("a%d", round), fmt.Sprintf("b%d", round)
		d.admin(t, a)
		d.admin(t, b)
		if err := d.Remove(ctx, lastOf(d, a, b), "x"); err != nil {
			t.Fatal(err)
		}
		other := newDesk(t, j)
		if err := other.wait(ctx, inventory.UsersStream, d.revs[inventory.UsersStream]); err != nil {
			t.Fatal(err)
		}
		errs := make(chan error, 2)
		go func() { errs <- d.Remove(ctx, a, "x") }()
		go func() { errs <- other.Remove(ctx, b, "x") }()
		refused := 0
		for range 2 {
			if errors.Is(<-errs, ErrLastAdmin) {
				refused++
			}
		}
		if refused != 1 {
			t.Fatalf("round %d: %d refused", round, refused)
		}
	}
}

// lastOf is the administrator other than the two.
func lastOf(d *desk, a, b string) string {
	for _, u := range d.Users() {
		if u.Role == "admin" && u.Password != "" && u.Name != a && u.Name != b {
			return u.Name
		}
	}
	return ""
}

// TestTokens: a token is found by its secret while it lasts, never does more
// than its owner, ends with it, and does not pass to a namesake.
func TestTokens(t *testing.T) {
	d := newDesk(t, journal.NewMemory(time.Now))
	ctx := t.Context()
	d.admin(t, "root")
	d.admin(t, "ann")
	for _, days := range []int{-1, 0, 400} {
		if _, _, err := d.CreateToken(ctx, "ci", "ann", "admin", "ann", d.time().Add(time.Duration(days)*24*time.Hour)); !errors.Is(err, ErrExpiry) {
			t.Errorf("%d days: %v", days, err)
		}
	}
	tok, secret, err := d.CreateToken(ctx, "ci", "ann", "admin", "ann", d.time().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if tok.Hash == secret || tok.Hash != auth.HashSecret(secret) {
		t.Error("the secret is kept")
	}
	if got, role, ok := d.Present(secret); !ok || got.ID != tok.ID || role != "admin" {
		t.Errorf("%+v %q %v", got, role, ok)
	}
	if _, _, ok := d.Present("bt_guess"); ok {
		t.Error("a guess is let in")
	}
	if err := d.Change(ctx, "ann", "root", "viewer", nil); err != nil {
		t.Fatal(err)
	}
	if _, role, ok := d.Present(secret); !ok || role != "viewer" {
		t.Errorf("the owner's role is %q", role)
	}
	off, on := true, false
	if err := d.Change(ctx, "ann", "root", "", &off); err != nil {
		t.Fatal(err)
	}
	if _, _, ok := d.Present(secret); ok {
		t.Error("a disabled owner's token works")
	}
	if err := d.Change(ctx, "ann", "root", "", &on); err != nil {
		t.Fatal(err)
	}
	d.sleep(time.Minute)
	if err := d.Remove(ctx, "ann", "root"); err != nil {
		t.Fatal(err)
	}
	d.sleep(time.Minute)
	if _, err := d.Create(ctx, "ann", "admin", "root"); err != nil {
		t.Fatal(err)
	}
	if _, _, ok := d.Present(secret); ok {
		t.Error("a namesake has the token")
	}
	own, secret, err := d.CreateToken(ctx, "script", "", "operator", "cli", d.time().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if _, role, ok := d.Present(secret); !ok || role != "" {
		t.Errorf("a token without an owner: %q %v", role, ok)
	}
	d.sleep(2 * time.Hour)
	if _, _, ok := d.Present(secret); ok {
		t.Error("an expired token works")
	}
	if err := d.RevokeToken(ctx, own.ID, "root"); err != nil {
		t.Fatal(err)
	}
	if err := d.RevokeToken(ctx, own.ID, "root"); !errors.Is(err, ErrUnknown) {
		t.Errorf("revoked twice: %v", err)
	}
}
