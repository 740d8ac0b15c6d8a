package api

import (
	"context"
	"fmt"
	"time"

	"baton/control/audit"
	"baton/control/executor"
)

// Incident is one operation with everything around it.
type Incident struct {
	Title   string          `json:"title"`
	From    time.Time       `json:"from"`
	To      time.Time       `json:"to"`
	Entries []IncidentEntry `json:"entries" doc:"oldest first"`
}

// IncidentEntry is one line of it.
type IncidentEntry struct {
	At          time.Time `json:"at"`
	Kind        string    `json:"kind" enum:"operation,step,role,alert,observed,attempt"`
	Sentence    string    `json:"sentence"`
	OperationID *string   `json:"operationId"`
}

type incidentInput struct {
	ID        string `path:"id" maxLength:"63"`
	Operation string `path:"operation" maxLength:"63"`
}

// maxAround bounds the audit records joined into an incident.
const maxAround = 300

func (s *Server) getIncident(_ context.Context, in *incidentInput) (*body[Incident], error) {
	o, ok := s.Inventory.Operation(in.Operation)
	if !ok || o.Plan.Cluster != in.ID {
		return nil, (&unknownOperation{in.Operation}).problem()
	}
	from, to := audit.Span(&o)
	if to.IsZero() || to.After(s.Now()) {
		to = s.Now()
	}
	var around []audit.Moment
	if s.Trail != nil {
		for _, e := range s.Trail.Between(in.ID, from, to, maxAround) {
			if e.Change != nil && e.Change.Operation == o.Operation {
				continue // told step by step
			}
			m := audit.Moment{At: e.At, Kind: "attempt", Sentence: fmt.Sprintf("%s %s: %s", e.Name, e.What, e.Outcome)}
			if e.Change != nil {
				m.Kind, m.Operation = "operation", e.Change.Operation
			}
			if e.Detail != "" {
				m.Sentence += " (" + e.Detail + ")"
			}
			around = append(around, m)
		}
	}
	if s.Alerts != nil {
		for _, a := range s.Alerts.History(in.ID, from, to) {
			around = append(around, audit.Moment{At: a.Since, Kind: "alert", Sentence: fmt.Sprintf("%s alert: %s", a.Severity, a.Sentence)})
			if a.AcknowledgedBy != "" {
				around = append(around, audit.Moment{At: a.AcknowledgedAt, Kind: "alert", Sentence: fmt.Sprintf("%s acknowledged the alert %s", a.AcknowledgedBy, a.Kind)})
			}
			if !a.ResolvedAt.IsZero() {
				around = append(around, audit.Moment{At: a.ResolvedAt, Kind: "alert", Sentence: fmt.Sprintf("resolved after %s: %s", a.ResolvedAt.Sub(a.Since).Round(time.Second), a.Sentence)})
			}
		}
		for _, x := range s.Alerts.Observations(in.ID, from, to) {
			around = append(around, audit.Moment{At: x.At, Kind: "observed", Sentence: "seen: " + x.Sentence()})
		}
	}
	out := Incident{Title: executor.What(&o), From: from, To: to, Entries: []IncidentEntry{}}
	for _, m := range audit.Timeline(&o, around) {
		e := IncidentEntry{At: m.At, Kind: m.Kind, Sentence: m.Sentence}
		if m.Operation != "" {
			e.OperationID = ptr(m.Operation)
		}
		out.Entries = append(out.Entries, e)
	}
	return &body[Incident]{out}, nil
}
