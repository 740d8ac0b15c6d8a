package system

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"baton/test/fleet"
)

// TestAMachineJoinsOverSSH: the real control plane installs its own program on
// a machine with a real sshd, after its key was confirmed and not before, and
// the agent joins from there under the name that was given.
func TestAMachineJoinsOverSSH(t *testing.T) {
	t.Parallel()
	machine, err := fleet.StartSSHD(t.TempDir())
	if errors.Is(err, fleet.ErrNoSSHD) {
		t.Skip(err, "; nothing of this test was run")
	}
	if err != nil {
		t.Fatal(err)
	}
	s := startOneControlNode(t)
	t.Cleanup(func() { // before the control node ends
		machine.Close()
		if t.Failed() {
			t.Logf("sshd:\n%s", machine.Log())
		}
	})
	ask := map[string]any{"address": fleet.Host, "port": machine.Port, "user": "root", "key": string(machine.Key), "name": "by-ssh", "location": "rack-7"}
	var task struct{ TaskID string }
	for _, c := range []struct {
		hostKey, says string
	}{{"", machine.HostKey}, {"SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "another host key"}} {
		ask["hostKey"] = c.hostKey
		if c.hostKey == "" {
			delete(ask, "hostKey")
		}
		if status, err := s.call("POST", "/hosts/ssh", ask, &task); status != 409 || !strings.Contains(fmt.Sprint(err), c.says) {
			t.Errorf("host key %q: %d %v", c.hostKey, status, err)
		}
	}
	ask["hostKey"] = machine.HostKey
	if status, err := s.call("POST", "/hosts/ssh", ask, &task); status != 202 || err != nil {
		t.Fatalf("the installation: %d %v", status, err)
	}
	var v struct {
		State, Error string
		Steps        []struct{ Step, Detail string }
	}
	if err := fleet.Await(startWithin, "the end of the installation", func() (bool, string) {
		_, err := s.call("GET", "/hosts/tasks/"+task.TaskID, nil, &v)
		return err == nil && v.State != "running", fmt.Sprintf("%+v %v", v, err)
	}); err != nil {
		t.Fatal(err)
	}
	if v.State != "done" || len(v.Steps) != 5 {
		t.Fatalf("it ended %+v", v)
	}
	if err := fleet.Await(startWithin, "the host", func() (bool, string) {
		var list struct {
			Hosts []struct {
				Name, Location string
				Connected      bool
			}
		}
		_, err := s.call("GET", "/hosts", nil, &list)
		i := slices.IndexFunc(list.Hosts, func(h struct {
			Name, Location string
			Connected      bool
		}) bool {
			return h.Name == "by-ssh"
		})
		return err == nil && i >= 0 && list.Hosts[i].Connected && list.Hosts[i].Location == "rack-7", fmt.Sprintf("%+v %v", list, err)
	}); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{strings.Split(string(machine.Key), "\n")[1], "baton-join"} {
		if strings.Contains(machine.Log(), secret) {
			t.Errorf("sshd wrote down %q", secret)
		}
	}
}

// startOneControlNode starts a control node without any agent.
func startOneControlNode(t *testing.T) *controlNodes {
	t.Helper()
	binary, err := fleet.Binary()
	if err != nil {
		t.Fatal(err)
	}
	ports, err := fleet.FreePorts(3)
	if err != nil {
		t.Fatal(err)
	}
	at := func(i int) string { return fmt.Sprintf("%s:%d", fleet.Host, ports[i]) }
	n := &controlNode{t: t, name: "c1", listen: at(0), agents: at(1), peers: at(2), dir: filepath.Join(t.TempDir(), "c1")}
	n.start(binary)
	t.Cleanup(func() {
		n.kill()
		if t.Failed() {
			t.Logf("%s:\n%s", n.name, n.output())
		}
	})
	b, err := os.ReadFile(filepath.Join(n.dir, "cli-token"))
	if err != nil {
		t.Fatal(err)
	}
	return &controlNodes{upSite: upSite{t: t, binary: binary, data: filepath.Dir(n.dir), listen: n.listen, token: strings.TrimSpace(string(b))}, nodes: []*controlNode{n}}
}
