package access

import (
	"encoding/json"
	"errors"
	"sort"
	"time"
)

const (
	hostJoined  = "host-joined"
	hostRemoved = "host-removed"
)

// ErrNoHost: no agent of that id is known.
var ErrNoHost = errors.New("there is no such host")

// Host is a machine whose agent joined.
type Host struct {
	Agent string    `json:"agent"` // agent id, in its certificate
	Name  string    `json:"name"`
	Addr  string    `json:"addr"` // it joined from there
	At    time.Time `json:"at"`
	// Removed says that its certificate is not taken any more.
	Removed bool `json:"removed,omitempty"`
}

func (s *Store) takeHost(kind string, data []byte) error {
	var h Host
	if err := json.Unmarshal(data, &h); err != nil {
		return err
	}
	switch kind {
	case hostJoined:
		s.hosts[h.Agent] = h
	case hostRemoved:
		old := s.hosts[h.Agent]
		old.Agent, old.Removed = h.Agent, true
		s.hosts[h.Agent] = old
	}
	return nil
}

// JoinHost records that an agent joined.
func (s *Store) JoinHost(h Host) error {
	h.At, h.Removed = s.now().UTC(), false
	return s.decided(HostStream, func() (string, any, error) { return hostJoined, h, nil })
}

// RemoveHost forgets a host and revokes its agent's certificate. An agent that
// joined before hosts were recorded may be removed too.
func (s *Store) RemoveHost(agent string) error {
	return s.decided(HostStream, func() (string, any, error) {
		if s.hosts[agent].Removed {
			return "", nil, nil
		}
		return hostRemoved, Host{Agent: agent, At: s.now().UTC()}, nil
	})
}

// Revoked tells whether the agent's certificate is not to be taken.
func (s *Store) Revoked(agent string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hosts[agent].Removed
}

// Hosts are the hosts that joined and were not removed, sorted by name.
func (s *Store) Hosts() []Host {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Host
	for _, h := range s.hosts {
		if !h.Removed {
			out = append(out, h)
		}
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].Name != out[j].Name {
			return out[i].Name < out[j].Name
		}
		return out[i].Agent < out[j].Agent
	})
	return out
}
