package system

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"baton/test/fleet"
)

func contains(b []byte, s string) bool { return bytes.Contains(b, []byte(s)) }

// Goal: a wrong start says on one line what to do, exits with an error, and writes nothing.
func TestWrongStarts(t *testing.T) {
	t.Parallel()
	binary, err := fleet.Binary()
	if err != nil {
		t.Fatal(err)
	}
	held, err := net.Listen("tcp", fleet.Host+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	inUse := fmt.Sprint(held.Addr().(*net.TCPAddr).Port)
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"unknown option":      {[]string{"--node-priorty", "1", "--insecure"}, "node-priority"},
		"not a number":        {[]string{"--cluster-size", "many", "--insecure"}, "cluster-size"},
		"even cluster":        {[]string{"--cluster-size", "4", "--insecure"}, "cluster-size"},
		"bad seed":            {[]string{"--gossip-seed", "nowhere", "--insecure"}, "gossip-seed"},
		"unreadable file":     {[]string{"--config", "/does/not/exist.yaml", "--insecure"}, "/does/not/exist.yaml"},
		"port in use":         {[]string{"--insecure", "--node-port", inUse, "--replication-port", "0"}, inUse},
		"no certificate":      {[]string{"--node-port", "0", "--replication-port", "0", "--cluster-size", "3"}, "certificate"},
		"certificate missing": {[]string{"--certificate-file", "/does/not/exist.crt", "--certificate-private-key-file", "/does/not/exist.key"}, "/does/not/exist"},
	} {
		t.Run(name, func(t *testing.T) {
			db := filepath.Join(t.TempDir(), "db")
			cmd := exec.Command(binary, append([]string{"serve", "--db", db}, c.args...)...)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			watchdog := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
			err := cmd.Wait()
			if !watchdog.Stop() {
				t.Fatalf("it did not end within a minute\n%s", out.String())
			}
			if err == nil {
				t.Fatalf("exit code 0\n%s", out.String())
			}
			text := strings.TrimSpace(out.String())
			if !strings.Contains(text, c.want) {
				t.Errorf("%q does not mention %q", text, c.want)
			}
			if lines := strings.Count(text, "\n") + 1; lines > 2 {
				t.Errorf("%d lines, want one:\n%s", lines, text)
			}
			if entries, err := os.ReadDir(db); err == nil && len(entries) > 0 {
				t.Errorf("it wrote %v", entries)
			}
		})
	}
}

// Goal: a second process on the same data directory is refused, and the first goes on.
func TestSecondProcessIsRefused(t *testing.T) {
	t.Parallel()
	f := startFleet(t, fleet.Options{Nodes: 1, ClusterSize: 1}, 0, 0)
	n := f.Nodes[0]
	ports, err := fleet.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(f.Binary, "serve", "--db", n.Dir, "--insecure", "--node-port", fmt.Sprint(ports[0]), "--replication-port", fmt.Sprint(ports[1])).CombinedOutput()
	if err == nil {
		t.Fatal("the second process started")
	}
	if !contains(out, "lock") && !contains(out, "use") {
		t.Errorf("the reason is not named: %s", out)
	}
	if err := fleet.Await(formWithin, "an answer of the first process", func() (bool, string) {
		_, err := n.View()
		return err == nil, fmt.Sprint(err)
	}); err != nil {
		t.Fatal(err)
	}
}

