package system

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"baton/test/fleet"
)

// formWithin bounds the founding of a cluster on a busy machine.
const formWithin = 2 * time.Minute

// startFleet starts nodes and waits for the roles. When the test fails, the nodes' output is shown and kept.
func startFleet(t *testing.T, o fleet.Options, followers, clones int) *fleet.Fleet {
	t.Helper()
	o.Dir = t.TempDir()
	f, err := fleet.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(f.Logs(25))
			keepLogs(t, f)
		}
		f.Close()
	})
	if err := f.Start(); err != nil {
		t.Fatal(err)
	}
	if err := f.AwaitRoles(formWithin, followers, clones); err != nil {
		t.Fatal(err)
	}
	return f
}

// keepLogs copies the nodes' output to the artefacts.
func keepLogs(t *testing.T, f *fleet.Fleet) {
	base := os.Getenv("TEST_ARTIFACTS")
	if base == "" {
		return
	}
	dir := filepath.Join(base, "logs", t.Name())
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return
	}
	for _, n := range f.Nodes {
		if b, err := os.ReadFile(n.LogFile); err == nil {
			os.WriteFile(filepath.Join(dir, n.Name+".log"), b, 0o644)
		}
	}
	t.Logf("full logs: %s", dir)
}

// inRole returns a living node in the role.
func inRole(t *testing.T, f *fleet.Fleet, role string) *fleet.Node {
	t.Helper()
	var found *fleet.Node
	err := fleet.Await(formWithin, "a living "+role, func() (bool, string) {
		for _, n := range f.Nodes {
			if !n.Running() {
				continue
			}
			v, err := n.View()
			if err != nil {
				return false, err.Error()
			}
			for _, m := range v.Members {
				if m.Role == role && m.Alive {
					found = f.ByName(m.Name)
					return found != nil, m.Name
				}
			}
			return false, fmt.Sprintf("%+v", v.Members)
		}
		return false, "no node runs"
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
