package plan

import "baton/control/engine"

// Acts on a cluster that may be out of the question for good, whatever its
// state: because of its engine, or because Baton did not make its servers.
const (
	CanAddNode    = "add-node"
	CanRemoveNode = "remove-node"
	CanResync     = "resync"
	CanParameters = "parameters"
	// CanRestartParameters are those that servers take at their next start.
	CanRestartParameters = "restart-parameters"
	CanUsers             = "users"
	CanBackup            = "backup"
	CanRestoreInPlace    = "restore-in-place"
)

// Why servers that Baton did not make are left alone, and what to do instead.
const (
	notMade    = "Baton did not make the servers of this cluster"
	notMadeWhy = "it watches and promotes them, and leaves their files alone"
	notMadeFix = "do it by hand on the host"
)

// storeInPlace is why an event store is not restored in place.
const storeInPlace = "its readers keep positions and revisions, which would then belong to other events; a cluster that goes on from a backup is a new one"

// otherEngine is why the acts above are refused for other engines than Redis.
const otherEngine = "Baton does not do this for clusters of this engine"

// Capability tells whether an act is possible at all; what stands against it at
// one moment is for the act's own plan to say.
type Capability struct {
	Action string
	OK     bool
	Why    string // a sentence when it is not possible
}

// Capabilities of a cluster, in a fixed order. The plans refuse what is not
// possible here in the same words.
func Capabilities(eng string, c ClusterFacts) []Capability {
	var out []Capability
	add := func(action string, needsMade bool) {
		k := Capability{Action: action, OK: true}
		switch {
		case eng == engine.EventStore && action == CanBackup:
		case eng == engine.EventStore && action == CanRestoreInPlace:
			k.OK, k.Why = false, "An event store is not restored in place: "+storeInPlace+"."
		case eng != engine.Redis:
			k.OK, k.Why = false, otherEngine+"."
		case needsMade && !c.Made:
			k.OK, k.Why = false, notMade+": "+notMadeWhy+"."
		}
		out = append(out, k)
	}
	add(CanAddNode, true)
	add(CanRemoveNode, false)
	add(CanResync, false)
	add(CanParameters, false)
	add(CanRestartParameters, true)
	add(CanUsers, true)
	add(CanBackup, false)
	add(CanRestoreInPlace, true)
	return out
}
