package node

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Goal (P3): a node that lost its term and vote does not start beside its log.
func TestNodeThatForgotItsVoteDoesNotStart(t *testing.T) {
	c := newCluster(t, 1, 1, nil)
	c.start(0)
	c.waitLeader()
	c.write(0, "s", 1)
	c.stop(0)
	if err := os.Remove(filepath.Join(c.dirs[0], stateFile)); err != nil {
		t.Fatal(err)
	}
	n, err := Start(Config{Dir: c.dirs[0], ClusterSize: 1, PeerListen: c.addrs[0]})
	if err == nil {
		n.Stop()
		t.Fatal("it started without term and vote")
	}
	if !strings.Contains(err.Error(), "term and vote") {
		t.Errorf("the error is %v", err)
	}
}

// Goal: no request of a peer, however incomplete, ends the process.
func TestIncompleteRequestsAreRefused(t *testing.T) {
	c := newCluster(t, 1, 1, nil)
	c.start(0)
	c.waitLeader()
	for kind := range uint8(10) {
		for _, payload := range []string{"", "null", "{}", "[]", `{"kind":"add"}`, `{"kind":"remove"}`, `{"kind":"promote"}`, `{"value":null}`} {
			if _, err := c.nodes[0].answerRequest(context.Background(), 7, kind, []byte(payload)); err != nil {
				t.Logf("request %d %q: %v", kind, payload, err)
			}
		}
	}
	c.write(0, "s", 1)
}
