package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// View is the part of GET /cluster that tests look at.
type View struct {
	ClusterID   string
	ClusterSize int
	Term        string
	Leader      string
	Self        string
	Waiting     string
	Quorum      struct{ Needed, Voters, Alive int }
	Members     []Member
}

// Member is one node in a View. Positions are logical byte offsets in decimal.
type Member struct {
	ID, InstanceID, Name, Role, State string
	Alive                             bool
	NodePriority                      int
	ClientAddress, PeerAddress        string
	LogPosition, CommitPosition       string
	AppliedPosition, LagBytes         string
	IsReadOnlyReplica, Promotable     bool
	Why, WhyRole                      string
}

// Applied is the applied position as a number.
func (m Member) Applied() uint64 {
	v, _ := strconv.ParseUint(m.AppliedPosition, 10, 64)
	return v
}

// ByName returns the member of that name, or nil.
func (v *View) ByName(name string) *Member {
	for i := range v.Members {
		if v.Members[i].Name == name {
			return &v.Members[i]
		}
	}
	return nil
}

// Count returns how many alive members have the role.
func (v *View) Count(role string) int {
	c := 0
	for _, m := range v.Members {
		if m.Role == role && m.Alive {
			c++
		}
	}
	return c
}

// url of a path on this node.
func (n *Node) url(path string) string {
	if n.fleet.Insecure {
		return "http://" + n.Address() + path
	}
	return fmt.Sprintf("https://localhost:%d%s", n.ClientPort, path)
}

// View asks the node for its picture of the cluster.
func (n *Node) View() (*View, error) {
	status, body, err := n.Do("GET", "/cluster", nil)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("GET /cluster of %s: status %d: %s", n.Name, status, body)
	}
	var v View
	if err := json.Unmarshal(body, &v); err != nil {
		return nil, fmt.Errorf("GET /cluster of %s: %w", n.Name, err)
	}
	return &v, nil
}

// Do sends a request with a JSON body (nil: none) and returns status and answer.
func (n *Node) Do(method, path string, body any) (int, []byte, error) {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, n.url(path), r)
	if err != nil {
		return 0, nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if n.fleet.User != "" {
		req.SetBasicAuth(n.fleet.User, n.fleet.Password)
	}
	resp, err := n.fleet.HTTP.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	return resp.StatusCode, b, err
}

// Promote asks node n to promote target (name or id) as "leader" or "follower".
func (n *Node) Promote(target, as string) error {
	status, body, err := n.Do("POST", "/cluster/promote", map[string]any{"node": target, "as": as})
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("promote %s: status %d: %s", target, status, bytes.TrimSpace(body))
	}
	return nil
}

// Await polls until ok answers true. The error of the deadline tells what was awaited and the last thing ok saw.
func Await(limit time.Duration, what string, ok func() (bool, string)) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		good, seen := ok()
		if good {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not within %v; last seen: %s", what, limit, seen)
		case <-tick.C:
		}
	}
}

// AwaitRoles waits until every running node agrees on one leader and the wanted number of living followers and clones.
func (f *Fleet) AwaitRoles(limit time.Duration, followers, clones int) error {
	return Await(limit, fmt.Sprintf("one leader, %d followers, %d clones, seen alike by all", followers, clones), func() (bool, string) {
		leader := ""
		for _, n := range f.Nodes {
			if !n.Running() {
				continue
			}
			v, err := n.View()
			if err != nil {
				return false, err.Error()
			}
			seen := fmt.Sprintf("%s sees leader %q, %d leading, %d followers, %d clones %s", n.Name, v.Leader, v.Count("Leader"), v.Count("Follower"), v.Count("Clone"), v.Waiting)
			if v.Leader == "" || (leader != "" && leader != v.Leader) || v.Count("Leader") != 1 ||
				v.Count("Follower") != followers || v.Count("Clone") != clones {
				return false, seen
			}
			leader = v.Leader
		}
		return leader != "", "no node runs"
	})
}

// Leader returns the node that leads as the first answering node sees it.
func (f *Fleet) Leader() (*Node, error) {
	var last error
	for _, n := range f.Nodes {
		if !n.Running() {
			continue
		}
		v, err := n.View()
		if err != nil {
			last = err
			continue
		}
		for _, m := range v.Members {
			if m.ID == v.Leader && v.Leader != "" {
				if l := f.ByName(m.Name); l != nil {
					return l, nil
				}
			}
		}
		last = fmt.Errorf("%s sees no leader", n.Name)
	}
	return nil, last
}

// AwaitLeader waits for a leader other than not (nil: any) whom all running nodes see.
func (f *Fleet) AwaitLeader(limit time.Duration, not *Node) (*Node, error) {
	var found *Node
	err := Await(limit, "a leader", func() (bool, string) {
		found = nil
		for _, n := range f.Nodes {
			if !n.Running() {
				continue
			}
			v, err := n.View()
			if err != nil {
				return false, err.Error()
			}
			var l *Node
			for _, m := range v.Members {
				if m.ID == v.Leader && v.Leader != "" && m.Role == "Leader" {
					l = f.ByName(m.Name)
				}
			}
			if l == nil || l == not || (found != nil && found != l) {
				return false, fmt.Sprintf("%s sees leader %q", n.Name, v.Leader)
			}
			found = l
		}
		return found != nil, "no node runs"
	})
	return found, err
}

// ByName returns the node of that name, or nil.
func (f *Fleet) ByName(name string) *Node {
	for _, n := range f.Nodes {
		if n.Name == name {
			return n
		}
	}
	return nil
}

// AwaitSamePosition waits until all running nodes have applied the same prefix, and returns its end.
func (f *Fleet) AwaitSamePosition(limit time.Duration) (uint64, error) {
	var at uint64
	err := Await(limit, "all nodes at one applied position", func() (bool, string) {
		at = 0
		for _, n := range f.Nodes {
			if !n.Running() {
				continue
			}
			v, err := n.View()
			if err != nil {
				return false, err.Error()
			}
			for _, m := range v.Members {
				if m.ID != v.Self {
					continue
				}
				if at != 0 && m.Applied() != at {
					return false, fmt.Sprintf("%s at %d, others at %d", n.Name, m.Applied(), at)
				}
				at = m.Applied()
			}
		}
		return at != 0, "no position"
	})
	return at, err
}

// Logs returns the last lines of every node's output, for a failure's report.
func (f *Fleet) Logs(lines int) string {
	var b strings.Builder
	for _, n := range f.Nodes {
		out, err := os.ReadFile(n.LogFile)
		if err != nil {
			continue
		}
		all := strings.Split(strings.TrimRight(string(out), "\n"), "\n")
		if len(all) > lines {
			all = all[len(all)-lines:]
		}
		fmt.Fprintf(&b, "--- %s (%s)\n%s\n", n.Name, n.LogFile, strings.Join(all, "\n"))
	}
	return b.String()
}
