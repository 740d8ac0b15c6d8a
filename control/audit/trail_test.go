package audit

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"strings"
	"testing"
	"time"

	"baton/control/journal"
	"baton/control/operation"
)

// edited is a journal whose streams a test changes behind everybody's back.
type edited struct {
	journal.Journal
	edit func(stream string, page []journal.Recorded) []journal.Recorded
}

func (e edited) Read(ctx context.Context, stream string, from int64, max int) ([]journal.Recorded, error) {
	if from > 0 {
		return nil, nil // everything fits on the first page
	}
	page, err := e.Journal.Read(ctx, stream, 0, 1000)
	if err != nil || e.edit == nil {
		return page, err
	}
	return e.edit(stream, page), nil
}

func fill(t *testing.T) (*journal.Memory, *Trail) {
	t.Helper()
	j := journal.NewMemory(time.Now)
	log := NewLog(j)
	for i := range 9 {
		cluster := []string{"a", "b", System}[i%3]
		_, err := log.Append(t.Context(), Record{ID: fmt.Sprintf("at-%d", i), Cluster: cluster, At: time.Unix(int64(i), 0).UTC(), Who: Who{Name: []string{"ann", "bob"}[i%2]},
			What: "tried", Outcome: []string{Done, Refused}[i%2], Kind: "people"})
		if err != nil {
			t.Fatal(err)
		}
	}
	trail := NewTrail()
	follow(t, j, trail)
	return j, trail
}

func follow(t *testing.T, j *journal.Memory, trail *Trail) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_ = j.Follow(ctx, 0, func(r journal.Recorded) error { trail.Take(r); return nil }, cancel)
}

// TestVerifyAll: an intact audit verifies; each kind of tampering is found at
// its place, with a reason that names it; also what only the heads can tell.
func TestVerifyAll(t *testing.T) {
	j, trail := fill(t)
	if err := trail.NoteHeads(t.Context(), j, time.Now()); err != nil {
		t.Fatal(err)
	}
	clusters := trail.Clusters()
	v, err := VerifyAll(t.Context(), edited{Journal: j}, clusters)
	if err != nil || v.Bad != nil || v.Records != 9 || v.Chains != 3 {
		t.Fatalf("intact: %+v %+v %v", v, v.Bad, err)
	}
	replace := func(page []journal.Recorded, i int, from, to string) []journal.Recorded {
		if !bytes.Contains(page[i].Data, []byte(from)) {
			t.Fatalf("no %q in %s", from, page[i].Data)
		}
		page[i].Data = bytes.Replace(page[i].Data, []byte(from), []byte(to), 1)
		return page
	}
	for _, c := range []struct {
		name, stream string
		edit         func([]journal.Recorded) []journal.Recorded
		cluster      string
		index        int
		why          string
	}{
		{"changed", "audit-b", func(p []journal.Recorded) []journal.Recorded { return replace(p, 1, "tried", "did") }, "b", 2, "changed after it was written"},
		{"field added", "audit-b", func(p []journal.Recorded) []journal.Recorded { return replace(p, 1, `{"id"`, `{"x":1,"id"`) }, "b", 2, "changed after"},
		{"taken out of the middle", "audit-a", func(p []journal.Recorded) []journal.Recorded { return append(p[:1:1], p[2:]...) }, "a", 2, "taken out"},
		{"first taken out", "audit-a", func(p []journal.Recorded) []journal.Recorded { return p[1:] }, "a", 1, "beginning"},
		{"last taken out", "audit-a", func(p []journal.Recorded) []journal.Recorded { return p[:2] }, "a", 3, "newest were taken out"},
		{"all taken out", "audit-b", func([]journal.Recorded) []journal.Recorded { return nil }, "b", 1, "missing"},
		{"unreadable", "audit-system", func(p []journal.Recorded) []journal.Recorded { p[2].Data = []byte("{"); return p }, System, 3, "cannot be read"},
		{"heads changed", HeadsStream, func(p []journal.Recorded) []journal.Recorded { return replace(p, 0, `"records":3`, `"records":2`) }, HeadsStream, 1, "how far"},
	} {
		got, err := VerifyAll(t.Context(), edited{j, func(stream string, page []journal.Recorded) []journal.Recorded {
			if stream == c.stream {
				return c.edit(page)
			}
			return page
		}}, clusters)
		if err != nil || got.Bad == nil || got.Bad.Index != c.index || got.Bad.Cluster != c.cluster || !strings.Contains(got.Bad.Why, c.why) {
			t.Errorf("%s: %+v %v", c.name, got.Bad, err)
		}
	}
}

