package sim

import (
	"strings"
	"testing"
	"time"
)

// Goal: the order checker is not blind. Method: histories made by hand, good and bad.
func TestOrderChecker(t *testing.T) {
	acked := func(client int, first int64, n int, call, ret time.Duration) *op {
		return &op{client: client, stream: "s", ids: make([][16]byte, n), first: first, call: call, ret: ret, state: opAcked}
	}
	cases := []struct {
		name string
		ops  []*op
		want string
	}{
		{"concurrent in any order", []*op{acked(1, 1, 1, 1, 10), acked(2, 0, 1, 2, 9)}, ""},
		{"one after the other", []*op{acked(1, 0, 3, 1, 2), acked(2, 3, 1, 3, 4)}, ""},
		{"later call, smaller revision", []*op{acked(1, 1, 1, 1, 2), acked(2, 0, 1, 3, 4)}, "began later"},
		{"shared revision", []*op{acked(1, 0, 2, 1, 5), acked(2, 1, 1, 2, 6)}, "share revision"},
		{"unknown outcomes are no evidence", []*op{{stream: "s", call: 1}, acked(2, 0, 1, 3, 4)}, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := history{ops: c.ops}
			err := h.order()
			if c.want == "" && err != nil {
				t.Fatal(err)
			}
			if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
}
