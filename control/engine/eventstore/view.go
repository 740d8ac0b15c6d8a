package eventstore

import "baton/control/engine"

// view is the answer of GET /cluster, as far as it is needed here.
type view struct {
	ClusterID   string `json:"clusterId"`
	ClusterSize int    `json:"clusterSize"`
	Term        uint64 `json:"term,string"`
	Leader      string `json:"leader"` // id, "" when none is known
	Self        string `json:"self"`
	Quorum      struct {
		Needed int `json:"needed"`
		Voters int `json:"voters"`
		Alive  int `json:"alive"`
	} `json:"quorum"`
	Members []member `json:"members"`
	Pending *struct {
		Action string `json:"action"`
		Reason string `json:"reason"`
	} `json:"pending"`
	Conflict *struct{} `json:"conflict"`
	Waiting  string    `json:"waiting"`
}

type member struct {
	ID              string `json:"id"`
	Name            string `json:"name"`
	Role            string `json:"role"`
	State           string `json:"state"`
	Alive           bool   `json:"alive"`
	Term            uint64 `json:"term,string"`
	NodePriority    int    `json:"nodePriority"`
	ClientAddress   string `json:"clientAddress"`
	LogPosition     uint64 `json:"logPosition,string"`
	CommitPosition  uint64 `json:"commitPosition,string"`
	AppliedPosition uint64 `json:"appliedPosition,string"`
	LagBytes        uint64 `json:"lagBytes,string"`
	Promotable      bool   `json:"promotable"`
	Why             string `json:"why"`
	WhyRole         string `json:"whyRole"`
	LastSeenMs      int64  `json:"lastSeenMs"`
	Version         string `json:"version"`
}

// find returns the member with this id or name, nil when there is none.
func (v *view) find(idOrName string) *member {
	if idOrName == "" {
		return nil
	}
	for i := range v.Members {
		if v.Members[i].ID == idOrName {
			return &v.Members[i]
		}
	}
	for i := range v.Members {
		if v.Members[i].Name == idOrName {
			return &v.Members[i]
		}
	}
	return nil
}

func (v *view) self() *member   { return v.find(v.Self) }
func (v *view) leader() *member { return v.find(v.Leader) }

// role is the member's role in our words. A voter that does not follow a
// leader at the moment has none.
func (v *view) role(m *member) engine.Role {
	switch m.Role {
	case "Leader":
		return engine.RolePrimary
	case "Follower":
		return engine.RoleReplica
	case "Clone":
		return engine.RoleClone
	case "ReadOnlyReplica":
		return engine.RoleReadOnly
	}
	return engine.RoleUnknown
}

// copying tells whether the member receives the leader's log now.
func (m *member) copying() bool {
	switch m.State {
	case "Follower", "Clone", "ReadOnlyReplica", "CatchingUp", "Leader", "ResigningLeader":
		return true
	}
	return false
}
