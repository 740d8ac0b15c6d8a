package membership

import (
	"encoding/hex"
	"fmt"
	"strconv"
)

// MemberID names one data directory for ever: it is drawn at random when the
// directory is made, never reused, and is the raft id. It is written as 16
// hexadecimal digits, also in JSON. Zero means none.
type MemberID uint64

// String returns the id as 16 hexadecimal digits, or "" for none.
func (id MemberID) String() string {
	if id == 0 {
		return ""
	}
	return fmt.Sprintf("%016x", uint64(id))
}

// MarshalText writes the id as hexadecimal digits.
func (id MemberID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads hexadecimal digits; the empty text is none.
func (id *MemberID) UnmarshalText(text []byte) error {
	parsed, err := ParseMemberID(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

// ParseMemberID reads the hexadecimal form of an id; the empty text is none.
func ParseMemberID(text string) (MemberID, error) {
	if text == "" {
		return 0, nil
	}
	value, err := strconv.ParseUint(text, 16, 64)
	if err != nil {
		return 0, fmt.Errorf("parse member id %q: %w", text, err)
	}
	return MemberID(value), nil
}

// InstanceID is the 128-bit id by which event-store clients know a node. It is
// drawn with the member id and shown as 32 hexadecimal digits in dashed form.
type InstanceID [16]byte

// String returns the usual dashed form.
func (id InstanceID) String() string {
	var text [36]byte
	hex.Encode(text[0:8], id[0:4])
	text[8] = '-'
	hex.Encode(text[9:13], id[4:6])
	text[13] = '-'
	hex.Encode(text[14:18], id[6:8])
	text[18] = '-'
	hex.Encode(text[19:23], id[8:10])
	text[23] = '-'
	hex.Encode(text[24:36], id[10:16])
	return string(text[:])
}

// MarshalText writes the dashed form.
func (id InstanceID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the dashed or the plain form; the empty text is zero.
func (id *InstanceID) UnmarshalText(text []byte) error {
	digits := make([]byte, 0, 32)
	for _, c := range text {
		if c != '-' {
			digits = append(digits, c)
		}
	}
	*id = InstanceID{}
	if len(digits) == 0 {
		return nil
	}
	if len(digits) != 32 {
		return fmt.Errorf("parse instance id %q: want 32 hexadecimal digits", text)
	}
	_, err := hex.Decode(id[:], digits)
	return err
}

// Member is what the cluster knows about one of its nodes. It is replicated.
type Member struct {
	ID              MemberID   `json:"id"`
	InstanceID      InstanceID `json:"instanceId"`
	Name            string     `json:"name"`
	PeerAddr        string     `json:"peerAddr"` // host:port other nodes dial
	ClientHost      string     `json:"clientHost"`
	ClientPort      int        `json:"clientPort"`
	Priority        int        `json:"priority"` // higher leads and votes first
	ReadOnlyReplica bool       `json:"readOnlyReplica"`
}

// ClientAddress returns host:port as clients dial it.
func (m Member) ClientAddress() string {
	if m.ClientHost == "" {
		return ""
	}
	return m.ClientHost + ":" + strconv.Itoa(m.ClientPort)
}

// Label returns the name a person knows the member by, or its id.
func (m Member) Label() string {
	if m.Name != "" {
		return m.Name
	}
	return m.ID.String()
}

// Role is what the configuration lets a member be.
type Role string

// A member has exactly one role at a time.
const (
	// RoleLeader is the voter that takes writes; entered when its first entry of
	// a term commits, left when a higher term is seen or the quorum is lost.
	RoleLeader Role = "Leader"
	// RoleFollower is a voter that does not lead.
	RoleFollower Role = "Follower"
	// RoleClone copies without voting and may be promoted.
	RoleClone Role = "Clone"
	// RoleReadOnlyReplica copies without voting and is never promoted.
	RoleReadOnlyReplica Role = "ReadOnlyReplica"
)

// State is the node state clients see in gossip, named as they know it.
type State string

// States; Number gives the value on the wire.
const (
	StateInitializing       State = "Initializing"
	StateDiscoverLeader     State = "DiscoverLeader"
	StateUnknown            State = "Unknown"
	StatePreReplica         State = "PreReplica"
	StateCatchingUp         State = "CatchingUp"
	StateClone              State = "Clone"
	StateFollower           State = "Follower"
	StatePreLeader          State = "PreLeader"
	StateLeader             State = "Leader"
	StateManager            State = "Manager"
	StateShuttingDown       State = "ShuttingDown"
	StateShutdown           State = "Shutdown"
	StateReadOnlyLeaderless State = "ReadOnlyLeaderless"
	StatePreReadOnlyReplica State = "PreReadOnlyReplica"
	StateReadOnlyReplica    State = "ReadOnlyReplica"
	StateResigningLeader    State = "ResigningLeader"
)

var stateNumbers = map[State]int{
	StateInitializing: 0, StateDiscoverLeader: 1, StateUnknown: 2, StatePreReplica: 3,
	StateCatchingUp: 4, StateClone: 5, StateFollower: 6, StatePreLeader: 7, StateLeader: 8,
	StateManager: 9, StateShuttingDown: 10, StateShutdown: 11, StateReadOnlyLeaderless: 12,
	StatePreReadOnlyReplica: 13, StateReadOnlyReplica: 14, StateResigningLeader: 15,
}

// Number returns the value of the state in client gossip; 2 (Unknown) for a
// name that is not one of the constants.
func (s State) Number() int {
	if number, ok := stateNumbers[s]; ok {
		return number
	}
	return 2
}
