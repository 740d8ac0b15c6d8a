package agent

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"baton/control/backup/container"
	"baton/control/backup/grant"
	"baton/control/backup/target"
	"baton/control/engine"

	"golang.org/x/sys/unix"
)

// storeDir is a directory as a node leaves it: a manifest and segments, one of them mostly zeros.
func storeDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	sparse := make([]byte, 1<<20)
	copy(sparse, "begins")
	copy(sparse[len(sparse)-7:], "the end")
	for name, data := range map[string][]byte{
		"manifest.json": []byte(`{"content":{"version":"v","takenAt":"2026-01-02T03:04:05Z","clusterId":"id","clusterSize":3,"position":"77"}}`),
		"LOCK":          nil,
		"segments/00000000000000000000-0123456789abcdef.seg": sparse,
		"segments/00000000000000000070-fedcba9876543210.seg": []byte("seven"),
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Goal: a node's backup travels as a file that is the same each time it is made, and comes back byte for byte, holes as holes.
func TestFilesOfANodesBackupComeBack(t *testing.T) {
	dir := storeDir(t)
	var one, two bytes.Buffer
	for _, w := range []*bytes.Buffer{&one, &two} {
		if err := packStore(t.Context(), w, dir); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Error("the same directory gave two different files")
	}
	back := filepath.Join(t.TempDir(), "back")
	if err := unpackStore(&one, back); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"manifest.json", "segments/00000000000000000000-0123456789abcdef.seg", "segments/00000000000000000070-fedcba9876543210.seg"} {
		want, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(back, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes came back of %d, %v", name, len(got), len(want), err)
		}
	}
	if _, err := os.Stat(filepath.Join(back, "LOCK")); err == nil {
		t.Error("the lock travels with the backup")
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(back, "segments/00000000000000000000-0123456789abcdef.seg"), &st); err != nil || st.Blocks*512 >= 1<<20 {
		t.Errorf("zeros take %d bytes of the disk, %v", st.Blocks*512, err)
	}
	m, err := readStoreManifest(filepath.Join(back, storeManifest))
	if err != nil || m.Position != "77" || m.ClusterSize != 3 || m.TakenAt.Year() != 2026 {
		t.Errorf("manifest %+v, %v", m, err)
	}
}

