// Package access keeps in the journal who is let in: people's sessions, one-use
// join tokens and the set-up link, and the hosts whose agents joined. Every
// control node therefore lets in the same, also after all of them restarted.
//
// Secrets are in the journal only as SHA-256 of 256 random bits. A Store may be
// used from many goroutines.
package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"baton/control/journal"
)

// Streams of the Store.
const (
	SessionStream = "sessions"
	TokenStream   = "join-tokens"
	HostStream    = "hosts"
)

// appendTime bounds one write.
const appendTime = 10 * time.Second

// Store is what the journal says of access. Give it every event of the journal
// through Take.
type Store struct {
	j   journal.Journal
	now func() time.Time
	// turns lets one decision on a stream after the other be written: those of
	// this process never make each other start anew.
	turns map[string]chan struct{}

	mu       sync.Mutex
	revs     map[string]int64
	moved    chan struct{}
	sessions map[string]*session // by hash
	tokens   map[string]token    // by hash
	hosts    map[string]Host     // by agent id
}

// New returns a store that knows nothing yet.
func New(j journal.Journal, now func() time.Time) *Store {
	turns := map[string]chan struct{}{}
	for _, stream := range []string{SessionStream, TokenStream, HostStream} {
		turns[stream] = make(chan struct{}, 1)
	}
	return &Store{j: j, now: now, turns: turns, moved: make(chan struct{}), sessions: map[string]*session{}, tokens: map[string]token{}, hosts: map[string]Host{},
		revs: map[string]int64{SessionStream: journal.NoStream, TokenStream: journal.NoStream, HostStream: journal.NoStream}}
}

// Take takes one event in; events of other streams are not looked at.
func (s *Store) Take(r journal.Recorded) error {
	var take func(kind string, data []byte) error
	switch r.Stream {
	case SessionStream:
		take = s.takeSession
	case TokenStream:
		take = s.takeToken
	case HostStream:
		take = s.takeHost
	default:
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revs[r.Stream] = r.Revision
	close(s.moved)
	s.moved = make(chan struct{})
	if err := take(r.Type, r.Data); err != nil {
		return fmt.Errorf("read %s at revision %d of %s: %w", r.Type, r.Revision, r.Stream, err)
	}
	return nil
}

// wait returns once the stream's revision has been taken in.
func (s *Store) wait(ctx context.Context, stream string, revision int64) error {
	for {
		s.mu.Lock()
		have, moved := s.revs[stream], s.moved
		s.mu.Unlock()
		if have >= revision {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-moved:
		}
	}
}

// write appends one event and waits until it is taken in.
func (s *Store) write(ctx context.Context, stream string, expected int64, kind string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", kind, err)
	}
	rev, err := s.j.Append(ctx, stream, expected, journal.Event{Type: kind, Data: data})
	if err != nil {
		return fmt.Errorf("record %s: %w", kind, err)
	}
	return s.wait(ctx, stream, rev)
}

// tries bounds how often a decision is made again because its stream moved.
const tries = 8

// decided writes what decide makes of the present state, and decides again
// when another control node was faster. decide runs with s.mu held.
func (s *Store) decided(stream string, decide func() (kind string, v any, err error)) error {
	ctx, cancel := context.WithTimeout(context.Background(), appendTime)
	defer cancel()
	turn := s.turns[stream]
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return fmt.Errorf("wait for a turn to write %s: %w", stream, ctx.Err())
	}
	for range tries {
		s.mu.Lock()
		expected := s.revs[stream]
		kind, v, err := decide()
		s.mu.Unlock()
		if err != nil || kind == "" {
			return err
		}
		err = s.write(ctx, stream, expected, kind, v)
		var conflict *journal.ConflictError
		if !errors.As(err, &conflict) {
			return err
		}
		if err := s.wait(ctx, stream, conflict.Actual); err != nil {
			return err
		}
	}
	return fmt.Errorf("the stream %s keeps moving; try again", stream)
}
