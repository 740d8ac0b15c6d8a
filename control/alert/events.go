package alert

import (
	"encoding/json"
	"fmt"
	"time"
)

// Stream holds the events of all alerts.
const Stream = "alerts"

// Event is one thing that happened to alerts.
type Event interface{ kind() string }

// Events of alerts.
type (
	// Fired begins an alert.
	Fired struct{ Alert }
	// Changed makes it more severe.
	Changed struct {
		ID       string    `json:"id"`
		Severity Severity  `json:"severity"`
		Sentence string    `json:"sentence"`
		Fix      string    `json:"fix"`
		At       time.Time `json:"at"`
	}
	// Acknowledged says that somebody has seen it; it is not told again until
	// Until, or until it becomes critical.
	Acknowledged struct {
		ID    string    `json:"id"`
		By    string    `json:"by"`
		Until time.Time `json:"until,omitzero"`
		Note  string    `json:"note,omitempty"`
		At    time.Time `json:"at"`
	}
	// AcknowledgementEnded says that its time has passed: it fires again.
	AcknowledgementEnded struct {
		ID string    `json:"id"`
		At time.Time `json:"at"`
	}
	// Resolved ends it.
	Resolved struct {
		ID       string    `json:"id"`
		Sentence string    `json:"sentence"`
		At       time.Time `json:"at"`
	}
	// Told says that people were notified: of these alerts with the severity
	// they had, of the ends of those, of these operations. Failed names the
	// channels that did not take it, with why.
	Told struct {
		Fired      map[string]Severity `json:"fired,omitempty"`
		Resolved   []string            `json:"resolved,omitempty"`
		Operations []string            `json:"operations,omitempty"`
		Failed     []string            `json:"failed,omitempty"`
		At         time.Time           `json:"at"`
	}
)

func (Fired) kind() string                { return "alert-fired" }
func (Changed) kind() string              { return "alert-changed" }
func (Acknowledged) kind() string         { return "alert-acknowledged" }
func (AcknowledgementEnded) kind() string { return "alert-acknowledgement-ended" }
func (Resolved) kind() string             { return "alert-resolved" }
func (Told) kind() string                 { return "alert-told" }

// ID returns the alert an event belongs to, "" for Told.
func ID(e Event) string {
	switch e := e.(type) {
	case Fired:
		return e.ID
	case Changed:
		return e.ID
	case Acknowledged:
		return e.ID
	case AcknowledgementEnded:
		return e.ID
	case Resolved:
		return e.ID
	}
	return ""
}

// Encode returns an event's type and JSON for the journal.
func Encode(e Event) (kind string, data []byte, err error) {
	data, err = json.Marshal(e)
	return e.kind(), data, err
}

// Decode is the inverse of Encode; an event of another package yields nil
// without an error.
func Decode(kind string, data []byte) (Event, error) {
	switch kind {
	case Fired{}.kind():
		return decode[Fired](data)
	case Changed{}.kind():
		return decode[Changed](data)
	case Acknowledged{}.kind():
		return decode[Acknowledged](data)
	case AcknowledgementEnded{}.kind():
		return decode[AcknowledgementEnded](data)
	case Resolved{}.kind():
		return decode[Resolved](data)
	case Told{}.kind():
		return decode[Told](data)
	}
	return nil, nil
}

func decode[E Event](data []byte) (Event, error) {
	var e E
	if err := json.Unmarshal(data, &e); err != nil {
		return nil, fmt.Errorf("decode %s: %w", e.kind(), err)
	}
	return e, nil
}

// Apply returns the alert after an event of its own or a Told that names it.
func Apply(a Alert, e Event) Alert {
	switch e := e.(type) {
	case Fired:
		return e.Alert
	case Changed:
		a.Severity, a.Sentence, a.Fix = e.Severity, e.Sentence, e.Fix
		a.AcknowledgedBy, a.AcknowledgedUntil, a.Note = "", time.Time{}, "" // it is another matter now
	case Acknowledged:
		a.AcknowledgedBy, a.AcknowledgedAt, a.AcknowledgedUntil, a.Note = e.By, e.At, e.Until, e.Note
	case AcknowledgementEnded:
		a.AcknowledgedBy, a.AcknowledgedUntil, a.Note, a.Told = "", time.Time{}, "", ""
	case Resolved:
		a.ResolvedAt = e.At
		if e.Sentence != "" {
			a.Sentence = e.Sentence
		}
	case Told:
		if s, ok := e.Fired[a.ID]; ok {
			a.Told = s
		}
		for _, id := range e.Resolved {
			if id == a.ID {
				a.ToldEnd = true
			}
		}
	}
	return a
}

// Tell says what people must be notified of now: alerts that fire and were not
// told, or not as severe; ends of alerts that were told. An acknowledged alert
// is not told.
func Tell(alerts []Alert) (fired, resolved []Alert) {
	for _, a := range alerts {
		switch {
		case a.State() == "firing" && a.Told != a.Severity:
			fired = append(fired, a)
		case a.State() == "resolved" && a.Told != "" && !a.ToldEnd:
			resolved = append(resolved, a)
		}
	}
	return fired, resolved
}
