package engine

import "time"

// Observation is one look at one instance. The zero value of a number means
// "not known" only where the comment says so; facts that preflight must not
// guess are pointers in Facts.
type Observation struct {
	At      time.Time `json:"at"` // agent's clock, when the look ended
	Cluster string    `json:"cluster"`
	Node    string    `json:"node"`
	Engine  string    `json:"engine"`
	Address string    `json:"address"`
	// Up tells whether the instance answered a trivial query.
	Up            bool   `json:"up"`
	Role          Role   `json:"role"`
	EngineVersion string `json:"engineVersion"`
	// State is the engine's own word for what it does ("master", "CatchingUp").
	State string `json:"state,omitempty"`
	// Term is the consensus term, 0 for engines without one.
	Term uint64 `json:"term,string,omitempty"`
	// Position is the replication position: Redis offset, event-store durable log
	// position, in bytes. Comparable only within one History.
	Position uint64 `json:"position,string"`
	// PrimaryPosition is the primary's position this observer read just
	// after Position; 0 when it could not.
	PrimaryPosition uint64 `json:"primaryPosition,string,omitempty"`
	// LagBytes is primary minus own position, 0 on a primary, -1 unknown.
	LagBytes int64 `json:"lagBytes,string"`
	// LagSeconds is the age of the newest applied write while the primary is
	// ahead, 0 when level, -1 unknown.
	LagSeconds float64 `json:"lagSeconds"`
	LinkUp     bool    `json:"linkUp"`
	// LinkSilenceSeconds is the time since the last byte from the primary, -1 unknown.
	LinkSilenceSeconds float64 `json:"linkSilenceSeconds"`
	// ReplicaOf is host:port of the primary it follows, "" on a primary.
	ReplicaOf string `json:"replicaOf,omitempty"`
	// History names the line of history positions belong to: Redis replid,
	// event-store cluster id. HistoryPrevious and HistoryPreviousEnd: the
	// history before the last promotion and the position up to which both agree.
	History            string `json:"history,omitempty"`
	HistoryPrevious    string `json:"historyPrevious,omitempty"`
	HistoryPreviousEnd uint64 `json:"historyPreviousEnd,string,omitempty"`
	// WritesPerSecond on the primary, from two observations; -1 unknown.
	WritesPerSecond float64 `json:"writesPerSecond"`
	// Priority as configured (event store: higher wins; Redis: our scale).
	Priority int `json:"priority"`
	// Promotable is the engine's own opinion; Why gives the reason either way.
	// Engines without an opinion leave Why empty.
	Promotable bool   `json:"promotable"`
	Why        string `json:"why,omitempty"`

	Facts Facts `json:"facts"`
	// Links are the replicas the primary sees, or the members a quorum
	// engine's node sees.
	Links []Link `json:"links,omitempty"`
	// Details are engine fields worth showing as they are.
	Details map[string]string `json:"details,omitempty"`
	// Err is one sentence when Up is false or part of the look failed.
	Err string `json:"err,omitempty"`
}

