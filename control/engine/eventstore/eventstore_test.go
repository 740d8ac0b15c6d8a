package eventstore_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"baton/control/engine"
	"baton/control/engine/enginetest"
	"baton/control/engine/eventstore"
	"baton/test/fleet"
)

// binary is baton, built once for the tests of this package.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "baton-engine-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "baton")
	out, err := exec.Command("go", "build", "-o", binary, "baton/cmd/baton").CombinedOutput()
	if err != nil {
		fmt.Fprintf(os.Stderr, "build baton: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// server is one `baton serve` process.
type server struct {
	t    *testing.T
	in   engine.Instance
	args []string
	cmd  *exec.Cmd
	log  string
}

func freePort(t *testing.T) int {
	t.Helper()
	ports, err := fleet.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	return ports[0]
}

func (s *server) start() {
	s.t.Helper()
	f, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command(binary, s.args...)
	cmd.Stdout, cmd.Stderr, cmd.Env = f, f, []string{"PATH=/usr/bin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.cmd = cmd
	s.t.Cleanup(func() {
		s.kill(cmd)
		if s.t.Failed() {
			b, _ := os.ReadFile(s.log)
			s.t.Logf("log of %s:\n%s", s.in.Node, b[max(0, len(b)-4000):])
		}
	})
}

func (s *server) kill(cmd *exec.Cmd) {
	if cmd.ProcessState == nil {
		cmd.Process.Kill()
		cmd.Wait()
	}
}

// cluster starts n nodes, three of which are voters, and waits until all know
// one leader and have caught up. The leader comes first.
func cluster(t *testing.T, d engine.Driver, n int) ([]*server, *enginetest.Cluster) {
	t.Helper()
	dir := t.TempDir()
	var servers []*server
	var peers []engine.Peer
	var seeds []string
	for i := range n {
		p := engine.Peer{Node: fmt.Sprintf("n%d", i+1), Host: "127.0.0.1", Port: freePort(t)}
		peers = append(peers, p)
		seeds = append(seeds, p.Address())
	}
	byNode := map[string]*server{}
	for i, p := range peers {
		var others []string
		for j, s := range seeds {
			if j != i {
				others = append(others, s)
			}
		}
		s := &server{t: t, log: filepath.Join(dir, p.Node+".log"),
			in: engine.Instance{Cluster: "test", Node: p.Node, Engine: engine.EventStore, Host: p.Host, Port: p.Port, Dir: filepath.Join(dir, p.Node), Peers: peers},
			args: []string{"serve", "--insecure", "--db", filepath.Join(dir, p.Node), "--node-name", p.Node, "--cluster-size", "3",
				"--node-port", strconv.Itoa(p.Port), "--replication-port", strconv.Itoa(freePort(t)), "--gossip-seed", strings.Join(others, ",")}}
		s.start()
		servers = append(servers, s)
		byNode[p.Node] = s
	}
	c := &enginetest.Cluster{}
	leader := ""
	enginetest.Eventually(t, "the cluster has formed", func() string {
		leader = ""
		for _, s := range servers {
			o, err := d.Observe(context.Background(), s.in)
			if err != nil || !o.Up || o.Role == engine.RoleUnknown || o.Err != "" {
				return fmt.Sprintf("%s: %s %s %v", s.in.Node, o.Role, o.Err, err)
			}
			if o.Role == engine.RolePrimary {
				leader = s.in.Node
			}
		}
		if leader == "" {
			return "no leader"
		}
		return ""
	})
	c.Instances = append(c.Instances, byNode[leader].in)
	for _, s := range servers {
		if s.in.Node != leader {
			c.Instances = append(c.Instances, s.in)
		}
	}
	c.Switch = func(ctx context.Context, d engine.Driver, from, to engine.Instance) ([]enginetest.Step, error) {
		var steps []enginetest.Step
		for _, s := range []enginetest.Step{
			{Instance: to, Action: engine.Action{Name: engine.Transfer, Args: map[string]string{"to": to.Node, "timeoutMs": "20000"}}},
			{Instance: to, Action: engine.Action{Name: engine.VerifyLeader, Args: map[string]string{"node": to.Node, "waitMs": "20000"}}},
			{Instance: from, Action: engine.Action{Name: engine.VerifyLeader, Args: map[string]string{"node": to.Node, "waitMs": "20000"}}},
		} {
			if _, err := d.Do(ctx, s.Instance, s.Action); err != nil {
				return steps, fmt.Errorf("%s on %s: %w", s.Action.Name, s.Instance.Node, err)
			}
			steps = append(steps, s)
		}
		return steps, nil
	}
	c.Write = func(ctx context.Context) error { return writeOnce(ctx, d, c.Instances[0]) }
	c.Stop = func(in engine.Instance) { s := byNode[in.Node]; s.kill(s.cmd) }
	c.Start = func(in engine.Instance) { byNode[in.Node].start() }
	return servers, c
}

// writeOnce appends through the driver's own appender.
func writeOnce(ctx context.Context, d engine.Driver, in engine.Instance) error {
	w, err := eventstore.NewWriter(in)
	if err != nil {
		return err
	}
	defer w.Close()
	return w.Append(ctx, "written", "written", []byte("{}"))
}

func TestConformance(t *testing.T) {
	enginetest.Run(t, enginetest.Harness{
		Driver: func() engine.Driver { return eventstore.New() },
		Start: func(t *testing.T) *enginetest.Cluster {
			d := eventstore.New()
			t.Cleanup(func() { d.Close() })
			_, c := cluster(t, d, 3)
			return c
		},
	})
}

func TestCloneBecomesVoterByNameAndReadsBack(t *testing.T) {
	d := eventstore.New()
	defer d.Close()
	_, c := cluster(t, d, 4)
	var clone engine.Instance
	enginetest.Eventually(t, "one node is a clone", func() string {
		for _, in := range c.Instances {
			o, err := d.Observe(context.Background(), in)
			if err == nil && o.Role == engine.RoleClone && o.Promotable {
				clone = in
				return ""
			}
		}
		return "none, or not promotable yet"
	})
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	a := engine.Action{Name: engine.PromoteClone, Args: map[string]string{"node": clone.Node, "timeoutMs": "40000"}}
	if done, err := d.Done(ctx, c.Instances[0], a); err != nil || done {
		t.Fatalf("before: done %v, %v", done, err)
	}
	if _, err := d.Do(ctx, c.Instances[0], a); err != nil {
		t.Fatal(err)
	}
	enginetest.Eventually(t, "the clone votes", func() string {
		if done, err := d.Done(ctx, c.Instances[0], a); err != nil || !done {
			return fmt.Sprint("not yet ", err)
		}
		if o, _ := d.Observe(ctx, clone); o.Role != engine.RoleReplica {
			return "role " + string(o.Role)
		}
		return ""
	})
	if r, err := d.Do(ctx, c.Instances[0], a); err != nil || r.Values[engine.ValueAlreadyDone] != "true" {
		t.Errorf("repeated: %v, %v", r, err)
	}
}

// TestRefusalsOfANodeAreTold speaks to a server that answers as the contract of
// the node's HTTP interface says, without a node behind it.
func TestRefusalsOfANodeAreTold(t *testing.T) {
	view := `{"clusterId":"c","clusterSize":3,"term":"7","leader":"0a","self":"0b","quorum":{"needed":2,"voters":3,"alive":2},"members":[
	 {"id":"0a","name":"n1","role":"Leader","state":"Leader","alive":false,"clientAddress":"127.0.0.1:1","logPosition":"100","lastSeenMs":900,"term":"7","commitPosition":"100","appliedPosition":"100","lagBytes":"0"},
	 {"id":"0b","name":"n2","role":"Follower","state":"Follower","alive":true,"clientAddress":"127.0.0.1:2","logPosition":"60","lastSeenMs":0,"term":"7","commitPosition":"60","appliedPosition":"60","lagBytes":"40","promotable":false,"why":"it is 40 bytes behind"}]}`
	var sent map[string]any
	srv := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/cluster":
			io.WriteString(w, view)
		case "/cluster/promote":
			sent = nil
			json.NewDecoder(r.Body).Decode(&sent)
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(409)
			io.WriteString(w, `{"title":"n2 is too far behind","detail":"it misses 40 bytes","fix":"wait a moment","code":"node-lagging","status":409}`)
		default:
			http.NotFound(w, r)
		}
	})
	in := engine.Instance{Cluster: "test", Node: "n2", Engine: engine.EventStore, Host: "127.0.0.1", Port: srv}
	d := eventstore.New()
	defer d.Close()
	ctx := context.Background()
	o, err := d.Observe(ctx, in)
	if err != nil || o.Role != engine.RoleReplica || o.LagBytes != 40 || o.LinkUp || o.LinkSilenceSeconds != 0.9 || o.Term != 7 || o.Promotable || o.Why == "" {
		t.Errorf("observation: %+v, %v", o, err)
	}
	_, err = d.Do(ctx, in, engine.Action{Name: engine.Transfer, Args: map[string]string{"to": "n2"}})
	if engine.CodeOf(err) != engine.CodeRefused || !strings.Contains(err.Error(), "40 bytes") {
		t.Errorf("refused transfer: %v", err)
	}
	if sent["node"] != "0b" || sent["as"] != "leader" {
		t.Errorf("sent %v", sent)
	}
	if _, err := d.Do(ctx, in, engine.Action{Name: engine.VerifyLeader, Args: map[string]string{"node": "n2"}}); engine.CodeOf(err) != engine.CodeRefused {
		t.Errorf("verify of another leader: %v", err)
	}
}

func TestAnswersThatAreNoAnswersAreErrors(t *testing.T) {
	for name, body := range map[string]string{"text": "hello", "wrong types": `{"members":7}`, "huge": `{"clusterId":"` + string(bytes.Repeat([]byte("x"), 2<<20)) + `"}`} {
		srv := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, body) })
		d := eventstore.New()
		in := engine.Instance{Cluster: "test", Node: "n1", Engine: engine.EventStore, Host: "127.0.0.1", Port: srv}
		if o, err := d.Observe(context.Background(), in); err != nil || o.Up || o.Err == "" {
			t.Errorf("%s: %+v, %v", name, o, err)
		}
		d.Close()
	}
}

func serveHTTP(t *testing.T, f http.HandlerFunc) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: f}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return l.Addr().(*net.TCPAddr).Port
}
