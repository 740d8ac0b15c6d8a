package rpc_test

import (
	"encoding/json"
	"net/http"
	"testing"
)

func TestStatsAreReadByBranch(t *testing.T) {
	t.Parallel()
	s := newHouse(t, houseOptions{}).leader()
	mustWrite(t, s, "s", event("t", "1"))
	var appends map[string]string
	if code, body := s.get(t, "/stats/es/appends"); code != http.StatusOK || json.Unmarshal([]byte(body), &appends) != nil || appends["done"] != "1" {
		t.Errorf("%d %s", code, body)
	}
	var done string
	if code, body := s.get(t, "/stats/es/appends/done"); code != http.StatusOK || json.Unmarshal([]byte(body), &done) != nil || done != "1" {
		t.Errorf("%d %s", code, body)
	}
	var others []any
	if code, body := s.get(t, "/stats/replication"); code != http.StatusOK || json.Unmarshal([]byte(body), &others) != nil || others == nil || len(others) != 0 {
		t.Errorf("%d %s", code, body)
	}
	for _, path := range []string{"/stats/nothing", "/stats/es/appends/done/more"} {
		if code, body := s.get(t, path); code != http.StatusNotFound {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	var won struct {
		Node      string           `json:"node"`
		Elections []map[string]any `json:"elections"`
	}
	if code, body := s.get(t, "/cluster/elections"); code != http.StatusOK || json.Unmarshal([]byte(body), &won) != nil || won.Node != "n0" || won.Elections == nil {
		t.Errorf("%d %s", code, body)
	}
}
