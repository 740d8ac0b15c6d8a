package health_test

import (
	"fmt"
	"strings"
	"testing"

	"baton/control/health"
	"baton/control/health/facttest"
)

// TestVerdicts: facts in, one sentence out, and one for every node.
func TestVerdicts(t *testing.T) {
	facttest.Run(t, "testdata/verdicts.txt", func(s *facttest.Story) string {
		v := health.Judge(&s.Snapshot)
		var b strings.Builder
		fmt.Fprintf(&b, "%s | %s\n", v.Level, v.Sentence)
		for i := range s.Nodes {
			st := health.StatusOf(&s.Nodes[i])
			fmt.Fprintf(&b, "%s: %s | %s\n", s.Nodes[i].Name, st.Level, st.Sentence)
		}
		return b.String()
	})
}
