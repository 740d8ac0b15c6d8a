package membership

// View is one node's picture of the whole cluster. Its JSON is the answer of
// GET /cluster; 64-bit numbers are strings there.
type View struct {
	ClusterID      string      `json:"clusterId"`
	ClusterName    string      `json:"clusterName"`
	ClusterSize    int         `json:"clusterSize"`
	Term           uint64      `json:"term,string"`
	Leader         MemberID    `json:"leader"`
	Self           MemberID    `json:"self"`
	Quorum         QuorumView  `json:"quorum"`
	Members        []NodeView  `json:"members"` // sorted by name, then id
	LastRoleChange *RoleChange `json:"lastRoleChange"`
	Pending        *Pending    `json:"pending"`
	Conflict       *Conflict   `json:"conflict"`
	// Waiting says what a node without a cluster is waiting for; else "".
	Waiting string `json:"waiting,omitempty"`
}

// QuorumView counts voters. Needed is the majority of Voters.
type QuorumView struct {
	Needed int `json:"needed"`
	Voters int `json:"voters"`
	Alive  int `json:"alive"`
}

// NodeView is one member in a View.
type NodeView struct {
	ID              MemberID   `json:"id"`
	InstanceID      InstanceID `json:"instanceId"`
	Name            string     `json:"name"`
	Role            Role       `json:"role"`
	State           State      `json:"state"`
	Alive           bool       `json:"alive"`
	Term            uint64     `json:"term,string"`
	NodePriority    int        `json:"nodePriority"`
	ClientAddress   string     `json:"clientAddress"`
	ClientHost      string     `json:"clientHost"`
	ClientPort      int        `json:"clientPort"`
	PeerAddress     string     `json:"peerAddress"`
	LogPosition     uint64     `json:"logPosition,string"`     // end of its durable log, bytes
	CommitPosition  uint64     `json:"commitPosition,string"`  // end of the committed prefix it knows
	AppliedPosition uint64     `json:"appliedPosition,string"` // end of what its readers see
	LagBytes        uint64     `json:"lagBytes,string"`        // leader's log position minus its own, at least 0
	IsReadOnly      bool       `json:"isReadOnlyReplica"`
	Promotable      bool       `json:"promotable"`
	Why             string     `json:"why"`        // why it is or is not promotable
	WhyRole         string     `json:"whyRole"`    // why it is or is not the leader
	LastSeenMs      int64      `json:"lastSeenMs"` // -1 when never seen
	Version         string     `json:"version"`
	Damage          string     `json:"damage,omitempty"` // what of its log is damaged, and being mended from other nodes
	WantsLeader     bool       `json:"wantsLeader"`      // highest priority among healthy voters and not leading
}

// RoleChange is the latest change of leader this node saw.
type RoleChange struct {
	At     string   `json:"at"` // RFC 3339 with milliseconds, UTC
	Term   uint64   `json:"term,string"`
	Leader MemberID `json:"leader"`
	Reason string   `json:"reason"`
}

// Pending is a change of membership or leader that is wanted or under way.
type Pending struct {
	Action string `json:"action"`
	Reason string `json:"reason"`
	Since  string `json:"since"`
}

// Conflict says that two nodes claim to lead. The higher term is the real one.
type Conflict struct {
	Leaders []LeaderClaim `json:"leaders"`
	Since   string        `json:"since"`
}

// LeaderClaim is one node's claim to lead a term.
type LeaderClaim struct {
	ID   MemberID `json:"id"`
	Term uint64   `json:"term,string"`
}

// Find returns the member with this id, or nil.
func (v *View) Find(id MemberID) *NodeView {
	for i := range v.Members {
		if v.Members[i].ID == id {
			return &v.Members[i]
		}
	}
	return nil
}
