package audit

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"baton/control/journal"
)

// TestChain: records read back verify, a second log continues the chain, and
// any change, removal or exchange of records is found.
func TestChain(t *testing.T) {
	j := journal.NewMemory(time.Now)
	ctx := context.Background()
	for i := range 6 {
		log := NewLog(j) // a restart before each record
		if _, err := log.Append(ctx, Record{ID: string(rune('a' + i)), Cluster: "c", What: "tried", Outcome: Refused, At: time.Unix(int64(i), 0)}); err != nil {
			t.Fatal(err)
		}
	}
	read := func() (out []Record) {
		page, err := j.Read(ctx, Stream("c"), 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page {
			var r Record
			if err := json.Unmarshal(e.Data, &r); err != nil {
				t.Fatal(err)
			}
			out = append(out, r)
		}
		return out
	}
	records := read()
	if len(records) != 6 {
		t.Fatalf("%d records", len(records))
	}
	if bad := Verify(records); bad != -1 {
		t.Fatalf("intact chain breaks at %d", bad)
	}
	changed := read()
	changed[2].What = "did not try"
	if bad := Verify(changed); bad != 2 {
		t.Errorf("changed record found at %d", bad)
	}
	changed[2].Hash = changed[2].hash() // whoever recomputes the hash breaks the next link
	if bad := Verify(changed); bad != 3 {
		t.Errorf("re-hashed record found at %d", bad)
	}
	if bad := Verify(append(read()[:3], read()[4:]...)); bad != 3 {
		t.Errorf("removed record found at %d", bad)
	}
}

// TestTwoLogs: two logs over one journal never fork the chain.
func TestTwoLogs(t *testing.T) {
	j := journal.NewMemory(time.Now)
	a, b := NewLog(j), NewLog(j)
	done := make(chan error, 20)
	for i := range 20 {
		l := a
		if i%2 == 1 {
			l = b
		}
		go func() {
			var err error
			for range 20 { // more writers than an Append retries by itself
				if _, err = l.Append(context.Background(), Record{Cluster: "c"}); err == nil {
					break
				}
			}
			done <- err
		}()
	}
	for range 20 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	page, _ := j.Read(context.Background(), Stream("c"), 0, 100)
	var records []Record
	for _, e := range page {
		var r Record
		if err := json.Unmarshal(e.Data, &r); err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	if len(records) != 20 || Verify(records) != -1 {
		t.Errorf("%d records, first bad %d", len(records), Verify(records))
	}
}
