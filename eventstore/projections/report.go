package projections

import (
	"context"
	"slices"
	"strings"
	"time"
)

// Report is what clients are told of a projection. Places are texts as clients read them.
type Report struct {
	Name          string
	Mode          Mode
	Status        Status
	Reason        string // of a fault
	Version       int64  // updates
	Epoch         int64  // resets
	Enabled       bool
	System        bool
	Position      string
	Checkpoint    string  // of the last checkpoint
	Progress      float64 // percent of the log, or of the one stream, that was read
	Handled       int64   // events, since it was started here
	Buffered      int64   // handled, waiting to be written
	PendingWrites int     // events waiting to be written
	Writing       int     // events being written
	Partitions    int     // in memory
	StateBytes    int     // of the states in memory
	Spent         time.Duration
	LogPosition   uint64 // where a projection that follows the log stands; 0 for one of a single stream
	LagBytes      uint64 // of log behind the end; 0 for one of a single stream
}

// Definition is what a projection is.
type Definition struct {
	Name, HandlerType, Query string
	Mode                     Mode
	Enabled                  bool
	Config                   Config
	RunAs                    string // empty: the system
	UpdatedBy                string
	Updated                  time.Time
}

// Which selects projections of a list.
type Which func(Mode) bool

// Statistics describes one projection. Errors: *NotFoundError and those of requests to a leader.
func (s *Service) Statistics(ctx context.Context, name string) (Report, error) {
	t, err := s.leading(ctx)
	if err != nil {
		return Report{}, err
	}
	it := t.find(name)
	if it == nil {
		return Report{}, &NotFoundError{name}
	}
	end, err := t.endOfLog(ctx)
	if err != nil {
		return Report{}, err
	}
	return it.report(end), nil
}

// List describes the projections of some modes, nil: of all, sorted by name. Errors: those of requests to a leader.
func (s *Service) List(ctx context.Context, which Which) ([]Report, error) {
	t, err := s.leading(ctx)
	if err != nil {
		return nil, err
	}
	end, err := t.endOfLog(ctx)
	if err != nil {
		return nil, err
	}
	return t.reports(end, which), nil
}

// Here describes what this node runs at the moment, without asking whether it still leads: for metrics. Nothing on a node that does not lead.
func (s *Service) Here(ctx context.Context) []Report {
	t := s.present()
	if t == nil {
		return nil
	}
	end, err := t.endOfLog(ctx)
	if err != nil {
		return nil
	}
	return t.reports(end, nil)
}

func (t *term) reports(end uint64, which Which) []Report {
	var list []Report
	for _, it := range t.list() {
		if which == nil || which(it.definition().Mode) {
			list = append(list, it.report(end))
		}
	}
	slices.SortFunc(list, func(a, b Report) int { return strings.Compare(a.Name, b.Name) })
	return list
}

func (it *item) report(end uint64) Report {
	status, reason, r := it.state()
	doc := it.definition()
	rep := Report{Name: it.name, Mode: doc.Mode, Status: status, Reason: reason, Version: doc.Version, Epoch: doc.Epoch, Enabled: doc.Enabled, System: doc.system()}
	if r == nil {
		rep.Position = placeText("", beginning)
		return rep
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	rep.Position, rep.Checkpoint = placeText(r.single, r.at), placeText(r.single, r.last)
	rep.Handled, rep.Buffered, rep.PendingWrites = r.handled, int64(r.pending.handled), len(r.pending.emitted)
	if r.writing != nil {
		rep.Writing = len(r.writing.emitted) + len(r.writing.states) + 1
	}
	rep.Partitions, rep.StateBytes, rep.Spent = len(r.parts.by), r.parts.bytes, r.spent
	switch {
	case r.single != "":
		rep.Progress = it.t.progressOf(r.single, r.at.rev)
	case end > 0:
		rep.Progress = 100 * min(float64(r.at.pos)/float64(end), 1)
		rep.LogPosition = r.at.pos
		rep.LagBytes = max(end, r.at.pos) - r.at.pos
	}
	if status == Completed || status == Running && r.idle.Load() {
		rep.Progress, rep.LagBytes = 100, 0 // what came since the last event for it was looked at as well
	}
	return rep
}

// progressOf is how much of a stream was read, percent.
func (t *term) progressOf(name string, rev int64) float64 {
	head, err := t.s.node.Reader().Head(name)
	if err != nil || head.Last < 0 || head.Tombstoned || rev >= head.Last {
		return 100
	}
	return 100 * float64(rev+1) / float64(head.Last+1)
}

// Definition returns what a projection is. Errors: *NotFoundError and those of requests to a leader.
func (s *Service) Definition(ctx context.Context, name string) (Definition, error) {
	t, err := s.leading(ctx)
	if err != nil {
		return Definition{}, err
	}
	it := t.find(name)
	if it == nil {
		return Definition{}, &NotFoundError{name}
	}
	d := it.definition()
	out := Definition{Name: name, HandlerType: d.HandlerType, Query: d.Query, Mode: d.Mode, Enabled: d.Enabled, Config: d.Config.withDefaults(), UpdatedBy: d.UpdatedBy, Updated: d.Updated}
	if d.RunAs != nil {
		out.RunAs = d.RunAs.Name
	}
	return out, nil
}

// State is the state of a partition as JSON; nil: none. Of a projection that runs it is that after the last event handled. Errors: *NotFoundError and
// those of requests to a leader.
func (s *Service) State(ctx context.Context, name, partition string) ([]byte, error) {
	v, err := s.view(ctx, name, partition)
	if err != nil {
		return nil, err
	}
	return v.part.state, nil
}

// Result is the result of a partition as JSON; nil: none. One that is not in memory is made of the partition's state and the shared state as they are now.
// Errors: as of State, and *projection.Fault.
func (s *Service) Result(ctx context.Context, name, partition string) ([]byte, error) {
	v, err := s.view(ctx, name, partition)
	if err != nil || v.part.judged || v.part.state == nil {
		return v.part.result, err
	}
	p, err := s.compile(name, &v.doc)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	shared := v.shared
	if def := p.Definition(); def.BiState && !v.present {
		c, err := v.t.checkpoint(ctx, name, &v.doc, singleStream(&def), true)
		if err != nil {
			return nil, err
		}
		shared = c.shared
	}
	return resultOf(p, v.part.state, shared)
}

// view is a partition as a request finds it.
type view struct {
	t       *term
	doc     document
	part    partition
	shared  []byte
	present bool // shared is that of a run
}

// view finds a state in memory or in its stream.
func (s *Service) view(ctx context.Context, name, partitionName string) (view, error) {
	t, err := s.leading(ctx)
	if err != nil {
		return view{}, err
	}
	it := t.find(name)
	if it == nil {
		return view{}, &NotFoundError{name}
	}
	status, _, r := it.state()
	v := view{t: t, doc: it.definition()}
	if r != nil && r.doc.Epoch == v.doc.Epoch && (status == Running || v.doc.Mode == Transient) {
		r.mu.Lock()
		v.shared, v.present = r.shared, true
		part := r.parts.by[partitionName]
		if part != nil {
			v.part = *part
		}
		r.mu.Unlock()
		if part != nil {
			return v, nil
		}
	}
	if partitionName != "" {
		v.part.state, _, err = t.partitionState(ctx, name, &v.doc, partitionName)
		return v, err
	}
	p, err := s.compile(name, &v.doc)
	if err != nil {
		return v, err
	}
	defer p.Close()
	def := p.Definition()
	c, err := t.checkpoint(ctx, name, &v.doc, singleStream(&def), def.BiState)
	v.part.state = c.state
	return v, err
}
