package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/rand"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"baton/eventstore/membership"
	"baton/eventstore/node"
	"baton/platform/vfs"
)

// reseal writes a manifest that is as it should be but for what change does.
func reseal(t *testing.T, dir string, change func(*Manifest)) {
	t.Helper()
	m, err := ReadManifest(vfsOS, dir)
	if err != nil {
		t.Fatal(err)
	}
	change(m)
	data, err := seal(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, manifestName), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// rehash puts a changed file into the backup as if it had been stored so.
func rehash(t *testing.T, dir string, i int, change func([]byte) []byte) {
	t.Helper()
	reseal(t, dir, func(m *Manifest) {
		f := &m.Files[i]
		b, err := os.ReadFile(filepath.Join(dir, f.stored()))
		if err != nil {
			t.Fatal(err)
		}
		b = change(b)
		sum := sha256.Sum256(b)
		f.SHA256, f.Bytes = hex.EncodeToString(sum[:]), int64(len(b))
		if err := os.WriteFile(filepath.Join(dir, f.stored()), b, 0o600); err != nil {
			t.Fatal(err)
		}
	})
}

func flip(at int) func([]byte) []byte {
	return func(b []byte) []byte {
		if at < 0 {
			at += len(b)
		}
		b[at] ^= 0x10
		return b
	}
}

// Goal: a byte that changed, whatever it belongs to, is found by Verify and by
// Restore, which names the file and leaves a directory no node starts with.
func TestDamagedBackupIsRefused(t *testing.T) {
	t.Parallel()
	source, _ := stillSource(t, 20, 10<<10)
	root := t.TempDir()
	good := filepath.Join(root, "good")
	m, err := Take(t.Context(), source, good, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Files) < 3 || m.Files[len(m.Files)-1].Whole {
		t.Fatalf("the backup has %d files", len(m.Files))
	}
	last := len(m.Files) - 1
	file := func(i int, change func([]byte) []byte) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			name := filepath.Join(dir, m.Files[i].stored())
			b, err := os.ReadFile(name)
			if err == nil {
				err = os.WriteFile(name, change(b), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	manifest := func(change func([]byte) []byte) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			name := filepath.Join(dir, manifestName)
			b, err := os.ReadFile(name)
			if err == nil {
				err = os.WriteFile(name, change(b), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	digit := func(after string) func([]byte) []byte { // the first digit or letter after some text
		return func(b []byte) []byte {
			at := strings.Index(string(b), after) + len(after)
			b[at] ^= 1
			return b
		}
	}
	for name, c := range map[string]struct {
		code   string
		damage func(*testing.T, string)
	}{
		"manifest, its hash":          {CodeDamaged, manifest(func(b []byte) []byte { return digit(`"sha256": "`)(b) })},
		"manifest, the position":      {CodeDamaged, manifest(digit(`"position": "`))},
		"manifest, the cluster":       {CodeDamaged, manifest(digit(`"clusterId": "`))},
		"manifest, a bracket":         {CodeDamaged, manifest(flip(0))},
		"manifest, cut":               {CodeDamaged, manifest(func(b []byte) []byte { return b[:len(b)/2] })},
		"manifest, empty":             {CodeDamaged, manifest(func([]byte) []byte { return nil })},
		"manifest, missing":           {CodeNoBackup, func(t *testing.T, dir string) { _ = os.Remove(filepath.Join(dir, manifestName)) }},
		"segment header":              {CodeDamaged, file(1, flip(20))},
		"frame header":                {CodeDamaged, file(0, flip(64+8))},
		"data of an event":            {CodeDamaged, file(1, flip(5000))},
		"last byte of the first file": {CodeDamaged, file(0, flip(-1))},
		"last byte of the last file":  {CodeDamaged, file(last, flip(-1))},
		"one byte more":               {CodeDamaged, file(last, func(b []byte) []byte { return append(b, 0) })},
		"one byte less":               {CodeDamaged, file(0, func(b []byte) []byte { return b[:len(b)-1] })},
		"a file missing":              {CodeDamaged, func(t *testing.T, dir string) { _ = os.Remove(filepath.Join(dir, m.Files[1].stored())) }},
		"two files exchanged": {CodeDamaged, func(t *testing.T, dir string) {
			a, b, tmp := filepath.Join(dir, m.Files[0].stored()), filepath.Join(dir, m.Files[1].stored()), filepath.Join(dir, "x")
			if err := errors.Join(os.Rename(a, tmp), os.Rename(b, a), os.Rename(tmp, b)); err != nil {
				t.Fatal(err)
			}
		}},
		// Files with the right hash of the wrong content: the log finds them.
		"frame header, hash made new":  {CodeDifferent, func(t *testing.T, dir string) { rehash(t, dir, 0, flip(64+8)) }},
		"data, hash made new":          {CodeDifferent, func(t *testing.T, dir string) { rehash(t, dir, 1, flip(5000)) }},
		"last data, hash made new":     {CodeDifferent, func(t *testing.T, dir string) { rehash(t, dir, last, flip(-1)) }},
		"a frame less, hash made new":  {CodeDifferent, func(t *testing.T, dir string) { rehash(t, dir, last, func(b []byte) []byte { return b[:len(b)-9000] }) }},
		"another cluster in manifest":  {CodeDifferent, func(t *testing.T, dir string) { reseal(t, dir, func(m *Manifest) { m.ClusterID = "another" }) }},
		"another term in the manifest": {CodeDifferent, func(t *testing.T, dir string) { reseal(t, dir, func(m *Manifest) { m.Term++ }) }},
		"another index in manifest":    {CodeDifferent, func(t *testing.T, dir string) { reseal(t, dir, func(m *Manifest) { m.Index++ }) }},
		"a gap between files": {CodeDamaged, func(t *testing.T, dir string) {
			reseal(t, dir, func(m *Manifest) { m.Files = append(m.Files[:1], m.Files[2:]...) })
		}},
		"a name that leads elsewhere": {CodeDamaged, func(t *testing.T, dir string) {
			reseal(t, dir, func(m *Manifest) { m.Files[0].Name = "../../etc/passwd" })
		}},
		"another format": {CodeDamaged, func(t *testing.T, dir string) {
			reseal(t, dir, func(m *Manifest) { m.Format = "baton event-store backup 2" })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "b")
			if err := os.CopyFS(dir, os.DirFS(good)); err != nil {
				t.Fatal(err)
			}
			c.damage(t, dir)
			_, err := Verify(t.Context(), dir, VerifyOptions{Scratch: root})
			refusedWith(t, err, c.code)
			data := filepath.Join(root, "data-"+strings.ReplaceAll(name, " ", "-"))
			_, err = Restore(t.Context(), dir, data, RestoreOptions{})
			refusedWith(t, err, c.code)
			if _, err := os.Stat(data); err == nil {
				if _, err := node.Start(node.Config{Dir: data, PeerListen: "127.0.0.1:0"}); err == nil || !strings.Contains(err.Error(), "not completed") {
					t.Errorf("a node started on it: %v", err)
				}
			}
		})
	}
	if left, err := filepath.Glob(filepath.Join(root, "baton-verify-*")); err != nil || len(left) > 0 {
		t.Errorf("scratch left: %v, %v", left, err)
	}
}

// Goal: damage in the log of the node is found while the backup is taken, and
// the backup there before stays.
func TestDamagedLogIsNoBackup(t *testing.T) {
	t.Parallel()
	source, _ := stillSource(t, 20, 10<<10)
	dir := filepath.Join(t.TempDir(), "backup")
	part := *source
	f, err := source.log.FrameContaining(source.at / 2)
	if err != nil {
		t.Fatal(err)
	}
	part.at = f.End()
	before, err := Take(t.Context(), &part, dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	segments := source.log.Segments()
	name := segments[len(segments)-2].Path
	b, err := os.ReadFile(name)
	if err == nil {
		err = os.WriteFile(name, flip(9000)(b), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = Take(t.Context(), source, dir, Options{})
	refusal := refusedWith(t, err, CodeDamaged)
	if !strings.Contains(refusal.Detail, "No backup was made") {
		t.Errorf("%+v", refusal)
	}
	report, err := Verify(t.Context(), dir, VerifyOptions{})
	if err != nil || report.Position != before.Position {
		t.Errorf("%+v, %v", report, err)
	}
}

// Goal: the power fails at each step of a backup, into an empty directory and
// over an earlier backup: what is there is no backup or a whole one, the
// earlier or the later, and the next attempt completes it.
func TestPowerFailsAtEachStepOfABackup(t *testing.T) {
	t.Parallel()
	source, _ := stillSource(t, 24, 8<<10)
	part := *source
	f, err := source.log.FrameContaining(source.at / 2)
	if err != nil {
		t.Fatal(err)
	}
	part.at = f.End()
	for _, over := range []bool{false, true} {
		base := vfs.NewMem()
		earlier := uint64(0)
		if over {
			m, err := Take(t.Context(), &part, "/backup", Options{FS: base})
			if err != nil {
				t.Fatal(err)
			}
			earlier = m.Position
		}
		full := base.Clone()
		from := full.Ops()
		if _, err := Take(t.Context(), source, "/backup", Options{FS: full, noteEvery: 1}); err != nil {
			t.Fatal(err)
		}
		steps := full.Ops() - from
		resumed, was := 0, map[uint64]int{}
		for step := 1; step <= steps; step++ {
			rng := rand.New(rand.NewSource(int64(step)))
			cut := base.Clone()
			cut.CutPowerAt(step)
			if _, err := Take(t.Context(), source, "/backup", Options{FS: cut, noteEvery: 1}); err == nil && step < steps-10 {
				t.Fatalf("step %d of %d: the power was cut and nothing failed", step, steps)
			}
			after := cut.Crash(rng)
			position := wholeAt(t, after, step)
			if position != earlier && position != source.at {
				t.Fatalf("over %v, step %d of %d: the backup reaches %d, not %d or %d", over, step, steps, position, earlier, source.at)
			}
			was[position]++
			var p Progress
			if _, err := Take(t.Context(), source, "/backup", Options{FS: after, noteEvery: 1, Progress: func(now Progress) { p = now }}); err != nil {
				t.Fatalf("over %v, step %d of %d, again: %v", over, step, steps, err)
			}
			if p.Kept > 0 && position == 0 {
				resumed++
			}
			if position := wholeAt(t, after, step); position != source.at {
				t.Fatalf("over %v, step %d: completed at %d", over, step, position)
			}
			names, err := after.ReadDir("/backup")
			if err != nil || len(names) != 3 {
				t.Fatalf("over %v, step %d: left %v, %v", over, step, names, err)
			}
		}
		t.Logf("over an earlier backup: %v; %d steps; backups found: %v; %d times what an interrupted first backup had stored was kept", over, steps, was, resumed)
		if was[earlier] == 0 || was[source.at] == 0 {
			t.Errorf("one of the outcomes never occurred: %v", was)
		}
		if !over && resumed == 0 {
			t.Error("nothing of an interrupted backup was ever kept")
		}
	}
}

// wholeAt checks every byte of the backup, if there is one, and returns its
// position; 0: there is none, which its reader is told in words.
func wholeAt(t *testing.T, fsys vfs.FS, step int) uint64 {
	t.Helper()
	m, err := ReadManifest(fsys, "/backup")
	if refusal, ok := errors.AsType[*membership.Refusal](err); ok && (refusal.Code == CodeIncomplete || refusal.Code == CodeNoBackup) {
		return 0
	}
	if err != nil {
		t.Fatalf("step %d: %v", step, err)
	}
	for i := range m.Files {
		if err := proveFile(context.Background(), fsys, "/backup", &m.Files[i], io.Discard); err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
	}
	k := &taking{Options: Options{FS: fsys}, dir: "/backup"}
	if err := k.scan(context.Background(), m, 0); err != nil {
		t.Fatalf("step %d: %v", step, err)
	}
	return m.Position
}

// Goal: a directory fills up, or a disk refuses: the error is told and the
// backup there before stays.
func TestDiskRefuses(t *testing.T) {
	t.Parallel()
	source, _ := stillSource(t, 12, 8<<10)
	mem := vfs.NewMem()
	if _, err := Take(t.Context(), source, "/backup", Options{FS: mem}); err != nil {
		t.Fatal(err)
	}
	full := errors.New("no space left")
	_, err := Take(t.Context(), source, "/backup", Options{FS: vfs.NewFault(mem, func(op vfs.Op) error {
		if op.Kind == vfs.OpWrite && path.Base(op.Name) == manifestName+".tmp" {
			return full
		}
		return nil
	})})
	if !errors.Is(err, full) {
		t.Errorf("%v", err)
	}
	if got := wholeAt(t, mem, 0); got != source.at {
		t.Errorf("the backup before reaches %d", got)
	}
}

func FuzzManifest(f *testing.F) {
	m := &Manifest{Format: Format, ClusterID: "c", ClusterSize: 3, Position: 100, Index: 2, Term: 1, SegmentBytes: 1,
		Files: []File{{Name: "00000000000000000000.seg", End: 100, FirstIndex: 1, Bytes: 164, SHA256: strings.Repeat("a", 64)}}}
	data, err := seal(m)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"content":null,"sha256":""}`))
	f.Add([]byte(`{"content":{"format":"x"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := DecodeManifest(data)
		if err != nil {
			return
		}
		for i := range m.Files {
			if name := m.Files[i].stored(); !storedPattern.MatchString(path.Base(name)) || path.Dir(name) != segmentsName {
				t.Fatalf("a manifest that is accepted names %q", name)
			}
		}
	})
}
