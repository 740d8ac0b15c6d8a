package system

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"baton/test/fleet"
)

// Goal: both official npm clients sign in to a secure cluster, and see and write what they may, nothing else.
// Method: three nodes that share an authority made by the command for it, users made over HTTP, and
// test/clients/node/secure.js in one process for each client; each line it prints becomes a subtest.
func TestNodeClientsOnASecureCluster(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("node is missing")
	}
	dir := filepath.Join("..", "clients", "node")
	installClients(t, dir)
	binary, err := fleet.Binary()
	if err != nil {
		t.Fatal(err)
	}
	certs := t.TempDir()
	authority, wrong := filepath.Join(certs, "ca"), filepath.Join(certs, "wrong")
	for _, args := range [][]string{{"authority", authority}, {"authority", wrong}, {"user", authority, "alice", "--out", certs}} {
		if out, err := exec.Command(binary, append([]string{"certs"}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("certs %v: %v\n%s", args, err, out)
		}
	}
	caFile := filepath.Join(authority, "ca.crt")
	pem, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	f := startFleet(t, fleet.Options{
		Nodes: 3, ClusterSize: 3, TLS: &fleet.TLS{Authority: authority}, Env: []string{"BATON_DEFAULT_ADMIN_PASSWORD=root"}, User: "admin", Password: "root",
		Args: []string{"--write-timeout-ms", "30000"},
		HTTP: &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}},
	}, 2, 0)
	leader, follower := inRole(t, f, "Leader"), inRole(t, f, "Follower")
	for _, login := range []string{"alice", "bob"} {
		status, body, err := leader.Do("POST", "/users/", map[string]any{"loginName": login, "fullName": login, "groups": []string{}, "password": login})
		if err != nil || status != http.StatusCreated {
			t.Fatalf("make user %s: %d %s %v", login, status, body, err)
		}
	}
	at := func(n *fleet.Node) string { return fmt.Sprintf("localhost:%d", n.ClientPort) }
	for _, client := range []string{"@eventstore/db-client", "@kurrent/kurrentdb-client"} {
		t.Run(filepath.Base(client), func(t *testing.T) {
			cmd := exec.Command("node", "secure.js", client, at(leader), at(follower), caFile, filepath.Join(wrong, "ca.crt"),
				filepath.Join(certs, "user-alice.crt"), filepath.Join(certs, "user-alice.key"))
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
			fmt.Printf("=> %s on a secure cluster: %d cases passed, %d failed\n", client, passed, failed)
		})
	}
}
