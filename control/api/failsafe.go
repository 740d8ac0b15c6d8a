package api

import (
	"time"

	"github.com/danielgtaylor/huma/v2"

	"baton/control/health"
)

// FailsafeView is a primary that takes writes by promises of the other agents,
// because no control node answers its own.
type FailsafeView struct {
	Node string `json:"node"`
	// Seen is false where no agent reports and it is what the record permits.
	Seen     bool       `json:"seen" doc:"its agent said so; otherwise it is what the record permits while no control node leads"`
	Since    *time.Time `json:"since" doc:"null when not known"`
	Sentence string     `json:"sentence"`
}

// TransformSchema documents which references may be null.
func (FailsafeView) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return nullable(s, "since")
}

func failsafeView(s *health.Snapshot) *FailsafeView {
	f := s.Failsafe
	if f == nil {
		return nil
	}
	v := &FailsafeView{Node: f.Node, Seen: f.Seen, Sentence: f.Sentence()}
	if f.Seen {
		v.Since = ptr(s.Now.Add(-f.For).Truncate(time.Second)) // steady from report to report
	}
	return v
}
