package target_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"baton/control/backup/target"
	"baton/control/backup/target/targettest"
)

func openTarget(t *testing.T, c target.Config) target.Target {
	t.Helper()
	tg, err := target.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return tg
}

func TestDirectoryConforms(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "backups")
	targettest.Run(t, openTarget(t, target.Config{Kind: target.KindDirectory, Path: dir}))
	_ = filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			t.Error(err)
		} else if !e.IsDir() {
			t.Errorf("%s is left", p)
		}
		return nil
	})
}

func TestS3Conforms(t *testing.T) {
	t.Parallel()
	targettest.Run(t, openTarget(t, targettest.NewS3(t, false).Config))
}

func TestS3OverTLSConforms(t *testing.T) {
	t.Parallel()
	targettest.Run(t, openTarget(t, targettest.NewS3(t, true).Config))
}

// Goal: only the owner reads backups, and a link inside the directory does not
// lead out of it.
func TestDirectoryIsPrivateAndClosed(t *testing.T) {
	base := t.TempDir()
	dir, outside := filepath.Join(base, "backups"), filepath.Join(base, "outside")
	tg := openTarget(t, target.Config{Kind: target.KindDirectory, Path: dir})
	if err := tg.Put(t.Context(), "c/b.baton", 1, strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]fs.FileMode{dir: 0o700, filepath.Join(dir, "c"): 0o700, filepath.Join(dir, "c", "b.baton"): 0o600} {
		if st, err := os.Stat(p); err != nil || st.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want %o", p, st.Mode(), err, want)
		}
	}
	if err := os.Mkdir(outside, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := tg.Put(t.Context(), "link/b.baton", 1, strings.NewReader("x")); err == nil {
		t.Error("written through a link that leads out")
	}
}

// Goal: a killed Put's remains are not listed and Abandon removes them, those
// of others stay.
func TestRemainsOfAKilledPutAreAbandoned(t *testing.T) {
	dir := t.TempDir()
	tg := openTarget(t, target.Config{Kind: target.KindDirectory, Path: dir})
	for _, n := range []string{"b1.baton", "b2.baton"} {
		if err := os.MkdirAll(filepath.Join(dir, "c"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "c", ".partial-"+n+"-00ff"), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := tg.List(t.Context(), ""); err != nil || len(list) != 0 {
		t.Errorf("listed %v, %v", list, err)
	}
	if err := tg.Abandon(t.Context(), "c/b1.baton"); err != nil {
		t.Fatal(err)
	}
	left, _ := filepath.Glob(filepath.Join(dir, "c", ".partial-*"))
	if len(left) != 1 || !strings.Contains(left[0], "b2") {
		t.Errorf("left %v, want b2's only", left)
	}
}

// Goal: a store's refusals are told in words, and no secret is in them.
func TestRefusalsOfAStoreAreToldWithoutSecrets(t *testing.T) {
	s := targettest.NewS3(t, false)
	wrong := s.Config
	wrong.SecretKey = "hunter2hunter2"
	noBucket := s.Config
	noBucket.Bucket = "missing"
	for name, c := range map[string]struct {
		config target.Config
		want   string
	}{"wrong secret": {wrong, "refused the credentials"}, "no bucket": {noBucket, "no bucket missing"}} {
		err := openTarget(t, c.config).Health(t.Context())
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(format, wrong); strings.Contains(text, "hunter2") {
			t.Errorf("%s shows the secret: %s", format, text)
		}
	}
}

// Goal: what cannot be a target is refused when it is described.
func TestBadDescriptionsAreRefused(t *testing.T) {
	good := target.Config{Kind: target.KindS3, Endpoint: "s3.example.org", Bucket: "backups", AccessKey: "a", SecretKey: "b"}
	edit := func(f func(*target.Config)) target.Config { c := good; f(&c); return c }
	for name, c := range map[string]target.Config{
		"no kind":           {},
		"relative":          {Kind: target.KindDirectory, Path: "backups"},
		"dots":              {Kind: target.KindDirectory, Path: "/var/../etc"},
		"root":              {Kind: target.KindDirectory, Path: "/"},
		"NUL":               {Kind: target.KindDirectory, Path: "/var/x\x00y"},
		"endpoint with URL": edit(func(c *target.Config) { c.Endpoint = "https://s3.example.org" }),
		"endpoint with at":  edit(func(c *target.Config) { c.Endpoint = "user@s3.example.org" }),
		"bucket":            edit(func(c *target.Config) { c.Bucket = "Not A Bucket" }),
		"no key":            edit(func(c *target.Config) { c.SecretKey = "" }),
		"plain elsewhere":   edit(func(c *target.Config) { c.PlainHTTP = true }),
		"prefix":            edit(func(c *target.Config) { c.Prefix = "../up" }),
		"authority":         edit(func(c *target.Config) { c.CA = "no pem" }),
	} {
		if _, err := target.Open(c); !errors.Is(err, target.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := target.Open(good); err != nil {
		t.Errorf("a good one: %v", err)
	}
}

// Goal: a store that is away gives an error, not a hang, when the caller's time ends.
func TestStoreThatIsAwayIsAnError(t *testing.T) {
	s := targettest.NewS3(t, false)
	s.Refuse.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 100e6)
	defer cancel()
	if err := openTarget(t, s.Config).Put(ctx, "c/b.baton", 1, bytes.NewReader([]byte("x"))); err == nil {
		t.Error("no error")
	}
}