// Goal: a file that is not a node's backup is refused as damaged, and nothing is written outside of the directory.
func TestOtherFilesAreNotUnpacked(t *testing.T) {
	file := func(entries ...tar.Header) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range entries {
			if h.Typeflag == 0 {
				h.Typeflag, h.Size = tar.TypeReg, 1
			}
			h.Mode = 0o600
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
			if h.Size > 0 {
				if _, err := w.Write([]byte("x")); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	segment := "segments/00000000000000000000-0123456789abcdef.seg"
	good := file(tar.Header{Name: storeManifest}, tar.Header{Name: segment})
	if err := unpackStore(bytes.NewReader(good), filepath.Join(t.TempDir(), "x")); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"nothing":              nil,
		"no tar file":          bytes.Repeat([]byte("redis"), 400),
		"empty":                file(),
		"a way out":            file(tar.Header{Name: "../manifest.json"}),
		"a way out below":      file(tar.Header{Name: "segments/../../x.seg"}),
		"an absolute name":     file(tar.Header{Name: "/" + storeManifest}),
		"a link":               file(tar.Header{Name: segment, Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}),
		"a directory":          file(tar.Header{Name: "segments/", Typeflag: tar.TypeDir}),
		"something else":       file(tar.Header{Name: "identity.json"}),
		"cut within a segment": good[:len(good)-1024-512],
	} {
		parent := t.TempDir()
		if err := unpackStore(bytes.NewReader(data), filepath.Join(parent, "x")); !errors.Is(err, errStoreFiles) {
			t.Errorf("%s: %v", name, err)
		}
		if left, err := os.ReadDir(parent); err != nil || len(left) != 1 {
			t.Errorf("%s: %v is beside the directory, %v", name, left, err)
		}
	}
	twice := file(tar.Header{Name: segment}, tar.Header{Name: segment})
	if err := unpackStore(bytes.NewReader(twice), filepath.Join(t.TempDir(), "x")); err == nil {
		t.Error("a file that is there twice is unpacked")
	}
}

// Goal: what baton refuses is a finding about the backup, in its words; that it could not run is none.
// Method: a shell with a few lines in its place.
func TestWhatBatonRefusesIsAFinding(t *testing.T) {
	a := &Agent{opt: Options{Baton: "/bin/sh"}, log: slog.New(slog.DiscardHandler)}
	for _, c := range []struct{ name, script, code, detail, fix string }{
		{"a refusal", "echo 'apply: 10 %' >&2; echo 'baton: The backup is damaged: a file is missing.' >&2; echo '  Use another backup.' >&2; exit 2", engine.CodeFailed, "The backup is damaged: a file is missing.", "Use another backup."},
		{"a failure", "echo 'baton: no space left on device' >&2; exit 1", engine.CodeRefused, "no space left on device", ""},
		{"an end without a word", "exit 3", engine.CodeRefused, "failed", ""},
		{"no JSON", "echo hello", engine.CodeRefused, "failed", ""},
		{"a report", `echo '{"position":"77","events":5,"streams":2}'`, "", "", ""},
	} {
		r, err := a.baton(t.Context(), "-c", c.script)
		var ae *engine.ActionError
		switch {
		case c.code == "":
			if err != nil || r.Events != 5 || r.Position != "77" {
				t.Errorf("%s: %+v, %v", c.name, r, err)
			}
		case !errors.As(err, &ae) || ae.Code != c.code || !strings.Contains(ae.Detail, c.detail) || c.fix != "" && ae.Fix != c.fix:
			t.Errorf("%s: %v (%+v)", c.name, err, ae)
		}
	}
	a.opt.Baton = ""
	if err := a.hasBaton(); engine.CodeOf(err) != engine.CodeRefused {
		t.Errorf("an agent without the program: %v", err)
	}
}

// fakeStore is a node that backs itself up as it is told to.
type fakeStore struct {
	engine.Driver
	from string // what it stores
	fail map[string]string

	mu        sync.Mutex
	directory string
	looks     int
	ended     bool
	forever   bool
	stolen    bool
}

func (f *fakeStore) Do(_ context.Context, _ engine.Instance, a engine.Action) (engine.Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch a.Name {
	case engine.StoreBackup:
		f.directory = a.Arg("directory")
		return engine.Result{}, os.CopyFS(f.directory, os.DirFS(f.from))
	case engine.StoreBackupEnd:
		f.ended = f.directory == a.Arg("directory")
		return engine.Result{}, nil
	}
	f.looks++
	v := map[string]string{"state": "running", "directory": f.directory, "bytes": "100", "bytesDone": "50"}
	switch {
	case f.stolen:
		v["directory"] = "/elsewhere"
	case f.fail != nil:
		maps.Copy(v, f.fail)
	case f.looks > 1 && !f.forever:
		v["state"] = "done"
	}
	return engine.Result{Values: v}, nil
}

// newStoreBench is an agent beside a fake node.
func newStoreBench(t *testing.T, f *fakeStore) *bench {
	t.Helper()
	f.from = storeDir(t)
	ctx, cancel := context.WithCancel(context.Background())
	a := &Agent{opt: Options{Dir: t.TempDir()}, log: slog.New(slog.DiscardHandler), drivers: map[string]engine.Driver{engine.EventStore: f}, instances: map[string]*watched{}, ctx: ctx}
	a.instances["test/r1"] = &watched{in: engine.Instance{Cluster: "test", Node: "r1", Engine: engine.EventStore, Dir: f.from}, look: make(chan struct{}, 1)}
	t.Cleanup(func() { cancel(); a.jobs.stop("") })
	return &bench{t: t, a: a, key: container.NewKey(), to: target.Config{Kind: target.KindDirectory, Path: filepath.Join(t.TempDir(), "backups")}}
}

// Goal: what a node stored is in the target, encrypted, described by its own manifest; it unpacks to the same files; one
// changed byte is found; nothing is left beside it.
func TestNodesBackupIsKeptAndRead(t *testing.T) {
	f := &fakeStore{}
	b := newStoreBench(t, f)
	v, err := b.job(ActionBackupTake, "b-1")
	if err != nil {
		t.Fatal(err)
	}
	m, err := container.DecodeManifest([]byte(v["manifest"]), "test", "b-1")
	if err != nil || m.Kind != container.KindStore || m.Offset != "77" || m.History != "id" || m.Voters != 3 || !m.Insecure || m.EngineVersion != "v" || m.Counted {
		t.Fatalf("manifest %+v, %v", m, err)
	}
	if left, err := os.ReadDir(b.a.scratchRoot()); err != nil || len(left) != 0 {
		t.Errorf("scratch directories left: %v, %v", left, err)
	}
	path := filepath.Join(b.to.Path, "test", "b-1.baton")
	good, err := os.ReadFile(path)
	if err != nil || bytes.Contains(good, []byte("seven")) {
		t.Fatalf("the file shows what is in it, %v", err)
	}
	to, err := target.Open(b.to)
	if err != nil {
		t.Fatal(err)
	}
	fetch := func() (string, error) {
		dir := filepath.Join(t.TempDir(), "store")
		get := &fetching{a: b.a, cluster: "test", id: "b-1", grant: grant.Grant{Target: b.to, Key: b.key}, target: to}
		j := &backupJob{}
		_, err := get.fetchStore(t.Context(), j, dir)
		return dir, err
	}
	dir, err := fetch()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "segments/00000000000000000070-fedcba9876543210.seg")); err != nil || string(got) != "seven" {
		t.Errorf("%q, %v", got, err)
	}
	bad := bytes.Clone(good)
	bad[len(bad)-30] ^= 1
	if err := os.WriteFile(path, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := fetch(); err == nil || !strings.Contains(err.Error(), "is damaged") || engine.CodeOf(err) != engine.CodeFailed {
		t.Errorf("one changed byte: %v", err)
	}
	if _, err := b.job(ActionBackupVerify, "b-1", "engine", engine.EventStore); engine.CodeOf(err) != engine.CodeRefused {
		t.Errorf("a check without the program says nothing about the backup: %v", err)
	}
}