// Facts are the measured values preflight needs; nil is "unknown", which
// preflight treats as a refusal where the fact is needed.
type Facts struct {
	QueryMs          *float64 `json:"queryMs,omitempty"`          // trivial query, round trip
	Loading          *bool    `json:"loading,omitempty"`          // still loading its data set
	PersistOK        *bool    `json:"persistOK,omitempty"`        // role and configuration survive a restart
	PersistWhy       string   `json:"persistWhy,omitempty"`       // why not
	MemoryUsedBytes  *int64   `json:"memoryUsedBytes,omitempty"`  // by the engine
	MemoryLimitBytes *int64   `json:"memoryLimitBytes,omitempty"` // engine's own limit, 0 none
	DataSaving       *bool    `json:"dataSaving,omitempty"`       // BGSAVE or AOF rewrite running
	FailoverRunning  *bool    `json:"failoverRunning,omitempty"`  // engine's own failover in progress
	Connections      *int64   `json:"connections,omitempty"`
	ConnectionsMax   *int64   `json:"connectionsMax,omitempty"`
	// SendersFree is how many more replicas can attach; SyncNeeded how many
	// replicas must acknowledge or be present for writes, 0 none.
	SendersFree *int64 `json:"sendersFree,omitempty"`
	SyncNeeded  *int64 `json:"syncNeeded,omitempty"`
	// ReplicasAttached is how many replicas this instance serves.
	ReplicasAttached *int64 `json:"replicasAttached,omitempty"`
	BacklogBytes     *int64 `json:"backlogBytes,omitempty"` // replication backlog size
	SyncFull         *int64 `json:"syncFull,omitempty"`     // full synchronizations served since start
	// OldestTransactionSeconds is the age of the oldest open transaction or
	// running script, 0 none.
	OldestTransactionSeconds *float64 `json:"oldestTransactionSeconds,omitempty"`
	// ForeignManager names another failover manager seen on the instance ("sentinel").
	ForeignManager *string `json:"foreignManager,omitempty"`
	// Reach tells per peer address whether this instance's host can log in
	// there with the instance's own replication credentials.
	Reach map[string]Reach `json:"reach,omitempty"`
	// Settings that should agree between members, by engine name.
	Settings map[string]string `json:"settings,omitempty"`
}

// Reach is the outcome of one real login to a peer.
type Reach struct {
	At    time.Time `json:"at"`
	OK    bool      `json:"ok"`
	RTTMs float64   `json:"rttMs"` // round trip of a query after login
	Code  string    `json:"code,omitempty"`
	Err   string    `json:"err,omitempty"`
}

// Link is one replication link or member as the observed instance sees it.
type Link struct {
	Node     string `json:"node,omitempty"` // name where the engine knows it
	Address  string `json:"address"`
	Role     Role   `json:"role,omitempty"`
	State    string `json:"state,omitempty"`
	Up       bool   `json:"up"`
	Position uint64 `json:"position,string"`
	LagBytes int64  `json:"lagBytes,string"` // -1 unknown
}

// HostFacts describe the machine an agent runs on.
type HostFacts struct {
	Name           string    `json:"name"`
	OS             string    `json:"os"`
	Kernel         string    `json:"kernel"`
	Arch           string    `json:"arch"`
	Model          string    `json:"model"` // machine, or processor where the machine has no name
	Cores          int       `json:"cores"` // logical processors
	MemoryBytes    int64     `json:"memoryBytes,string"`
	MemoryFree     int64     `json:"memoryFreeBytes,string"` // available to new programs
	Load1          float64   `json:"load1"`
	CPUPercent     float64   `json:"cpuPercent"` // over the last report interval, all cores = 100; -1 unknown
	Provider       string    `json:"provider"`
	Location       string    `json:"location"`
	BootID         string    `json:"bootId"`
	Addresses      []string  `json:"addresses,omitempty"`
	Clock          time.Time `json:"clock"`       // agent's wall clock when the report was made
	ClockSkewMs    float64   `json:"clockSkewMs"` // set by the control plane on receipt
	UptimeSeconds  int64     `json:"uptimeSeconds"`
	Virtualization string    `json:"virtualization,omitempty"`
}

// DiskFacts describe the volume under an instance's data directory.
type DiskFacts struct {
	Dir         string   `json:"dir"`
	FreeBytes   int64    `json:"freeBytes,string"` // to an ordinary user
	TotalBytes  int64    `json:"totalBytes,string"`
	FsyncP99Ms  *float64 `json:"fsyncP99Ms,omitempty"` // of a 4 KiB write + sync; nil not measured yet
	GrowthBytes *int64   `json:"growthBytesLastHour,omitempty"`
}

// ProcessState is a supervised process as the agent sees it.
type ProcessState struct {
	Name      string    `json:"name"`
	State     string    `json:"state"` // running, stopped, restarting, failed
	PID       int       `json:"pid,omitempty"`
	StartedAt time.Time `json:"startedAt"`
	Adopted   bool      `json:"adopted"` // found running when the agent started
	Restarts  int       `json:"restarts"`
	Exit      string    `json:"exit,omitempty"` // last exit, in words
	LogFile   string    `json:"logFile,omitempty"`
}
