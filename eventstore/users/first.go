package users

import (
	"context"
	"fmt"
	"time"

	"baton/eventstore/access"
	"baton/eventstore/stream"
)

// The accounts of a new cluster.
const (
	FirstAdmin = "admin" // in $admins
	FirstOps   = "ops"   // in $ops
	// DefaultPassword is theirs when the operator presets none.
	DefaultPassword = "changeit"
)

// firstEvery is how often a node looks whether the first accounts are to be made.
const firstEvery = 100 * time.Millisecond

// First are the passwords of the first accounts; empty ones are DefaultPassword.
type First struct {
	AdminPassword, OpsPassword string
}

// notificationsMeta lets scavenging forget old notices, as they mean something only to who listens.
const notificationsMeta = `{"$maxAge":3600}`

// MakeFirst makes the first accounts of a cluster that never had any, and returns when this node knows one or ctx ends. Every node calls it; the leader
// acts, after it has applied everything that was acknowledged. The accounts and the list of users are written in one append that expects the list as it
// was, so that they are made once whoever leads, and never again after somebody deleted them.
func (s *Store) MakeFirst(ctx context.Context, f First) {
	tick := time.NewTicker(firstEvery)
	defer tick.Stop()
	var events []stream.Write
	for {
		if s.Ready() {
			return
		}
		if s.backend.ConfirmLeader(ctx) == nil && !s.Ready() {
			if events == nil {
				events = s.first(ctx, f)
			}
			if events != nil && s.writeFirst(ctx, events) {
				continue
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// first builds the accounts' events; nil when there was no time to hash.
func (s *Store) first(ctx context.Context, f First) []stream.Write {
	var writes []stream.Write
	for _, u := range []struct{ login, fullName, group, password string }{
		{FirstAdmin, "Event Store Administrator", access.Admins, f.AdminPassword},
		{FirstOps, "Event Store Operations", access.Ops, f.OpsPassword},
	} {
		if u.password == "" {
			u.password = DefaultPassword
			s.logger.Warn(fmt.Sprintf("user %s is made with the password everybody knows (%q): change it before others can reach this node", u.login, DefaultPassword), "user", u.login)
		}
		hash, err := s.hash(ctx, u.password)
		if err != nil {
			s.logger.Warn("the first users are not made yet", "error", err)
			return nil
		}
		writes = append(writes, stream.Write{Stream: accountPrefix + u.login, Expected: stream.NoStream, Events: []stream.Event{
			s.event(typeCreated, record{LoginName: u.login, FullName: u.fullName, Groups: []string{u.group}, Hash: hash})}})
	}
	meta := stream.Event{ID: listed("").ID, Type: stream.MetadataType, JSON: true, Data: []byte(notificationsMeta)}
	return append(writes, stream.Write{Stream: stream.MetaStream(notificationsStream), Expected: stream.Any, Events: []stream.Event{meta}})
}

// writeFirst reports whether the accounts stand, by this or somebody else's hand.
func (s *Store) writeFirst(ctx context.Context, writes []stream.Write) bool {
	head, err := s.reader.Head(listStream)
	if err != nil {
		s.logger.Error("the first users cannot be made", "error", err)
		return false
	}
	expected := stream.NoStream
	if head.Last >= 0 {
		expected = stream.Expected(head.Last)
	}
	list := stream.Write{Stream: listStream, Expected: expected, Events: []stream.Event{listed(FirstAdmin), listed(FirstOps)}}
	all := []stream.Write{list}
	for _, w := range writes {
		// On a cluster that was insecure somebody may have written such a stream; it stays as it is.
		if h, err := s.reader.Head(w.Stream); err == nil && (h == stream.NoHead || stream.IsMetaStream(w.Stream)) {
			all = append(all, w)
		}
	}
	outcome, err := s.write(ctx, all...)
	if err != nil {
		s.logger.Debug("the first users are not made yet", "error", err)
		return false
	}
	if outcome.Kind == stream.Done {
		s.logger.Info("made the first users", "users", FirstAdmin+", "+FirstOps)
	}
	return outcome.Kind == stream.Done
}
