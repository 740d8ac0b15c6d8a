package system

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"baton/test/fleet"
	"baton/test/swarm"
)

// TestManyClusters: one control plane with the agents of 250 simulated nodes.
// It registers their fifty clusters by itself, finds all of them healthy, and
// shows them on the list, on a cluster's page, among the hosts and to whoever
// watches. The processor time it takes is printed; `make bench-control`
// measures thousands.
func TestManyClusters(t *testing.T) {
	t.Parallel()
	const agents, clusters, nodes = 25, 50, 5
	binary, err := fleet.Binary()
	if err != nil {
		t.Fatal(err)
	}
	ports, err := fleet.FreePorts(3)
	if err != nil {
		t.Fatal(err)
	}
	at := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	n := &controlNode{t: t, name: "c1", dir: filepath.Join(t.TempDir(), "c1"), listen: at(0), agents: at(1), peers: at(2)}
	n.start(binary)
	t.Cleanup(func() {
		n.kill()
		if t.Failed() {
			t.Logf("control node:\n%s", n.output())
		}
	})
	token, err := os.ReadFile(filepath.Join(n.dir, "cli-token"))
	if err != nil {
		t.Fatal(err)
	}
	s := &upSite{t: t, listen: n.listen, token: strings.TrimSpace(string(token))}
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	sw, err := swarm.Start(ctx, swarm.Options{Agents: agents, Clusters: clusters, Nodes: nodes, Token: func(context.Context) (string, error) {
		var made struct{ Token string }
		_, err := s.call("POST", "/hosts/join-token", map[string]any{}, &made)
		return made.Token, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sw.Close)
	type row struct {
		ID                      string
		Verdict                 struct{ Level string }
		MembersUp, MembersTotal int
	}
	whole := func(rows []row) (n int) {
		for _, c := range rows {
			if c.Verdict.Level == "healthy" && c.MembersUp == nodes && c.MembersTotal == nodes {
				n++
			}
		}
		return n
	}
	if err := fleet.Await(startWithin, "every cluster healthy", func() (bool, string) {
		var list struct{ Clusters []row }
		_, err := s.call("GET", "/clusters", nil, &list)
		return len(list.Clusters) == clusters && whole(list.Clusters) == clusters, fmt.Sprintf("%d of %d, %+v, %v", whole(list.Clusters), len(list.Clusters), sw.Stats(), err)
	}); err != nil {
		t.Fatal(err)
	}
	var page struct {
		Nodes   []struct{ Name, Role string }
		Primary *struct{ Node string }
	}
	if _, err := s.call("GET", "/clusters/"+swarm.Cluster(7), nil, &page); err != nil || len(page.Nodes) != nodes || page.Primary == nil || page.Primary.Node != swarm.Node(7, 0) {
		t.Errorf("the page of a cluster: %+v, %v", page, err)
	}
	var hosts struct{ Hosts []struct{ Connected bool } }
	if _, err := s.call("GET", "/hosts", nil, &hosts); err != nil || len(hosts.Hosts) != agents {
		t.Errorf("%d hosts, %v", len(hosts.Hosts), err)
	}
	if err := fleet.Await(startWithin, "a watcher who is told of all", func() (bool, string) {
		rows, err := watched[row](ctx, s)
		return err == nil && len(rows) == clusters && whole(rows) == clusters, fmt.Sprintf("%d of %d, %v", whole(rows), len(rows), err)
	}); err != nil {
		t.Error(err)
	}
	st := sw.Stats()
	fmt.Printf("=> | one control plane, %d agents, %d nodes of %d clusters | %d reports of %.1f KB each; %d links lost meanwhile |\n",
		agents, clusters*nodes, clusters, st.Reports, float64(st.Bytes)/float64(max(1, st.Reports))/1000, st.Lost)
}

// watched is the first list of clusters on the event stream.
func watched[T any](ctx context.Context, s *upSite) (rows []T, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+s.listen+"/api/v1/events", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 16<<20)
	for name := ""; lines.Scan(); {
		if v, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			name = v
		}
		if v, ok := strings.CutPrefix(lines.Text(), "data: "); ok && name == "clusters" {
			return rows, json.Unmarshal([]byte(v), &rows)
		}
	}
	return nil, fmt.Errorf("the stream ended: %w", lines.Err())
}
