package projections

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"baton/eventstore/projection"
	"baton/eventstore/reader"
	"baton/eventstore/replica"
	"baton/eventstore/stream"
)

// Node is what projections need of a node; *node.Node is one.
type Node interface {
	// Leading tells whether this node leads and serves, and in which term.
	Leading() (term uint64, ok bool)
	// Changed is closed when that may have changed.
	Changed() <-chan struct{}
	// ConfirmLeader returns nil once a quorum confirmed that this node leads and everything committed before is applied here.
	ConfirmLeader(ctx context.Context) error
	Reader() *reader.Reader
	// Start hands a command to this node's log while it leads; Await waits for the outcome.
	Start(cmd *stream.Command) (*replica.Proposal, error)
	Await(ctx context.Context, p *replica.Proposal) (stream.Outcome, error)
}

// Access says what the users may do in whose name projections read and write; *rpc.Access is one. Projections of the system are not asked about.
type Access interface {
	// Known says whether there is such a user now, and whether that can be told.
	Known(login string) (known bool, err error)
	// VisibleTo says which events a user sees, judged anew for each; nil: every event.
	VisibleTo(login string) reader.Allow
	// MayWrite refuses a stream the user may not write.
	MayWrite(login, stream string) error
}

// Kinds are the projections a node runs.
type Kinds string

// The kinds.
const (
	System Kinds = "System" // those the server brings along
	All    Kinds = "All"    // custom ones as well
)

// Options configures a [Service].
type Options struct {
	Node Node
	Run  Kinds
	// StartStandard enables the system projections that nobody has touched yet.
	StartStandard bool
	Access        Access // nil: an insecure node, where everybody may do everything
	// Compile makes the program of a custom projection, as projection.Compile does. Needed to run all kinds.
	Compile func(name, query string, limits projection.Limits) (projection.Projection, error)
	// Limits bound the programs.
	Limits projection.Limits
	Logger *slog.Logger
	// WriteTimeout bounds each write of a projection; 5 s when zero.
	WriteTimeout time.Duration

	loops loops // maxRounds and maxReturned when zero
}

const (
	defaultWriteTimeout = 5 * time.Second
	// confirmWithin bounds the question whether this node leads.
	confirmWithin = 2 * time.Second
	// loadPatience is how long a request waits for projections that are being loaded before it is answered "not ready".
	loadPatience = 2 * time.Second
	// loadAgainAfter is the pause after projections could not be loaded.
	loadAgainAfter = time.Second
)

// Service is the projections of one node.
type Service struct {
	o      Options
	node   Node
	logger *slog.Logger

	ctx  context.Context
	stop context.CancelFunc
	done chan struct{}

	restarts chan chan struct{} // each is closed when the projections were ended to be loaded anew

	mu      sync.Mutex
	term    *term         // of the present leadership; nil: this node does not lead, or nothing is loaded yet
	changed chan struct{} // closed and replaced when term changes
}

// Start begins to follow the node's leadership. Call Stop before the node stops.
func Start(o Options) *Service {
	s := &Service{o: o, node: o.Node, logger: o.Logger, done: make(chan struct{}), restarts: make(chan chan struct{}), changed: make(chan struct{})}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	if s.o.WriteTimeout <= 0 {
		s.o.WriteTimeout = defaultWriteTimeout
	}
	if s.o.loops == (loops{}) {
		s.o.loops = loops{maxRounds, maxReturned}
	}
	if s.o.Run == "" {
		s.o.Run = All
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	go s.follow()
	return s
}

// Stop ends all projections and returns when nothing runs any more. A nil service has none.
func (s *Service) Stop() {
	if s == nil {
		return
	}
	s.stop()
	<-s.done
}

// follow runs a term for each leadership of this node.
func (s *Service) follow() {
	defer close(s.done)
	var running *term
	end := func(final bool) {
		if running == nil {
			return
		}
		s.publish(nil)
		running.end(final)
		running = nil
	}
	defer func() { end(false) }()
	for {
		changed := s.node.Changed()
		number, leads := s.node.Leading()
		if running != nil && (!leads || running.number != number) {
			end(false)
		}
		var again <-chan time.Time
		if leads && running == nil {
			t, err := s.load(number)
			switch {
			case err == nil:
				running = t
				s.publish(t)
				continue // leadership may have moved while the definitions were read
			case s.ctx.Err() != nil:
				return
			default:
				s.logger.Error("projections cannot be loaded", "term", number, "error", err)
				again = time.After(loadAgainAfter)
			}
		}
		select {
		case <-changed:
		case <-again:
		case answer := <-s.restarts:
			end(true)
			close(answer)
		case <-s.ctx.Done():
			return
		}
	}
}

// publish makes a loaded term, or none, the one requests see.
func (s *Service) publish(t *term) {
	s.mu.Lock()
	s.term = t
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
}

// present is the term that runs; nil when this node does not lead.
func (s *Service) present() *term {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.term
}

// leading returns the present term once this node is confirmed to lead. Errors: those of ConfirmLeader, ErrLoading, replica.ErrStopped.
func (s *Service) leading(ctx context.Context) (*term, error) {
	confirm, cancel := context.WithTimeout(ctx, confirmWithin)
	err := s.node.ConfirmLeader(confirm)
	cancel()
	switch {
	case errors.Is(err, replica.ErrTimeout) && ctx.Err() == nil:
		return nil, ErrLoading // nothing was asked for yet: this is no unknown outcome
	case err != nil:
		return nil, err
	}
	patience := time.NewTimer(loadPatience)
	defer patience.Stop()
	for {
		s.mu.Lock()
		t, changed := s.term, s.changed
		s.mu.Unlock()
		if t != nil {
			return t, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-patience.C:
			return nil, ErrLoading
		case <-s.ctx.Done():
			return nil, replica.ErrStopped
		}
	}
}

// Restart ends all projections of this node, with a last checkpoint, and loads them anew.
func (s *Service) Restart(ctx context.Context) error {
	if _, err := s.leading(ctx); err != nil {
		return err
	}
	answer := make(chan struct{})
	select {
	case s.restarts <- answer:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ctx.Done():
		return replica.ErrStopped
	}
	select {
	case <-answer:
	case <-s.ctx.Done():
		return replica.ErrStopped
	}
	_, err := s.leading(ctx)
	return err
}
