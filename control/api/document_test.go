package api

import (
	"encoding/json"
	"testing"
)

// TestDocument: the document is valid JSON, describes every promised route and
// nulls where references may be absent.
func TestDocument(t *testing.T) {
	b, err := Document()
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths      map[string]map[string]any
		Components struct {
			Schemas map[string]struct {
				Properties map[string]json.RawMessage
				Required   []string
			}
		}
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"/setup-state", "/setup", "/login", "/logout", "/session", "/clusters", "/clusters/{id}",
		"/clusters/{id}/nodes/{node}/report", "/clusters/{id}/plan", "/clusters/{id}/promotions", "/operations/{id}",
		"/operations/{id}/undo", "/clusters/{id}/audit", "/events", "/version", "/hosts"} {
		if doc.Paths[Prefix+p] == nil {
			t.Errorf("no path %s", p)
		}
	}
	if got := string(doc.Components.Schemas["ClusterSummary"].Properties["primary"]); got == "" || !json.Valid([]byte(got)) {
		t.Errorf("primary: %s", got)
	}
	if again, _ := Document(); string(again) != string(b) {
		t.Error("two documents differ")
	}
}
