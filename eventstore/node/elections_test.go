package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

// lines is a log in memory.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Split(strings.TrimSpace(l.text.String()), "\n")
}

// Goal: a node that stands in vain says of each voter what kept its vote, in the log and when asked.
func TestCandidateInVainSaysWhyOfEachVoter(t *testing.T) {
	t.Parallel()
	log := &lines{}
	c := newCluster(t, 3, 3, func(i int, cfg *Config) {
		if i == 0 {
			cfg.Logger = slog.New(slog.NewJSONHandler(log, nil))
		}
	})
	c.startAll()
	eventually(t, "a leader", func() error {
		if ready, why := c.nodes[0].Ready(); !ready {
			return errors.New(why)
		}
		return nil
	})
	c.stop(1)
	c.stop(2)
	var found Election
	eventually(t, "a candidacy in vain", func() error {
		for _, e := range c.nodes[0].Elections() {
			if e.Outcome == "timed-out" {
				found = e
				return nil
			}
		}
		return errors.New("none yet")
	})
	if len(found.Answers) != 2 || found.Granted != 1 || found.Needed != 2 || found.Voters != 3 || found.Times < 1 || found.Stage == "" {
		t.Errorf("%+v", found)
	}
	for _, a := range found.Answers {
		if a.Name != "n1" && a.Name != "n2" || a.Answer == "no-answer" && !strings.Contains(a.Detail, ": ") || !strings.Contains(found.Reason, a.Name+": ") {
			t.Errorf("%+v in %q", a, found.Reason)
		}
	}
	told := false
	for _, line := range log.all() {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil || fields["level"] == nil || fields["time"] == nil {
			t.Fatalf("a line of the log is not one JSON object: %q", line)
		}
		if fields["msg"] == "election timed-out" && fields["reason"] != "" {
			told = true
		}
	}
	if !told {
		t.Error("the log does not say why")
	}
}

// Goal: a node cut off for a day fills neither the memory nor the log.
func TestCandidaciesThatEndAlikeAreOne(t *testing.T) {
	t.Parallel()
	var c candidacies
	at := ticksTime(1)
	told := 0
	failed := func() *Election {
		return &Election{At: at, Began: at, Outcome: "timed-out", Stage: "pre-vote", Times: 1, Answers: []ElectionAnswer{{Member: 2, Answer: "no-answer"}}}
	}
	for range 1000 {
		at = at.Add(1_000_000_000)
		if c.add(failed()) {
			told++
		}
	}
	if len(c.list) != 1 || c.list[0].Times != 1000 || told < 30 || told > 40 || !c.list[0].Began.Before(c.list[0].At) {
		t.Errorf("%d candidacies, %d lines, %+v", len(c.list), told, c.list[0])
	}
	for i := range 100 {
		e := failed()
		if i%2 == 0 {
			e.Outcome = "won"
		}
		c.add(e)
	}
	if len(c.list) != maxElections {
		t.Errorf("%d candidacies are kept", len(c.list))
	}
}
