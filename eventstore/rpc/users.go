package rpc

import (
	"crypto/sha256"
	"errors"
	"slices"
	"time"

	"baton/eventstore/replica"
	"baton/eventstore/stream"
)

const (
	// usersStream lists the users by login name. Clients' tools poll it to learn that a secure node's accounts work.
	usersStream = "$users"
	userType    = "$User"
	// recordUsersEvery is how often the list is tried to be written until it stands.
	recordUsersEvery = 250 * time.Millisecond
)

// userEvents is one event for each account, sorted by name. The ids follow from the names, so that every node of a cluster may write the same list.
func (a *Access) userEvents() []stream.Event {
	var names []string
	for name := range a.users {
		names = append(names, name)
	}
	slices.Sort(names)
	var events []stream.Event
	for _, name := range names {
		sum := sha256.Sum256([]byte(usersStream + "/" + name))
		events = append(events, stream.Event{ID: [16]byte(sum[:16]), Type: userType, Data: []byte(name)})
	}
	return events
}

// recordUsers writes the list of users once, if the cluster has none. A list that is already there stays as it is.
func (s *Server) recordUsers() {
	events := s.access.userEvents()
	if len(events) == 0 {
		return
	}
	tick := time.NewTicker(recordUsersEvery)
	defer tick.Stop()
	for {
		cmd, err := stream.NewAppend(s.limits, stream.Write{Stream: usersStream, Expected: stream.NoStream, Events: events})
		if err != nil {
			s.logger.Error("the list of users cannot be written", "error", err)
			return
		}
		_, err = s.backend.Append(s.lifetime, cmd, false)
		var notLeader *replica.NotLeaderError
		if err == nil || errors.As(err, &notLeader) && notLeader.Leader != nil {
			return // written, or there already, or another node's to write: this one never writes
		}
		select {
		case <-tick.C:
		case <-s.lifetime.Done():
			return
		}
	}
}
