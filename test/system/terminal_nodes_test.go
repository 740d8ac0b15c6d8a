package system

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"baton/test/fleet"
)

// typed opens a terminal through one control node, pipes lines in and returns
// what it showed.
func (s *controlNodes) typed(n *controlNode, lines string, args ...string) (string, error) {
	cmd := exec.Command(s.binary, append([]string{"terminal"}, args...)...)
	cmd.Env = append(os.Environ(), "BATON_SERVER=http://"+n.listen, "BATON_TOKEN="+s.token)
	cmd.Stdin = strings.NewReader(lines)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestTerminalsThroughAnyControlNode: with three control nodes a terminal opens
// through one that does not lead, its recording lies sealed on the one that
// carried it, and every node hands it out; when that one is lost the others say
// which one has it, and open terminals all the same.
func TestTerminalsThroughAnyControlNode(t *testing.T) {
	t.Parallel()
	s := startControlNodes(t)
	leader := s.settled(3)
	s.startAgent(leader)
	s.listen = s.other(leader).listen
	primary := s.healthy()
	through := s.other(leader)
	out, err := s.typed(through, "SET only-in-a-terminal 1\nPING\n", "cache", primary)
	if err != nil || !strings.Contains(out, "Not carried out") || !strings.Contains(out, "PONG") {
		t.Fatalf("through %s, which does not lead: %v\n%s", through.name, err, out)
	}
	var id string
	if err := fleet.Await(endsWithin, "the session's end", func() (bool, string) {
		var list struct {
			Sessions []struct {
				ID      string
				EndedAt *string
				Bytes   int64
			}
		}
		_, err := s.at(through).call("GET", "/terminal/sessions?cluster=cache", nil, &list)
		if err != nil || len(list.Sessions) != 1 || list.Sessions[0].EndedAt == nil {
			return false, fmt.Sprintf("%+v %v", list, err)
		}
		id = list.Sessions[0].ID
		return true, ""
	}); err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, n := range s.nodes {
		found, _ := filepath.Glob(filepath.Join(n.dir, "terminals", "*.cast"))
		files = append(files, found...)
	}
	if len(files) != 1 {
		t.Fatalf("the recording lies in %q", files)
	}
	b, err := os.ReadFile(files[0])
	if err != nil || !strings.HasPrefix(string(b), "baton-seal:") || strings.Contains(string(b), "SET only-in") {
		t.Errorf("it is not sealed: %v %.100s", err, b)
	}
	for _, n := range s.nodes {
		out, err := s.command(n, "terminal", "replay", id, "--speed", "0")
		if err != nil || !strings.Contains(out, "SET only-in-a-terminal 1") || !strings.Contains(out, "PONG") {
			t.Errorf("the recording from %s: %v\n%s", n.name, err, out)
		}
	}
	leader.kill()
	next := s.settled(2)
	for _, n := range s.nodes {
		if n == leader {
			continue
		}
		if out, err := s.command(n, "terminal", "replay", id); err == nil || !strings.Contains(out, leader.name) {
			t.Errorf("a recording on a lost node, from %s: %v\n%s", n.name, err, out)
		}
	}
	if err := fleet.Await(endsWithin, "a terminal through "+s.other(next).name, func() (bool, string) { // once the agent has found the leader
		out, err := s.typed(s.other(next), "PING\n", "cache", primary)
		return err == nil && strings.Contains(out, "PONG"), fmt.Sprint(out, err)
	}); err != nil {
		t.Error(err)
	}
}
