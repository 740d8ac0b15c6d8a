package rpc_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What the board and the alerts in deploy/ ask for is served, under those names.
func TestEveryFigureOfTheBoardIsServed(t *testing.T) {
	t.Parallel()
	s := newHouse(t, houseOptions{}).leader()
	mustWrite(t, s, "s", event("t", "1"))
	_, served := s.get(t, "/metrics")
	names := regexp.MustCompile(`\b(?:baton|kurrentdb|process|go)_[a-z0-9_]+`)
	for _, path := range []string{"../../deploy/grafana/event-store.json", "../../deploy/prometheus/alerts.yml"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(path, ".json") && !json.Valid(text) {
			t.Errorf("%s is no JSON", path)
		}
		asked := names.FindAllString(string(text), -1)
		slices.Sort(asked)
		asked = slices.Compact(asked)
		if len(asked) < 5 {
			t.Errorf("%s asks for %v only", path, asked)
		}
		for _, name := range asked {
			if !strings.Contains(served, "\n"+name+"{") && !strings.Contains(served, "\n"+name+" ") && !strings.Contains(served, "\n# TYPE "+name+" ") {
				t.Errorf("%s asks for %s, which is not served", path, name)
			}
		}
	}
	for _, line := range []string{
		`kurrentdb_checkpoints{name="writer",read="non-flushed"} `, `kurrentdb_statuses{name="Node",status="Leader"} `,
		`kurrentdb_grpc_method_duration_seconds_count{activity="stream-append",status="successful"} 1`, `kurrentdb_elections_count 1`,
	} {
		if !strings.Contains(served, line) {
			t.Errorf("not served: %s", line)
		}
	}
}
