package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sort"
	"sync"
	"time"

	"baton/control/proxy/resp"
)

// Options of a Server; a zero field takes its default.
type Options struct {
	Log *slog.Logger
	// MaxClients of one cluster's endpoint, both ports.
	MaxClients int
	// ClientBytes bounds the requests of one client that were read and not
	// answered, TotalBytes those of all clients of an endpoint; beyond, no more
	// is read from those who wait.
	ClientBytes, TotalBytes int
	Limits                  resp.Limits // of one request
	// Wait is how long a request may wait for a primary before it is refused.
	Wait time.Duration
	// FirstRequest is how long a new client may take for its first request,
	// WholeRequest how long the next bytes of one may take.
	FirstRequest, WholeRequest time.Duration
	// HoldFor bounds a hold that nobody ends: the engine's own fence holds by itself.
	HoldFor time.Duration
}

func (o *Options) defaults() {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	or(&o.MaxClients, 10_000)
	or(&o.ClientBytes, 1<<20)
	or(&o.TotalBytes, 512<<20)
	or(&o.Wait, 15*time.Second)
	or(&o.FirstRequest, 15*time.Second)
	or(&o.WholeRequest, 60*time.Second)
	or(&o.HoldFor, 10*time.Second)
	if o.Limits == (resp.Limits{}) {
		o.Limits = resp.DefaultLimits
	}
}

func or[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Server serves the endpoints of any number of clusters.
type Server struct {
	opt   Options
	began time.Time

	mu        sync.Mutex
	endpoints map[string]*endpoint
	fences    map[string]Route // the newest seen, also of endpoints that are gone
	closed    bool
	stop      chan struct{}
	threads   sync.WaitGroup
}

// watchEvery is how often fences and the end of holds are looked at.
const watchEvery = 50 * time.Millisecond

// New returns a server that serves nothing yet.
func New(o Options) *Server {
	o.defaults()
	s := &Server{opt: o, began: time.Now(), endpoints: map[string]*endpoint{}, fences: map[string]Route{}, stop: make(chan struct{})}
	s.threads.Add(1)
	go s.watch()
	return s
}

// now is the time sessions know.
func (s *Server) now() int64 { return int64(time.Since(s.began)) + 1 }

func (s *Server) watch() {
	defer s.threads.Done()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		for _, e := range s.all() {
			e.watch()
		}
	}
}

func (s *Server) all() []*endpoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*endpoint, 0, len(s.endpoints))
	for _, e := range s.endpoints {
		out = append(out, e)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].cluster < out[j].cluster })
	return out
}

// Apply takes a route in, and confirms the one there is when it is the same.
// Errors: ErrStale; a port that cannot be listened on, which is tried again at
// the next route, while what can be served is.
func (s *Server) Apply(r Route) error {
	if err := r.Check(); err != nil {
		return err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errors.New("the proxy is stopping")
	}
	old, known := s.fences[r.Cluster]
	if known && !r.newer(&old) {
		s.mu.Unlock()
		return fmt.Errorf("route of generation %d, term %d: %w: generation %d, term %d", r.Generation, r.Term, ErrStale, old.Generation, old.Term)
	}
	s.fences[r.Cluster] = r
	e := s.endpoints[r.Cluster]
	if !r.Enabled {
		delete(s.endpoints, r.Cluster)
		s.mu.Unlock()
		if e != nil {
			e.close()
		}
		return nil
	}
	if e == nil {
		e = newEndpoint(s, r)
		s.endpoints[r.Cluster] = e
	}
	s.mu.Unlock()
	return e.apply(r)
}

// Hold makes requests that write wait from now on and returns when every such
// request sent before was answered (drained), or ctx ended. The hold itself
// goes on in both cases, until Release or a bounded time. next is where writes
// probably go afterwards; links are made there meanwhile.
func (s *Server) Hold(ctx context.Context, cluster, operation string, generation uint64, next string) (drained bool, err error) {
	e, err := s.endpoint(cluster, generation)
	if err != nil {
		return false, err
	}
	return e.hold(ctx, operation, generation, next), nil
}

// Release ends the hold and forwards to the primary of the generation.
func (s *Server) Release(cluster string, generation, term uint64, node, address string) error {
	e, err := s.endpoint(cluster, generation)
	if err != nil {
		return err
	}
	s.mu.Lock()
	f := s.fences[cluster]
	if f.Generation < generation {
		f.Generation, f.Term, f.Version = generation, max(f.Term, term), 0
		s.fences[cluster] = f
	}
	s.mu.Unlock()
	e.release(generation, node, address)
	return nil
}

func (s *Server) endpoint(cluster string, generation uint64) (*endpoint, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.endpoints[cluster]
	if e == nil {
		return nil, fmt.Errorf("%w: %s", ErrUnknownCluster, cluster)
	}
	if f := s.fences[cluster]; generation < f.Generation {
		return nil, fmt.Errorf("order of generation %d: %w: generation %d", generation, ErrStale, f.Generation)
	}
	return e, nil
}

// Status tells of every endpoint, sorted by cluster.
func (s *Server) Status() []Status {
	var out []Status
	for _, e := range s.all() {
		out = append(out, e.status())
	}
	return out
}

// Close stops taking clients, lets requests that are under way be answered
// until ctx ends, and closes all.
func (s *Server) Close(ctx context.Context) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	s.mu.Unlock()
	for _, e := range s.all() {
		e.quiesce(ctx)
	}
	close(s.stop)
	for _, e := range s.all() {
		e.close()
	}
	s.threads.Wait()
}
