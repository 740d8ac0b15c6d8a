package agent

import (
	"errors"
	"fmt"

	"baton/control/agent/delta"
	agentpb "baton/gen/agent"
)

// WholeReportEvery is after how many reports on one link a whole one is sent:
// whatever made the two ends disagree, it is over then.
const WholeReportEvery = 256

// ErrNoBase is why a report that tells what changed cannot be read: the one it
// goes back to is not known. The next has to be whole.
var ErrNoBase = errors.New("the report before is not known")

// ReportWriter writes the reports of one link, of which all but the first and
// some tell what changed since the one before. Messages on a link come whole and
// in order or the link ends, so what was sent is what the other end knows.
type ReportWriter struct {
	cbor, deltas bool
	known        Report // as the other end has it; Sequence 0: nothing
	since        int    // reports since the last whole one
}

// NewReportWriter returns the writer for a link to a control node that welcomed
// us so.
func NewReportWriter(w *agentpb.Welcome) *ReportWriter {
	return &ReportWriter{cbor: w.GetReportsInCbor(), deltas: w.GetReportsInCbor() && w.GetReportDeltas()}
}

// Write gives the next report the form it is sent in; whole asks for all of it.
// What comes back must be sent. The report is not kept.
func (w *ReportWriter) Write(r *Report, whole bool) (*agentpb.Report, error) {
	if !w.deltas {
		return EncodeReport(r, w.cbor)
	}
	var m *agentpb.Report
	if w.since++; whole || w.known.Sequence == 0 || w.since >= WholeReportEvery {
		var err error
		if m, err = EncodeReport(r, true); err != nil {
			return nil, err
		}
		w.since, w.known = 0, Report{}
	} else {
		m = &agentpb.Report{Base: w.known.Sequence, Delta: delta.Of(&w.known, r)}
	}
	// What is known there is what is read here: of a report's own lists and maps
	// some belong to who made it and change under it.
	known, err := readReport(&w.known, m)
	if err != nil {
		return nil, err
	}
	w.known = known
	return m, nil
}

// ReportReader reads the reports of one link.
type ReportReader struct{ last Report }

// Read reads the next. What did not change since the one before is shared with
// it: nothing a report points to is to be changed. After ErrNoBase everything but
// a whole report is refused with it again.
func (l *ReportReader) Read(m *agentpb.Report) (Report, error) {
	r, err := readReport(&l.last, m)
	if err != nil {
		l.last = Report{}
		return Report{}, err
	}
	l.last = r
	return r, nil
}

func readReport(last *Report, m *agentpb.Report) (Report, error) {
	if len(m.GetDelta()) == 0 {
		return DecodeReport(m)
	}
	if base := m.GetBase(); base == 0 || base != last.Sequence {
		return Report{}, fmt.Errorf("report since number %d: %w", base, ErrNoBase)
	}
	r, err := delta.Apply(last, m.GetDelta())
	if err != nil {
		return Report{}, fmt.Errorf("read what changed since report %d: %w: %w", last.Sequence, err, ErrNoBase)
	}
	return r, nil
}
