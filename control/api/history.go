package api

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"baton/control/history"
)

// History is one metric of a cluster over time.
type History struct {
	Metric      string        `json:"metric"`
	Unit        string        `json:"unit"`
	StepSeconds int           `json:"step" doc:"seconds of one point; 0 where each point is one event"`
	From        time.Time     `json:"from"`
	To          time.Time     `json:"to"`
	Series      []Series      `json:"series"`
	Stalls      *StallSummary `json:"stalls,omitempty" doc:"only of metric stall"`
}

// Series is one node's points.
type Series struct {
	Node   string       `json:"node"`
	Points [][2]float64 `json:"points" doc:"[milliseconds since 1970, value]; intervals nobody saw are left out"`
}

// StallSummary sums up the write stalls of planned promotions.
type StallSummary struct {
	Count    int     `json:"count"`
	MedianMs float64 `json:"medianMs"`
	MaxMs    float64 `json:"maxMs"`
}

// Availability is for how much of the time a cluster took writes.
type Availability struct {
	Days         int      `json:"days"`
	Percent      *float64 `json:"percent" doc:"of the time that is known; null when none is"`
	KnownSeconds float64  `json:"knownSeconds" doc:"time somebody looked"`
	DownSeconds  float64  `json:"downSeconds" doc:"of that, without a primary that answers"`
	StallSeconds float64  `json:"stallSeconds" doc:"writes waited in planned promotions; counted as down"`
	Sentence     string   `json:"sentence"`
}

type historyInput struct {
	ID     string    `path:"id" maxLength:"63"`
	Metric string    `query:"metric" enum:"lag,writes,memory,diskFree,stall" default:"writes"`
	From   time.Time `query:"from" doc:"an hour ago when left out"`
	To     time.Time `query:"to"`
	Step   int       `query:"step" minimum:"0" maximum:"86400" doc:"seconds; made coarser where nothing as fine is kept"`
}

type availabilityInput struct {
	ID   string `path:"id" maxLength:"63"`
	Days int    `query:"days" minimum:"1" maximum:"90" default:"30"`
}

func (s *Server) historyRoutes() {
	add(s, "history", "GET", "/clusters/{id}/history", "A metric over time", s.getHistory)
	add(s, "availability", "GET", "/clusters/{id}/availability", "For how much of the time writes were possible", s.getAvailability)
}

// defaultSpan of a history.
const defaultSpan = time.Hour

func (s *Server) getHistory(_ context.Context, in *historyInput) (*body[History], error) {
	c, ok := s.Inventory.Cluster(in.ID)
	if !ok {
		return nil, notFoundCluster(in.ID)
	}
	now := s.Now()
	to := in.To
	if to.IsZero() || to.After(now) {
		to = now
	}
	from := in.From
	if from.IsZero() {
		from = to.Add(-defaultSpan)
	}
	if oldest := now.Add(-history.Kept); from.Before(oldest) {
		from = oldest
	}
	if !from.Before(to) {
		return nil, &Problem{Title: "The request is not valid", Status: 400, Code: CodeBadRequest, Detail: "from is not before to", Fix: "give a time in the last 90 days as from"}
	}
	out := History{Metric: in.Metric, Unit: history.Units[in.Metric], From: from, To: to, Series: []Series{}}
	if in.Metric == "stall" {
		out.Unit = "ms"
		s.stalls(&out, c.Operations, from, to)
		return &body[History]{out}, nil
	}
	if s.History == nil {
		return nil, missing("a history")
	}
	snap, _ := s.Monitor.Snapshot(in.ID)
	for i := range snap.Nodes {
		n := snap.Nodes[i].Name
		points, step := s.History.Read(in.ID, n, in.Metric, from, to, time.Duration(in.Step)*time.Second)
		out.StepSeconds = int(step / time.Second)
		if len(points) == 0 {
			continue
		}
		series := Series{Node: n, Points: make([][2]float64, len(points))}
		for k, p := range points {
			series.Points[k] = [2]float64{float64(p.At.UnixMilli()), p.Value}
		}
		out.Series = append(out.Series, series)
	}
	return &body[History]{out}, nil
}

// stalls are the measured write stalls of the cluster's operations, by the node
// that became primary.
func (s *Server) stalls(out *History, operations []string, from, to time.Time) {
	var all []float64
	at := map[string]int{}
	for _, id := range operations {
		o, ok := s.Inventory.Operation(id)
		ms := o.Stall.Longest()
		if !ok || ms == nil || o.EndedAt.Before(from) || o.EndedAt.After(to) {
			continue
		}
		i, ok := at[o.Candidate]
		if !ok {
			i = len(out.Series)
			at[o.Candidate] = i
			out.Series = append(out.Series, Series{Node: o.Candidate})
		}
		out.Series[i].Points = append(out.Series[i].Points, [2]float64{float64(o.EndedAt.UnixMilli()), *ms})
		all = append(all, *ms)
	}
	out.Stalls = &StallSummary{Count: len(all)}
	if len(all) > 0 {
		slices.Sort(all)
		out.Stalls.MedianMs, out.Stalls.MaxMs = all[len(all)/2], all[len(all)-1]
	}
}

func (s *Server) getAvailability(_ context.Context, in *availabilityInput) (*body[Availability], error) {
	c, ok := s.Inventory.Cluster(in.ID)
	if !ok {
		return nil, notFoundCluster(in.ID)
	}
	if s.History == nil {
		return nil, missing("a history")
	}
	now := s.Now()
	from := now.AddDate(0, 0, -in.Days)
	up, known := s.History.Availability(in.ID, from, now)
	var stalled time.Duration
	for _, id := range c.Operations {
		if o, ok := s.Inventory.Operation(id); ok && o.EndedAt.After(from) {
			if ms := o.Stall.Longest(); ms != nil {
				stalled += time.Duration(*ms * float64(time.Millisecond))
			}
		}
	}
	out := Availability{Days: in.Days, KnownSeconds: known.Seconds(), DownSeconds: (known - up).Seconds(), StallSeconds: stalled.Seconds(),
		Sentence: "Nothing is known of that time yet"}
	if known > 0 {
		share := 100 * max(0, (up-stalled).Seconds()) / known.Seconds()
		out.Percent = &share
		digits := 4
		if known < 24*time.Hour {
			digits = 2
		}
		text := strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.*f", digits, share), "0"), ".")
		out.Sentence = fmt.Sprintf("Took writes for %s %% of the %s that are known", text, spanText(known))
	}
	return &body[Availability]{out}, nil
}

func spanText(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f seconds", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f minutes", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0f hours", d.Hours())
	}
	return fmt.Sprintf("%.0f days", d.Hours()/24)
}
