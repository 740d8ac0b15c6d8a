package engine

// Actions on one instance in the life of a cluster.
const (
	// Configure{values}: JSON object of settings, set at once and written to
	// the engine's own file. Values: "changed", the names that were different.
	Configure = "configure"
	// ReadParameters: the present values of all parameters of Maker.Parameters.
	// Values: one per name.
	ReadParameters = "read-parameters"
	// SetUser{name,access,hash}: makes or changes a user whose password has the
	// SHA-256 hash (hexadecimal), and ends the connections of its former
	// password. DropUser{name} removes one with its connections.
	SetUser  = "set-user"
	DropUser = "drop-user"
	// Discover: who replicates what, as the instance knows it. Values: "found",
	// JSON of Found.
	Discover = "discover"
	// Reconnect{addr}: a replica drops its link and attaches to addr again,
	// from its offset where that is possible.
	Reconnect = "reconnect"
	// ReadSync: the progress of a synchronization. Values: "role", "link" (up,
	// down), "syncing" (true while a full copy is received), "leftBytes",
	// "offset", "replid", "syncFull", "usedMemory", "keys".
	ReadSync = "read-sync"
)

// Access of a database user: what it may do.
const (
	AccessRead      = "read"
	AccessReadWrite = "readwrite"
	AccessAdmin     = "admin" // everything but what would take roles out of Baton's hands
)

// LoginUser is the user Baton logs in and replicates as on servers it makes.
const LoginUser = "baton"

// NewUser is a user of a new server.
type NewUser struct {
	Name   string `json:"name"`
	Access string `json:"access"`
	Hash   string `json:"hash"` // SHA-256 of the password, hexadecimal
}

// NewServer is all that decides a new server's files.
type NewServer struct {
	Cluster string `json:"cluster"`
	Node    string `json:"node"`
	Engine  string `json:"engine"`
	Version string `json:"version"` // as the agent reported it
	Host    string `json:"host"`    // other members and clients reach it here
	Port    int    `json:"port"`
	// MemoryBytes is the engine's own limit, 0 none.
	MemoryBytes int64 `json:"memoryBytes"`
	// SyncReplicas must be in step for writes to be taken, 0 none.
	SyncReplicas int `json:"syncReplicas"`
	// Login is the user above with its password.
	Login Auth      `json:"login"`
	Users []NewUser `json:"users,omitempty"`
	// ReplicaOf is host:port of the primary, "" for the primary itself.
	ReplicaOf  string            `json:"replicaOf,omitempty"`
	Parameters map[string]string `json:"parameters,omitempty"`
	Peers      []Peer            `json:"peers,omitempty"`
	// Operation that asks for it: the server of another one is never touched.
	Operation string `json:"operation"`
}

// ServerFile is one file of a server's directory.
type ServerFile struct {
	Name string
	Data []byte
}

// Parameter is a setting of an engine that people may change.
type Parameter struct {
	Name        string `json:"name"`
	Default     string `json:"default"`
	Description string `json:"description"`
	// NeedsRestart is set where a running server does not take a new value.
	NeedsRestart bool `json:"needsRestart"`
}

// Maker is what a driver offers beside Driver when Baton can make servers of
// its engine. The methods only compute.
type Maker interface {
	// Programs are the names of the engine's server programs, best first.
	Programs() []string
	// VersionOf reads the version out of what a program answers to --version;
	// ok is false when it is not the engine's.
	VersionOf(output string) (version string, ok bool)
	// Make returns the files of a server whose directory is dir, and its
	// arguments. It refuses values that could not be one word of a file.
	Make(n NewServer, dir string) (files []ServerFile, args []string, err error)
}

// Found is what Discover saw on one server.
type Found struct {
	Address   string   `json:"address"`
	Role      Role     `json:"role"`
	Version   string   `json:"version"`
	ReplicaOf string   `json:"replicaOf,omitempty"`
	Replicas  []string `json:"replicas,omitempty"` // addresses, sorted
	LinkUp    bool     `json:"linkUp"`
	History   string   `json:"history"`
	Position  uint64   `json:"position,string"`
	Keys      string   `json:"keys,omitempty"`
	// Foreign says which other manager acts on it, "" none.
	Foreign string `json:"foreign,omitempty"`
	// Mode is the engine's own: "standalone", "cluster", "sentinel".
	Mode string `json:"mode"`
	// SyncReplicas must be attached for writes to be taken.
	SyncReplicas int `json:"syncReplicas"`
}

// Program is an engine's server program found on a host.
type Program struct {
	Engine  string `json:"engine"`
	Version string `json:"version"`
	Path    string `json:"path"`
}
