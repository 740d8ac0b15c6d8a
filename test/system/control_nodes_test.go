package system

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"baton/control/engine"
	"baton/control/engine/redis/redistest"
	"baton/test/fleet"
)

// controlNodes are three control nodes, one agent and three Redis servers, each
// a process of its own.
type controlNodes struct {
	upSite // its listen is the node that is asked
	nodes  []*controlNode
	agent  *exec.Cmd
	cookie *http.Cookie
}

type controlNode struct {
	t                     *testing.T
	name, dir             string
	listen, agents, peers string
	cmd                   *exec.Cmd
	mu                    sync.Mutex
	text                  strings.Builder
	ended                 chan struct{}
}

func (n *controlNode) output() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.String()
}

// start starts the node and waits until it serves.
func (n *controlNode) start(binary string, extra ...string) {
	n.t.Helper()
	args := append([]string{"control", "--data", n.dir, "--name", n.name, "--listen", n.listen, "--agent-listen", n.agents, "--peer-listen", n.peers}, extra...)
	n.cmd = exec.Command(binary, args...)
	r, w := io.Pipe()
	n.cmd.Stdout, n.cmd.Stderr = w, w
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.ended = make(chan struct{})
	ready := make(chan struct{})
	go func() {
		lines, once := bufio.NewScanner(r), sync.OnceFunc(func() { close(ready) })
		for lines.Scan() {
			n.mu.Lock()
			n.text.WriteString(lines.Text() + "\n")
			n.mu.Unlock()
			if strings.HasPrefix(lines.Text(), "Commands") {
				once()
			}
		}
	}()
	cmd, ended := n.cmd, n.ended
	go func() {
		_ = cmd.Wait()
		w.Close()
		close(ended)
	}()
	select {
	case <-ready:
	case <-ended:
		n.t.Fatalf("control node %s ended:\n%s", n.name, n.output())
	case <-time.After(startWithin):
		n.t.Fatalf("control node %s does not start:\n%s", n.name, n.output())
	}
}

func (n *controlNode) kill() {
	_ = n.cmd.Process.Kill()
	<-n.ended
}

// found is what the newest line of the output that matches says.
func (n *controlNode) found(pattern string) string {
	n.t.Helper()
	all := regexp.MustCompile(pattern).FindAllStringSubmatch(n.output(), -1)
	if len(all) == 0 {
		n.t.Fatalf("control node %s did not print %s:\n%s", n.name, pattern, n.output())
	}
	return all[len(all)-1][1]
}

func startControlNodes(t *testing.T) *controlNodes {
	t.Helper()
	redistest.Binary(t)
	binary, err := fleet.Binary()
	if err != nil {
		t.Fatal(err)
	}
	ports, err := fleet.FreePorts(9)
	if err != nil {
		t.Fatal(err)
	}
	at := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	s := &controlNodes{upSite: upSite{t: t, binary: binary, data: t.TempDir()}}
	for i := range 3 {
		n := &controlNode{t: t, name: fmt.Sprintf("c%d", i+1), listen: at(i), agents: at(3 + i), peers: at(6 + i)}
		n.dir = filepath.Join(s.data, n.name)
		var extra []string
		if i > 0 {
			extra = []string{"--join", s.nodes[i-1].found(`Add a node .*--join (\S+)`)}
		}
		n.start(binary, extra...)
		t.Cleanup(func() {
			n.kill()
			if t.Failed() {
				t.Logf("%s:\n%s", n.name, n.output())
			}
		})
		s.nodes = append(s.nodes, n)
	}
	b, err := os.ReadFile(filepath.Join(s.nodes[2].dir, "cli-token")) // the last one got it by joining
	if err != nil {
		t.Fatal(err)
	}
	s.token, s.listen = strings.TrimSpace(string(b)), s.nodes[0].listen
	s.settled(3)
	return s
}

type controlView struct {
	Nodes []struct {
		Name, Role string
		Up, Self   bool
	}
	Leader, Sentence string
	Majority         bool
	StaleSeconds     int
	Quorum           struct{ Needed, Alive int }
}

