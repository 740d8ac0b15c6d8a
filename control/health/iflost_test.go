package health_test

import (
	"fmt"
	"testing"

	"baton/control/health"
	"baton/control/health/facttest"
)

// TestIfLost: what the loss of each node would mean, on the facts of the verdicts' stories.
func TestIfLost(t *testing.T) {
	facttest.Run(t, "testdata/iflost.txt", func(s *facttest.Story) string {
		out := ""
		for _, n := range s.Snapshot.Nodes {
			o := health.IfLost(&s.Snapshot, n.Name)
			out += fmt.Sprintf("%s: %s | next %q\n", n.Name, o.Sentence, o.Next)
		}
		return out
	})
}
