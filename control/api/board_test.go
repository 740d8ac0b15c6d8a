package api

import (
	"encoding/json"
	"testing"

	"baton/control/engine"
	"baton/control/inventory"
)

// TestBoardIsMadeOnceForAll: whoever asks within a moment gets the list that
// was made, its JSON is that of its rows, and what was journaled since is in
// the next one at once.
func TestBoardIsMadeOnceForAll(t *testing.T) {
	s := newSite(t)
	rows, encoded := s.srv.board()
	if len(rows) != 2 || rows[0].Generation != rows[1].Generation {
		t.Fatalf("%+v", rows)
	}
	var decoded []ClusterSummary
	if err := json.Unmarshal(encoded, &decoded); err != nil || len(decoded) != len(rows) || decoded[0].ID != rows[0].ID || decoded[0].Verdict != rows[0].Verdict {
		t.Errorf("JSON %s: %v", encoded, err)
	}
	s.srv.shown.at = s.srv.shown.at.Add(boardAge * 1000) // does not grow old
	if again, _ := s.srv.board(); &again[0] != &rows[0] {
		t.Error("it was made anew within a moment")
	}
	if err := s.inv.Register(t.Context(), inventory.Spec{ID: "third", Engine: engine.Redis, Members: []inventory.Member{{Name: "y", Address: "127.0.0.1:7010"}}}); err != nil {
		t.Fatal(err)
	}
	if rows, _ := s.srv.board(); len(rows) != 3 {
		t.Errorf("%d clusters after a third was registered", len(rows))
	}
	rows, _ = s.srv.board()
	s.srv.shown.at = s.srv.shown.at.Add(-boardAge * 10_000)
	if again, _ := s.srv.board(); &again[0] == &rows[0] {
		t.Error("an old one is given again")
	}
}