// Goal: garbage on either port harms nobody.
func TestGarbageOnEveryPort(t *testing.T) {
	t.Parallel()
	f := startFleet(t, fleet.Options{Nodes: 3}, 2, 0)
	l := startLoad(t, f, 8)
	l.flow(t)
	garbage := make([]byte, 64<<10)
	rand.Read(garbage)
	frames := [][]byte{
		garbage, garbage[:1], bytes.Repeat([]byte{0}, 4096), bytes.Repeat([]byte{255}, 4096),
		[]byte("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"),
		[]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + string(garbage[:512])),
		[]byte("POST /cluster/promote HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzzzz\r\n"),
	}
	for _, n := range f.Nodes {
		for _, port := range []int{n.ClientPort, n.PeerPort} {
			for i, frame := range frames {
				c, err := net.DialTimeout("tcp", fmt.Sprintf("%s:%d", fleet.Host, port), time.Minute)
				if err != nil {
					t.Fatalf("frame %d on port %d of %s: %v", i, port, n.Name, err)
				}
				c.SetDeadline(time.Now().Add(2 * time.Second))
				c.Write(frame)
				if tcp, ok := c.(*net.TCPConn); ok {
					tcp.CloseWrite()
				}
				buf := make([]byte, 4096)
				for {
					if _, err := c.Read(buf); err != nil {
						break
					}
				}
				c.Close()
			}
		}
	}
	l.flow(t)
	l.verify(t)
	for _, n := range f.Nodes {
		if !n.Running() {
			t.Errorf("%s has died", n.Name)
		}
	}
}

// Goal: requests that make no sense are refused with a reason and change nothing.
func TestWrongRequests(t *testing.T) {
	t.Parallel()
	f := startFleet(t, fleet.Options{Nodes: 3}, 2, 0)
	// A machine that stands still may bring an election that nobody asked for, which moves leadership too: then all are
	// sent again. Leadership that moves each time moves for one of them.
	leader := inRole(t, f, "Leader")
	for tries := 1; !wrongRequests(t, f, leader); tries++ {
		if tries == 4 {
			t.Fatal("leadership moves each time")
		}
		leader = inRole(t, f, "Leader")
	}
	t.Run("node that is down", func(t *testing.T) {
		down := inRole(t, f, "Follower")
		down.Kill()
		err := fleet.Await(formWithin, "a refusal", func() (bool, string) {
			status, body, err := leader.Do("POST", "/cluster/promote", map[string]any{"node": down.Name})
			if err != nil {
				return false, err.Error()
			}
			return status == 409 && contains(body, down.Name), fmt.Sprintf("%d %s", status, body)
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// wrongRequests sends them to the leader and checks the answers; still tells that leadership did not move meanwhile.
func wrongRequests(t *testing.T, f *fleet.Fleet, leader *fleet.Node) (still bool) {
	before := term(t, f)
	for name, c := range map[string]struct {
		method, path string
		body         any
		status       []int
		want         string
	}{
		"unknown field":      {"POST", "/cluster/promote", map[string]any{"node": "n1", "force": true}, []int{400}, "force"},
		"unknown node":       {"POST", "/cluster/promote", map[string]any{"node": "n99"}, []int{404}, "n99"},
		"leader already":     {"POST", "/cluster/promote", map[string]any{"node": leader.Name}, []int{409}, "already"},
		"unknown role":       {"POST", "/cluster/promote", map[string]any{"node": "n1", "as": "king"}, []int{400}, "leader"},
		"even size":          {"POST", "/cluster/size", map[string]any{"size": 4}, []int{400, 409, 422}, "4"},
		"size zero":          {"POST", "/cluster/size", map[string]any{"size": 0}, []int{400, 409, 422}, "0"},
		"unknown member":     {"DELETE", "/cluster/members/n99", nil, []int{404}, "n99"},
		"priority no number": {"POST", "/admin/node/priority/high", nil, []int{400}, "whole number"},
		"unknown path":       {"GET", "/no/such/path", nil, []int{404}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			status, body, err := leader.Do(c.method, c.path, c.body)
			if err != nil {
				t.Fatal(err)
			}
			if term(t, f) != before {
				return
			}
			ok := false
			for _, s := range c.status {
				ok = ok || s == status
			}
			if !ok || !contains(body, c.want) {
				t.Errorf("status %d (want %v): %s", status, c.status, body)
			}
		})
	}
	return term(t, f) == before
}
