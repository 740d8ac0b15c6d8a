package audit

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"baton/control/operation"
)

// Moment is one line of an incident's timeline.
type Moment struct {
	At time.Time
	// Kind: operation, step, role, alert, observed, attempt.
	Kind      string
	Sentence  string
	Operation string // "" for what belongs to none
}

// IncidentMargin is how much before and after an operation belongs to its
// incident.
const IncidentMargin = 15 * time.Minute

// maxMoments bounds a timeline.
const maxMoments = 1000

// Timeline tells an operation from its journal, joined with what others saw and
// did around it, in order of time. around may hold anything; what lies outside
// the incident's time is left out.
func Timeline(o *operation.Operation, around []Moment) []Moment {
	from, to := Span(o)
	out := steps(o)
	for _, m := range around {
		if !m.At.Before(from) && (to.IsZero() || m.At.Before(to)) {
			out = append(out, m)
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].At.Before(out[j].At) })
	if len(out) > maxMoments {
		out = out[:maxMoments]
	}
	return out
}

// Span is the time of an operation's incident; to is zero while it runs.
func Span(o *operation.Operation) (from, to time.Time) {
	from = o.At.Add(-IncidentMargin)
	if !o.EndedAt.IsZero() {
		to = o.EndedAt.Add(IncidentMargin)
	}
	return from, to
}

// steps are the moments of the operation itself.
func steps(o *operation.Operation) []Moment {
	say := func(at time.Time, kind, format string, args ...any) Moment {
		return Moment{at, kind, fmt.Sprintf(format, args...), o.Operation}
	}
	begun := fmt.Sprintf("%s asked for the %s of %s", o.Requester, o.Kind, o.Plan.Node)
	if o.Plan.Node == "" {
		begun = fmt.Sprintf("%s asked for: %s", o.Requester, o.Plan.Title)
	}
	if o.Reason != "" {
		begun += ": " + o.Reason
	}
	if o.Approver != "" {
		begun += "; approved by " + o.Approver
	}
	out := []Moment{say(o.At, "operation", "%s", begun)}
	for _, s := range o.Steps {
		if s.StartedAt.IsZero() {
			continue
		}
		end := "has not ended"
		if !s.EndedAt.IsZero() {
			end = fmt.Sprintf("%s after %s", s.State, s.EndedAt.Sub(s.StartedAt).Round(10*time.Microsecond))
		}
		line := fmt.Sprintf("%s on %s: %s", s.Title, s.Node, end)
		if s.Node == "" || strings.Contains(s.Title, s.Node) {
			line = s.Title + ": " + end
		}
		if s.Detail != "" {
			line += " (" + s.Detail + ")"
		}
		if s.PointOfNoReturn {
			line += "; the point of no return"
		}
		out = append(out, say(s.StartedAt, "step", "%s", line))
	}
	if o.State.Final() {
		out = append(out, say(o.EndedAt, "operation", "ended %s: %s", o.State, o.Outcome))
		if changed := moved(o.RolesBefore, o.RolesAfter); changed != "" {
			out = append(out, say(o.EndedAt, "role", "roles afterwards: %s", changed))
		}
		if ms := o.Stall.Longest(); ms != nil {
			out = append(out, say(o.EndedAt, "operation", "writes waited %.1f ms", *ms))
		}
		if o.Proof != nil && o.Proof.Sentence != "" {
			out = append(out, say(o.EndedAt, "operation", "%s", o.Proof.Sentence))
		}
	}
	return out
}

// moved says which nodes have another role than before, "" when none has.
func moved(before, after []operation.Role) string {
	was := map[string]string{}
	for _, r := range before {
		was[r.Node] = r.Role
	}
	var out []string
	for _, r := range after {
		if old := was[r.Node]; old != r.Role {
			if old == "" {
				old = "absent"
			}
			out = append(out, fmt.Sprintf("%s %s (was %s)", r.Node, r.Role, old))
		}
	}
	return strings.Join(out, ", ")
}
