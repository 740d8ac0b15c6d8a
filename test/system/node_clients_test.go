package system

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"baton/test/fleet"
)

var installing sync.Mutex

// installClients installs the npm clients, for one test at a time.
func installClients(t *testing.T, dir string) {
	t.Helper()
	installing.Lock()
	defer installing.Unlock()
	if out, err := exec.Command(filepath.Join("..", "..", ".ci", "npm-ci"), dir).CombinedOutput(); err != nil {
		t.Fatalf("install the clients: %v\n%s", err, out)
	}
}

// Goal: both official npm clients work against every role.
// Method: test/clients/node/cases.js in one process for each client, since they cannot share one; each line it
// prints becomes a subtest.
func TestNodeClients(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("node is missing")
	}
	dir := filepath.Join("..", "clients", "node")
	installClients(t, dir)
	f := startFleet(t, fleet.Options{Nodes: 5, ClusterSize: 3, Args: []string{"--run-projections=All", "--start-standard-projections", "--write-timeout-ms", "30000"}}, 2, 2)
	leader, follower, clone := inRole(t, f, "Leader"), inRole(t, f, "Follower"), inRole(t, f, "Clone")
	for _, client := range []string{"@eventstore/db-client", "@kurrent/kurrentdb-client"} {
		t.Run(filepath.Base(client), func(t *testing.T) {
			cmd := exec.Command("node", "cases.js", client, leader.Address(), follower.Address(), clone.Address())
			cmd.Dir = dir
			cmd.Stderr = os.Stderr
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			watchdog := time.AfterFunc(15*time.Minute, func() { cmd.Process.Kill() })
			defer watchdog.Stop()
			passed, failed := 0, 0
			lines := bufio.NewScanner(out)
			lines.Buffer(nil, 1<<20)
			for lines.Scan() {
				var c struct {
					Name  string
					OK    bool
					Error string
				}
				if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
					t.Logf("not a case: %s", lines.Text())
					continue
				}
				t.Run(c.Name, func(t *testing.T) {
					if !c.OK {
						failed++
						t.Error(c.Error)
						return
					}
					passed++
				})
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("the client's process ended early: %v", err)
			}
			if passed+failed == 0 {
				t.Fatal("no case ran")
			}
			fmt.Printf("=> %s: %d cases passed, %d failed\n", client, passed, failed)
		})
	}
}
