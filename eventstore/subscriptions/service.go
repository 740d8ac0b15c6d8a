package subscriptions

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"baton/eventstore/reader"
	"baton/eventstore/replica"
	"baton/eventstore/stream"
)

// Node is what the groups need of a node; *node.Node is one.
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

// Options configures a [Service].
type Options struct {
	Node   Node
	Logger *slog.Logger
	// WriteTimeout bounds each write of a group; 5 s when zero.
	WriteTimeout time.Duration
}

const (
	defaultWriteTimeout = 5 * time.Second
	// confirmWithin bounds the question whether this node leads.
	confirmWithin = 2 * time.Second
	// loadPatience is how long a request waits for groups that are being loaded before it is answered "not ready".
	loadPatience = 2 * time.Second
	// loadAgainAfter is the pause after groups could not be loaded.
	loadAgainAfter = time.Second
)

// Service is the persistent subscriptions of one node.
type Service struct {
	node         Node
	logger       *slog.Logger
	writeTimeout time.Duration
	origin       time.Time // of the groups' time

	ctx  context.Context
	stop context.CancelFunc
	done chan struct{}

	restarts chan chan struct{} // each is closed when the groups were loaded anew

	mu      sync.Mutex
	term    *term         // of the present leadership; nil: this node does not lead, or nothing is loaded yet
	changed chan struct{} // closed and replaced when term changes
}

// Start begins to follow the node's leadership. Call Stop before the node stops.
func Start(o Options) *Service {
	s := &Service{
		node: o.Node, logger: o.Logger, writeTimeout: o.WriteTimeout, origin: time.Now(), done: make(chan struct{}),
		restarts: make(chan chan struct{}), changed: make(chan struct{}),
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	if s.writeTimeout <= 0 {
		s.writeTimeout = defaultWriteTimeout
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	go s.follow()
	return s
}

// Stop drops all consumers and returns when nothing runs any more.
func (s *Service) Stop() {
	s.stop()
	<-s.done
}

// now is the groups' time.
func (s *Service) now() time.Duration { return time.Since(s.origin) }

// follow runs a term for each leadership of this node.
func (s *Service) follow() {
	defer close(s.done)
	var running *term
	end := func(reason string, final bool) {
		if running == nil {
			return
		}
		s.publish(nil)
		running.end(reason, final)
		running = nil
	}
	defer func() { end("the node is shutting down", false) }()
	for {
		changed := s.node.Changed()
		number, leads := s.node.Leading()
		if running != nil && (!leads || running.number != number) {
			end("this node does not lead any more", false)
		}
		var again <-chan time.Time
		if leads && running == nil {
			t, err := s.load(number)
			switch {
			case err == nil:
				running = t
				s.publish(t)
				continue // leadership may have moved while the groups were read
			case s.ctx.Err() != nil:
				return
			default:
				s.logger.Error("persistent subscriptions cannot be loaded", "term", number, "error", err)
				again = time.After(loadAgainAfter)
			}
		}
		select {
		case <-changed:
		case <-again:
		case answer := <-s.restarts:
			end("the subsystem is restarted", true)
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

// leading returns the present term's groups once this node is confirmed to lead. Errors: those of ConfirmLeader, ErrLoading, replica.ErrStopped.
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

// Restart ends all groups of this node, with a last checkpoint, drops their consumers and loads them anew.
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