// settled waits until every running node agrees on a leader and sees so many
// voters, and returns the leader.
func (s *controlNodes) settled(alive int) *controlNode {
	s.t.Helper()
	var leader *controlNode
	err := fleet.Await(startWithin, fmt.Sprintf("%d control nodes that agree", alive), func() (bool, string) {
		leader = nil
		name := ""
		for _, n := range s.nodes {
			if n.gone() {
				continue
			}
			var v controlView
			if _, err := s.at(n).call("GET", "/control", nil, &v); err != nil {
				return false, err.Error()
			}
			if v.Leader == "" || name != "" && v.Leader != name || v.Quorum.Alive != alive || v.Quorum.Needed != 2 || len(v.Nodes) != 3 {
				return false, fmt.Sprintf("%s: %+v", n.name, v)
			}
			name = v.Leader
		}
		i := slices.IndexFunc(s.nodes, func(n *controlNode) bool { return n.name == name })
		if i < 0 || s.nodes[i].gone() {
			return false, "the leader is " + name
		}
		leader = s.nodes[i]
		return true, ""
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return leader
}

func (n *controlNode) gone() bool {
	select {
	case <-n.ended:
		return true
	default:
		return false
	}
}

// at is the site as one node shows it.
func (s *controlNodes) at(n *controlNode) *upSite {
	u := s.upSite
	u.listen = n.listen
	return &u
}

// other is a node that runs and is not n.
func (s *controlNodes) other(n *controlNode) *controlNode {
	for i := range s.nodes {
		if o := s.nodes[(slices.Index(s.nodes, n)+1+i)%len(s.nodes)]; o != n && !o.gone() {
			return o
		}
	}
	s.t.Fatal("no other control node runs")
	return nil
}

// startAgent joins an agent through one control node and puts the Redis
// cluster "cache" under it.
func (s *controlNodes) startAgent(through *controlNode) {
	s.t.Helper()
	var instances []engine.Instance
	for _, r := range redistest.Cluster(s.t, 3) {
		in := r.Instance
		in.Cluster = "cache"
		instances = append(instances, in)
		s.redis = append(s.redis, redisNode{Name: in.Node, Port: in.Port, c: redis.NewClient(&redis.Options{Addr: in.Address(), Password: redistest.Password,
			Protocol: 2, MaxRetries: -1, DialTimeout: 2 * time.Second, ReadTimeout: 8 * time.Second, DisableIdentity: true})})
	}
	dir := filepath.Join(s.data, "agent")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		s.t.Fatal(err)
	}
	b, _ := json.Marshal(instances)
	if err := os.WriteFile(filepath.Join(dir, "instances.json"), b, 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.agent = exec.Command(s.binary, "agent", "--data", dir, "--name", "host-1")
	s.agent.Env = append(os.Environ(), "BATON_JOIN_TOKEN="+through.found(`Add a host .*--join (\S+)`))
	var text bytes.Buffer
	s.agent.Stdout, s.agent.Stderr = &text, &text
	if err := s.agent.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = s.agent.Process.Kill()
		_ = s.agent.Wait()
		if s.t.Failed() {
			s.t.Logf("agent:\n%s", text.String())
		}
	})
}

