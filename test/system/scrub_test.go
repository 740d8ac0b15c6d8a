package system

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"baton/test/fleet"
)

// Goal: damage to the files of real nodes under load is found by the command and mended from the other nodes, on the
// leader too; a node that was killed and whose log does not open for damage is mended before it starts; nothing
// acknowledged is lost anywhere.
// Method: bytes in the middle of the log overwritten, on each node in turn while it runs, then on a follower killed -9.
func TestDamagedLogsAreMended(t *testing.T) {
	t.Parallel()
	f := startFleet(t, fleet.Options{Nodes: 3}, 2, 0)
	l := startLoad(t, f, 10)
	if err := fleet.Await(formWithin, "enough in the logs", func() (bool, string) {
		for _, n := range f.Nodes {
			v, err := n.View()
			if err != nil {
				return false, err.Error()
			}
			if m := v.ByName(n.Name); m == nil || m.Applied() < 2*damagedBytes {
				return false, fmt.Sprintf("%s: %+v", n.Name, m)
			}
		}
		return true, ""
	}); err != nil {
		t.Fatal(err)
	}
	type status struct {
		Found  int `json:"segmentsDamaged"`
		Frames int `json:"framesMended"`
		Mended []struct {
			From []string `json:"from"`
		} `json:"mended"`
		Damaged []json.RawMessage `json:"damaged"`
	}
	frames := 0
	for _, n := range f.Nodes {
		damageLog(t, n, 3)
		cmd := exec.Command(f.Binary, "scrub", "start", "--node", "http://"+n.Address(), "--wait", "-o", "json")
		cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + t.TempDir()}
		out, err := cmd.Output()
		var s status
		if err == nil {
			err = json.Unmarshal(out, &s)
		}
		if err != nil || s.Found != 1 || s.Frames < 1 || len(s.Mended) != 1 || len(s.Damaged) != 0 || s.Mended[0].From[0] == n.Name {
			t.Fatalf("%s: %v\n%s", n.Name, err, out)
		}
		frames += s.Frames
		l.flow(t)
	}
	victim := inRole(t, f, "Follower")
	victim.Kill()
	damageLog(t, victim, 3)
	if err := victim.Start(); err != nil {
		t.Fatalf("%v\n%s", err, f.Logs(20))
	}
	if err := f.AwaitRoles(formWithin, 2, 0); err != nil {
		t.Fatal(err)
	}
	l.flow(t)
	checked := l.verify(t)
	fmt.Printf("=> | damaged logs of three nodes under 10 writers, then of one killed | %d frames mended while they ran | %d acknowledged, all read back from 3 nodes |\n", frames, checked)
}

// Goal: the same for a node of a secure cluster that does not start for its damage: it asks by its certificate.
func TestADamagedNodeOfASecureClusterIsMended(t *testing.T) {
	t.Parallel()
	binary, err := fleet.Binary()
	if err != nil {
		t.Fatal(err)
	}
	authority := filepath.Join(t.TempDir(), "ca")
	if out, err := exec.Command(binary, "certs", "authority", authority).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	pem, err := os.ReadFile(filepath.Join(authority, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	f := startFleet(t, fleet.Options{
		Nodes: 3, TLS: &fleet.TLS{Authority: authority}, Env: []string{"BATON_DEFAULT_ADMIN_PASSWORD=root"}, User: "admin", Password: "root",
		HTTP: &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}},
	}, 2, 0)
	victim := inRole(t, f, "Follower")
	if err := fleet.Await(formWithin, "something in the log", func() (bool, string) {
		v, err := victim.View()
		if err != nil {
			return false, err.Error()
		}
		return v.ByName(victim.Name).Applied() > 2<<10, "little applied"
	}); err != nil {
		t.Fatal(err)
	}
	victim.Kill()
	overwriteLog(t, victim, 700, 1500)
	if err := victim.Start(); err != nil {
		t.Fatalf("%v\n%s", err, f.Logs(20))
	}
	if err := f.AwaitRoles(formWithin, 2, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := f.AwaitSamePosition(formWithin); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(f.Logs(40), "a damaged file of the log is whole again") {
		t.Errorf("nothing was mended\n%s", f.Logs(40))
	}
}

// damagedBytes are the first of a log, in which it is damaged.
const damagedBytes = 100 << 10

// damageLog overwrites bytes in a few places of a node's log.
func damageLog(t *testing.T, n *fleet.Node, places int64) {
	t.Helper()
	var at []int64
	for i := range places {
		at = append(at, (i+1)*damagedBytes/(places+1))
	}
	overwriteLog(t, n, at...)
}

func overwriteLog(t *testing.T, n *fleet.Node, places ...int64) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(n.Dir, "log", "*.seg"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no log in %s: %v", n.Name, n.Dir, err)
	}
	file, err := os.OpenFile(files[0], os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, at := range places {
		if _, err := file.WriteAt([]byte("not what was written"), at); err != nil {
			t.Fatal(err)
		}
	}
}