// TestRewrittenChain: whoever writes a chain anew with right hashes is found by
// what was noted of it.
func TestRewrittenChain(t *testing.T) {
	j, trail := fill(t)
	if err := trail.NoteHeads(t.Context(), j, time.Now()); err != nil {
		t.Fatal(err)
	}
	other := journal.NewMemory(time.Now)
	log := NewLog(other)
	for i := range 3 {
		if _, err := log.Append(t.Context(), Record{ID: fmt.Sprint(i), Cluster: "a", What: "nothing at all"}); err != nil {
			t.Fatal(err)
		}
	}
	forged, err := other.Read(t.Context(), "audit-a", 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	got, err := VerifyAll(t.Context(), edited{j, func(stream string, page []journal.Recorded) []journal.Recorded {
		if stream == "audit-a" {
			return forged
		}
		return page
	}}, trail.Clusters())
	if err != nil || got.Bad == nil || got.Bad.Cluster != "a" || !strings.Contains(got.Bad.Why, "written anew") {
		t.Errorf("%+v %v", got.Bad, err)
	}
	before, _ := j.Read(t.Context(), HeadsStream, 0, 10)
	fresh := NewTrail()
	follow(t, j, fresh)
	if err := fresh.NoteHeads(t.Context(), j, time.Now()); err != nil {
		t.Fatal(err)
	}
	if after, _ := j.Read(t.Context(), HeadsStream, 0, 10); len(after) != len(before) {
		t.Errorf("heads are noted although nothing grew: %d, %d", len(before), len(after))
	}
}

// TestActivity: filters and pages over all clusters, newest first.
func TestActivity(t *testing.T) {
	_, trail := fill(t)
	var ids []string
	before := uint64(0)
	for {
		page, next := trail.Activity(Filter{}, before, 4)
		for _, e := range page {
			ids = append(ids, e.ID)
		}
		if before = next; next == 0 {
			break
		}
	}
	if got := strings.Join(ids, " "); got != "at-8 at-7 at-6 at-5 at-4 at-3 at-2 at-1 at-0" {
		t.Errorf("pages: %s", got)
	}
	for _, c := range []struct {
		f    Filter
		want int
	}{{Filter{Cluster: "a"}, 3}, {Filter{Who: "bob"}, 4}, {Filter{Outcome: Refused}, 4}, {Filter{Kind: "people"}, 9}, {Filter{Kind: "promotion"}, 0},
		{Filter{From: time.Unix(2, 0), To: time.Unix(5, 0)}, 3}, {Filter{Cluster: "a", Outcome: Refused}, 1}} {
		if got, _ := trail.Activity(c.f, 0, 100); len(got) != c.want {
			t.Errorf("%+v: %d, want %d", c.f, len(got), c.want)
		}
	}
	if at := trail.LastSeen("ann"); !at.Equal(time.Unix(8, 0)) {
		t.Errorf("ann was last seen %v", at)
	}
}

// TestCSV: every row has every column, and no cell is a formula.
func TestCSV(t *testing.T) {
	var b bytes.Buffer
	c, err := NewCSV(&b)
	if err != nil {
		t.Fatal(err)
	}
	ms := 4.5
	evil := []string{`=HYPERLINK("http://x","y")`, "+1", "-2+3", "@SUM(A1)", "\t=1", "plain, with \"quotes\"\nand lines"}
	for i, e := range evil {
		r := Record{Cluster: "c", What: e, Detail: e, Who: Who{Name: e}, Change: &Change{Reason: e, Stall: &operation.Stall{ProbeMs: &ms}}}
		if err := c.Write(&r, i+1); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&b).ReadAll()
	if err != nil || len(rows) != len(evil)+1 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for _, row := range rows {
		if len(row) != len(columns) {
			t.Errorf("%d columns", len(row))
		}
		for _, cell := range row {
			if strings.IndexAny(cell, "=+-@\t\r\n") == 0 {
				t.Errorf("cell %q is a formula", cell)
			}
		}
	}
	if rows[6][9] != evil[5] || rows[1][19] != "4.500" {
		t.Errorf("row %q", rows[6])
	}
}

// TestTimeline: an operation's steps and what was seen around it come in order
// of time; what lies far away does not.
func TestTimeline(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(1000+int64(s), 0) }
	o := operation.Operation{State: operation.StateDone, EndedAt: at(10), Outcome: "b is the primary"}
	o.Requested.At, o.Operation, o.Requester, o.Kind, o.Reason = at(0), "op-1", "ann", "promotion", "maintenance"
	o.Plan.Node = "b"
	o.Steps = []operation.StepRecord{{State: operation.StepDone, StartedAt: at(1), EndedAt: at(3)}, {State: operation.StepSkipped}}
	o.Steps[0].Title = "pause writes"
	o.RolesBefore = []operation.Role{{Node: "a", Role: "primary"}, {Node: "b", Role: "replica"}}
	o.RolesAfter = []operation.Role{{Node: "a", Role: "replica"}, {Node: "b", Role: "primary"}}
	got := Timeline(&o, []Moment{{At: at(2), Kind: "alert", Sentence: "link down"}, {At: at(-5000), Kind: "alert", Sentence: "long ago"}, {At: at(5000), Sentence: "much later"}})
	var lines []string
	for _, m := range got {
		lines = append(lines, m.Kind+": "+m.Sentence)
	}
	want := []string{"operation: ann asked for the promotion of b: maintenance", "step: pause writes: done after 2s", "alert: link down",
		"operation: ended done: b is the primary", "role: roles afterwards: a replica (was primary), b primary (was replica)"}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s", strings.Join(lines, "\n"))
	}
}