// signIn makes the first user through one node and keeps the session.
func (s *controlNodes) signIn(through *controlNode) {
	s.t.Helper()
	link := s.nodes[0].found(`First user +\S+#token=(\S+)`)
	body, _ := json.Marshal(map[string]string{"token": link, "username": "ann", "password": "violet hammer 7 river"})
	req, _ := http.NewRequest("POST", "http://"+through.listen+"/api/v1/setup", bytes.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Origin", "http://"+through.listen)
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	if text, _ := io.ReadAll(res.Body); res.StatusCode != 200 || len(res.Cookies()) != 1 {
		s.t.Fatalf("set-up through %s: %d %s", through.name, res.StatusCode, text)
	}
	s.cookie = res.Cookies()[0]
}

// session asks a node, with the session, for a path that is answered by the
// journal and one that is answered by what the leader sees.
func (s *controlNodes) session(n *controlNode) error {
	for _, path := range []string{"/session", "/clusters"} {
		req, _ := http.NewRequest("GET", "http://"+n.listen+"/api/v1"+path, nil)
		req.AddCookie(s.cookie)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		text, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != 200 {
			return fmt.Errorf("GET %s on %s with the session: %d %s", path, n.name, res.StatusCode, text)
		}
	}
	return nil
}

// ended counts an operation's records in the audit.
func (s *controlNodes) audited(u *upSite, id string) (n int, intact bool) {
	var page struct {
		Rows  []struct{ OperationID *string }
		Chain struct{ OK bool }
	}
	if _, err := u.call("GET", "/clusters/cache/audit?limit=500", nil, &page); err != nil {
		s.t.Error(err)
	}
	for _, r := range page.Rows {
		if r.OperationID != nil && *r.OperationID == id {
			n++
		}
	}
	return n, page.Chain.OK
}

// TestControlLeaderKilled: three control nodes, an agent with real Redis. Any
// node takes the request of a promotion; the leader is killed at moments spread
// over it, and right before and after the commit. Another node takes over and
// leads the operation to done or back: one primary, one audit record, nothing
// acknowledged lost, and people stay signed in. With two of three gone the last
// one says so, shows what it has, and changes nothing.
func TestControlLeaderKilled(t *testing.T) {
	t.Parallel()
	rounds := []string{"random", "random", "before", "random", "after", "random", "random"}
	if testing.Short() {
		rounds = []string{"random", "after"}
	}
	s := startControlNodes(t)
	leader := s.settled(3)
	s.signIn(s.other(leader))
	s.startAgent(s.other(leader))
	s.listen = s.other(leader).listen
	primary := s.healthy()
	w := s.writer("h")
	states, at := map[string]int{}, map[string]int{}
	for i, moment := range rounds {
		follower := s.other(leader)
		u := s.at(follower)
		next := s.redis[(slices.IndexFunc(s.redis, func(n redisNode) bool { return n.Name == primary })+1)%len(s.redis)].Name
		id := u.promote(next) // through a node that does not lead
		switch moment {
		case "random":
			<-time.After(time.Duration(i*i)*time.Millisecond + time.Duration(rand.IntN(40_000))*time.Microsecond)
		case "before":
			s.reaches(u, id, func(o *operationView) bool { return started(o, "pause") || o.PastPointOfNoReturn })
		case "after":
			s.reaches(u, id, func(o *operationView) bool { return o.PastPointOfNoReturn })
		}
		began := time.Now()
		leader.kill()
		o := u.end(id, endsWithin)
		took := time.Since(began)
		states[o.State]++
		reached := "all"
		for _, st := range o.Steps {
			if st.State != "done" {
				reached = st.ID
				break
			}
		}
		at[reached]++
		if o.State == "needs-human" {
			t.Errorf("killed %s: %s", moment, o.Outcome)
		}
		want := primary
		if o.State == "done" {
			want = next
		}
		s.checkRoles(want)
		t.Logf("killed %s (%s): %s after %v, first step not done: %s", leader.name, moment, o.State, took.Round(time.Millisecond), reached)
		var records int
		var intact bool
		if err := fleet.Await(endsWithin, "one audit record", func() (bool, string) {
			records, intact = s.audited(u, id)
			return records == 1 && intact, fmt.Sprintf("%d records, chain intact: %v", records, intact)
		}); err != nil {
			t.Error(err)
		}
		for _, n := range s.nodes {
			if n.gone() {
				continue
			}
			if err := fleet.Await(endsWithin, "the session on "+n.name, func() (bool, string) { err := s.session(n); return err == nil, fmt.Sprint(err) }); err != nil {
				t.Error(err)
			}
		}
		leader.start(s.binary)
		leader = s.settled(3)
		s.listen = s.other(leader).listen
		if err := fleet.Await(rolesWithin, "the primary "+want, func() (bool, string) {
			primary = s.healthy()
			return primary == want, "it is " + primary
		}); err != nil {
			t.Errorf("killed %s: ended %s: %v", moment, o.State, err)
		}
		if err := fleet.Await(endsWithin, "the session on "+s.nodes[i%3].name, func() (bool, string) { err := s.session(s.nodes[i%3]); return err == nil, fmt.Sprint(err) }); err != nil {
			t.Error(err)
		}
	}
	w.end()
	s.checkData(w)
	t.Logf("killed %d times: %v; first step not done: %v", len(rounds), states, at)
	s.minority(leader)
}

func started(o *operationView, step string) bool {
	for _, st := range o.Steps {
		if st.ID == step {
			return st.State != "pending"
		}
	}
	return false
}

// reaches polls as fast as it can until the operation is there, or over.
func (s *controlNodes) reaches(u *upSite, id string, there func(*operationView) bool) {
	deadline := time.Now().Add(endsWithin)
	for time.Now().Before(deadline) {
		var o operationView
		if _, err := u.call("GET", "/operations/"+id, nil, &o); err == nil && (there(&o) || o.State == "done" || o.State == "rolled-back") {
			return
		}
	}
	s.t.Error("the operation did not get there")
}

// minority kills two of three: the last one says that it cannot see a majority,
// answers reads and refuses changes; all go on when one more is back.
func (s *controlNodes) minority(leader *controlNode) {
	t := s.t
	last := s.other(leader)
	for _, n := range s.nodes {
		if n != last {
			n.kill()
		}
	}
	u := s.at(last)
	var v controlView
	if err := fleet.Await(startWithin, "a node that says it is alone", func() (bool, string) {
		v = controlView{}
		_, err := u.call("GET", "/control", nil, &v)
		return err == nil && !v.Majority && strings.Contains(v.Sentence, "cannot see a majority; showing data from"), fmt.Sprintf("%+v %v", v, err)
	}); err != nil {
		t.Fatal(err)
	}
	if err := fleet.Await(startWithin, "reads without a majority", func() (bool, string) {
		var clusters struct{ Clusters []struct{ ID string } }
		_, err := u.call("GET", "/clusters", nil, &clusters)
		return err == nil && len(clusters.Clusters) == 1 && s.session(last) == nil, fmt.Sprintf("%+v %v", clusters, err)
	}); err != nil {
		t.Error(err)
	}
	if err := fleet.Await(startWithin, "a change refused without a majority", func() (bool, string) {
		status, err := u.call("POST", "/clusters/cache/promotions", map[string]any{"node": "r1", "typedName": "r1", "reportHash": "x", "generation": "1"}, &struct{}{})
		if status >= 200 && status < 300 {
			t.Errorf("a change without a majority is taken: %d", status)
		}
		return status == 503 && strings.Contains(fmt.Sprint(err), "no-majority"), fmt.Sprintf("%d %v", status, err)
	}); err != nil {
		t.Error(err)
	}
	for _, n := range s.nodes {
		if n != last {
			n.start(s.binary)
			break
		}
	}
	s.settled(2)
	s.listen = last.listen
	var o operationView
	for range 5 { // taken back, moving nothing, while a machine stands still
		s.healthy()
		id := ""
		if err := fleet.Await(endsWithin, "an accepted promotion", func() (bool, string) {
			i := slices.IndexFunc(s.redis, func(n redisNode) bool { return n.info()["role"] == "slave" }) // as the servers say: views may be of before
			if i < 0 {
				return false, "no replica"
			}
			var err error
			id, err = s.tryPromote("cache", s.redis[i].Name)
			return err == nil, fmt.Sprint(err)
		}); err != nil {
			t.Fatal(err)
		}
		if o = s.end(id, endsWithin); o.State != "rolled-back" {
			break
		}
	}
	if o.State != "done" {
		t.Errorf("with two of three nodes: %s %s", o.State, o.Outcome)
	}
}