// Goal: a backup that the node does not complete leaves nothing, says why, and the node is told to end it.
func TestNodesBackupThatFailsLeavesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		f    *fakeStore
		want string
	}{
		"the node fails":            {&fakeStore{fail: map[string]string{"state": "failed", "why": "the disk is full", "fix": "make room"}}, "the disk is full"},
		"the node may not write":    {&fakeStore{fail: map[string]string{"state": "failed", "why": "mkdir: permission denied"}}, "permission denied"},
		"the node takes another":    {&fakeStore{stolen: true}, "restarted"},
		"the node stores no backup": {&fakeStore{}, "manifest"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newStoreBench(t, c.f)
			if c.want == "manifest" {
				c.f.from = t.TempDir()
			}
			_, err := b.job(ActionBackupTake, "b-1")
			var ae *engine.ActionError
			if !errors.As(err, &ae) || !strings.Contains(ae.Detail, c.want) || ae.Fix == "" {
				t.Errorf("%v (%+v)", err, ae)
			}
			if list := b.objects(); len(list) != 0 {
				t.Errorf("left in the target: %v", list)
			}
			if left, err := os.ReadDir(b.a.scratchRoot()); err != nil || len(left) != 0 {
				t.Errorf("scratch directories left: %v, %v", left, err)
			}
			if c.want != "manifest" && !c.f.ended {
				t.Error("the node was not told to end it")
			}
		})
	}
}

// Goal: a backup that is ended while the node works ends the node's work too.
func TestNodesBackupThatIsEndedEndsOnTheNode(t *testing.T) {
	f := &fakeStore{forever: true}
	b := newStoreBench(t, f)
	if _, err := b.order(ActionBackupTake, "b-1"); err != nil {
		t.Fatal(err)
	}
	for looked := false; !looked; {
		v, err := backupWait(t.Context(), b.a, Order{Action: engine.Action{Args: map[string]string{"job": ActionBackupTake + "b-1", "waitMs": "10"}}})
		if err != nil {
			t.Fatal(err)
		}
		looked = v["total"] == "100"
	}
	b.a.jobs.stop("b-1")
	if _, err := b.wait(ActionBackupTake + "b-1"); err == nil || !f.ended {
		t.Errorf("ended on the node: %v, %v", f.ended, err)
	}
}
