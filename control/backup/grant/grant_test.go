package grant

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"baton/control/backup/target"
)

var sample = Grant{Target: target.Config{Kind: target.KindS3, Endpoint: "s3", SecretKey: "hunter2"}, Key: []byte("0123456789abcdef")}

func sealed(t *testing.T, k *Keyring, now time.Time) string {
	t.Helper()
	public, err := k.New(now)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Seal(public, "take c/b1", sample)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Goal: a grant opens once, in time, for its purpose, at its agent; nowhere else.
func TestGrantOpensOnceForItsPurpose(t *testing.T) {
	var k, other Keyring
	now := time.Unix(1000, 0)
	s := sealed(t, &k, now)
	if strings.Contains(s, "hunter2") {
		t.Error("the secret shows")
	}
	if _, err := other.Open(s, "take c/b1", now); !errors.Is(err, ErrGrant) {
		t.Errorf("another agent: %v", err)
	}
	g, err := k.Open(s, "take c/b1", now.Add(time.Minute))
	if err != nil || g.Target.SecretKey != "hunter2" || string(g.Key) != string(sample.Key) {
		t.Fatalf("%v, %v", g, err)
	}
	if _, err := k.Open(s, "take c/b1", now); !errors.Is(err, ErrGrant) {
		t.Errorf("a second time: %v", err)
	}
	if _, err := k.Open(sealed(t, &k, now), "verify c/b1", now); !errors.Is(err, ErrGrant) {
		t.Errorf("another purpose: %v", err)
	}
	if _, err := k.Open(sealed(t, &k, now), "take c/b1", now.Add(Lifetime+time.Second)); !errors.Is(err, ErrGrant) {
		t.Errorf("too late: %v", err)
	}
	bad := []byte(sealed(t, &k, now))
	bad[len(bad)-2] ^= 1
	if _, err := k.Open(string(bad), "take c/b1", now); !errors.Is(err, ErrGrant) {
		t.Errorf("changed: %v", err)
	}
	for _, text := range []string{"", "x", "!!", strings.Repeat("A", 43)} {
		if _, err := k.Open(text, "take c/b1", now); !errors.Is(err, ErrGrant) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestGrantsPrintNothing(t *testing.T) {
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(format, sample); strings.Contains(text, "hunter2") || strings.Contains(text, "0123") {
			t.Errorf("%s: %s", format, text)
		}
	}
}

func TestKeysOfAnAgentAreBounded(t *testing.T) {
	var k Keyring
	now := time.Unix(1000, 0)
	for range maxKeys {
		if _, err := k.New(now); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := k.New(now); err == nil {
		t.Error("one more than the bound")
	}
	if _, err := k.New(now.Add(Lifetime + time.Second)); err != nil {
		t.Errorf("old ones make room: %v", err)
	}
}
