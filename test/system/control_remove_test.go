package system

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"baton/test/fleet"
)

// command runs the program against one node and returns all it printed.
func (s *controlNodes) command(n *controlNode, args ...string) (string, error) {
	cmd := exec.Command(s.binary, args...)
	cmd.Env = append(os.Environ(), "BATON_SERVER=http://"+n.listen, "BATON_TOKEN="+s.token)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// refused runs a command that must never succeed until it is refused with the words: while control nodes elect there
// are others.
func (s *controlNodes) refused(n *controlNode, words string, args ...string) {
	s.t.Helper()
	if err := fleet.Await(startWithin, "a refusal with "+words, func() (bool, string) {
		out, err := s.command(n, args...)
		if err == nil {
			s.t.Fatalf("baton %s was carried out: %s", strings.Join(args, " "), out)
		}
		return strings.Contains(out, words), out
	}); err != nil {
		s.t.Fatal(err)
	}
}

// TestAControlNodeIsTakenOutForGood: one of three control nodes is lost. It is
// taken out by the command, through a node that does not lead, after it was
// refused while the node still ran; two go on with one vote, and a new machine
// takes the name and the third vote.
func TestAControlNodeIsTakenOutForGood(t *testing.T) {
	t.Parallel()
	s := startControlNodes(t)
	leader := s.settled(3)
	lost := s.other(leader)
	var through *controlNode
	for _, n := range s.nodes {
		if n != leader && n != lost {
			through = n
		}
	}
	s.refused(through, "stop it there first", "control", "remove", lost.name)
	s.refused(through, "no control node nobody", "control", "remove", "nobody")
	lost.kill()
	var out string
	if err := fleet.Await(startWithin, "the removal of "+lost.name, func() (bool, string) { // until it is known to be down
		var err error
		out, err = s.command(through, "control", "remove", lost.name)
		return err == nil, out
	}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out, lost.name+" is removed") || !strings.Contains(out, "wipe its data directory") {
		t.Errorf("it said %s", out)
	}
	s.members(leader, 2, 1)
	s.members(through, 2, 1)
	if out, err := s.command(through, "control", "status"); err != nil || strings.Contains(out, lost.name+" ") {
		t.Errorf("the status still lists %s: %v\n%s", lost.name, err, out)
	}
	s.refused(through, "no control node "+lost.name, "control", "remove", lost.name)

	if err := os.RemoveAll(lost.dir); err != nil {
		t.Fatal(err)
	}
	token, err := s.command(leader, "control", "token")
	_, token, found := strings.Cut(token, "--join ")
	if err != nil || !found {
		t.Fatalf("no token for a new node: %v %s", err, token)
	}
	lost.start(s.binary, "--join", strings.Fields(token)[0])
	s.members(lost, 3, 2)
	s.settled(3)
	var page struct {
		Rows []struct{ What, Outcome string }
	}
	u := s.at(leader)
	if _, err := u.call("GET", "/activity?limit=200", nil, &page); err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, r := range page.Rows {
		if strings.Contains(r.What, "remove") {
			counts[r.Outcome]++
		}
	}
	if counts["done"] != 1 || counts["refused"] < 3 {
		t.Errorf("the audit has %v of removals", counts)
	}
}

// members waits until a node shows so many control nodes, all up, of which so
// many must answer.
func (s *controlNodes) members(n *controlNode, count, needed int) {
	s.t.Helper()
	if err := fleet.Await(startWithin, fmt.Sprintf("%d control nodes as %s shows them", count, n.name), func() (bool, string) {
		var v controlView
		if _, err := s.at(n).call("GET", "/control", nil, &v); err != nil {
			return false, err.Error()
		}
		up := 0
		for _, x := range v.Nodes {
			if x.Up {
				up++
			}
		}
		return len(v.Nodes) == count && up == count && v.Leader != "" && v.Majority && v.Quorum.Needed == needed, fmt.Sprintf("%+v", v)
	}); err != nil {
		s.t.Fatal(err)
	}
}
