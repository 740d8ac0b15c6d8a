package plan

import (
	"fmt"
	"sort"
	"time"

	"baton/control/engine"
	"baton/control/health"
)

// Ids of the steps about backups.
const (
	StepBeginBackup  = "begin-backup"
	StepTakeBackup   = "take-backup"
	StepRecordBackup = "record-backup"
	StepExpire       = "expire-backups"
	StepTryBackup    = "try-backup"
	StepRecordTry    = "record-check"
	StepSafety       = "safety-backup"
	StepPrepareData  = "prepare-data"
	StepDetach       = "detach-replicas"
	StepStopOld      = "stop-primary"
	StepSwapData     = "swap-data"
	StepStartNew     = "start-restored"
	StepCountKeys    = "count-keys"
	StepAttachOne    = "attach-replicas"
)

// Names of the arguments of plans about backups.
const (
	ArgBackup = "backup" // its id
	ArgTarget = "target"
	ArgOf     = "of"     // the cluster the backup is of
	ArgAgent  = "agent"  // where a trial runs
	ArgDrill  = "drill"  // "true": the newest backup is tried, on schedule or by hand
	ArgSafety = "safety" // id of the backup taken before a restore
)

// dataMoves bounds one attempt of a step that moves all data.
const dataMoves = time.Hour

// BackupNode chooses where a backup is taken: of an event store a clone before
// a follower, for no write waits for a clone; else the replica that is
// furthest, then on the least loaded host, then by name; the primary only when
// there is no other. It says why in words. wanted "" leaves the choice.
func BackupNode(f *Facts, wanted string) (node, why string, refusals []Refusal) {
	refuse := func(code, title, detail, fix string) (string, string, []Refusal) {
		return "", "", []Refusal{{code, title, detail, fix}}
	}
	if wanted != "" {
		n := f.Node(wanted)
		switch {
		case n == nil:
			return refuse("backup.node", "the cluster has no such node", fmt.Sprintf("%q", wanted), "choose one of its nodes")
		case n.NoBackup:
			return refuse("backup.tag", "the node is tagged: no backups on it", n.Name+" has the tag nobackup", "choose another node, or take the tag away")
		case !backupReady(n, f.Now):
			return refuse("backup.ready", "the node cannot be backed up now", n.Name+": "+unready(n, f.Now), "choose another node, or repair it")
		}
		why := "it was chosen by hand"
		if n.Role() == engine.RolePrimary {
			why += "; it is the " + leading(f.Engine)
		}
		return n.Name, why, nil
	}
	var replicas []*health.Node
	tagged := 0
	for i := range f.Nodes {
		n := &f.Nodes[i]
		switch {
		case n.NoBackup:
			tagged++
		case copies(n.Role()) && backupReady(n, f.Now):
			replicas = append(replicas, n)
		}
	}
	if len(replicas) > 0 {
		sort.SliceStable(replicas, func(i, j int) bool {
			a, b := replicas[i], replicas[j]
			if va, vb := a.Role() == engine.RoleReplica, b.Role() == engine.RoleReplica; va != vb {
				return vb
			}
			if la, lb := lagOf(a), lagOf(b); la != lb {
				return la < lb
			}
			return load(a) < load(b)
		})
		best := replicas[0]
		word, only := copyWord(f.Engine, best.Role()), true
		for _, n := range replicas[1:] {
			only = only && copyWord(f.Engine, n.Role()) != word
		}
		why := fmt.Sprintf("it is the %s that is furthest, on the least loaded host (%d bytes behind)", word, lagOf(best))
		if only {
			why = fmt.Sprintf("it is the only %s that can be backed up (%d bytes behind)", word, lagOf(best))
		}
		return best.Name, why, nil
	}
	if p := f.Primary(); p != nil && !p.NoBackup && backupReady(p, f.Now) {
		return p.Name, "no " + copyWord(f.Engine, engine.RoleReplica) + " can be backed up, so it is taken on the " + leading(f.Engine), nil
	}
	detail := "no node answers and is in step"
	if tagged > 0 {
		detail += fmt.Sprintf("; %d have the tag nobackup", tagged)
	}
	return refuse("backup.none", "there is no node to back up", detail, "repair a node, or take a tag away")
}

// copies tells the roles of nodes that have the data of the primary.
func copies(r engine.Role) bool {
	return r == engine.RoleReplica || r == engine.RoleClone || r == engine.RoleReadOnly
}

// copyWord is what people call a node of the role.
func copyWord(eng string, r engine.Role) string {
	if eng == engine.EventStore && r == engine.RoleReplica {
		return "follower"
	}
	return string(r)
}

// leading is what people call the primary, and what a backup on it costs.
func leading(eng string) string {
	if eng == engine.EventStore {
		return "leader, whose disk every write waits for"
	}
	return "primary, which the save will cost memory and processor time"
}

// maxBackupLag is how far behind a replica may be to be worth a backup.
const maxBackupLag = 64 << 20

func backupReady(n *health.Node, now time.Time) bool { return unready(n, now) == "" }

// unready says why no backup can be taken on the node, "" when it can.
func unready(n *health.Node, now time.Time) string {
	switch {
	case !n.Up():
		return "it does not answer"
	case n.InMaintenance(now):
		return "it is in maintenance"
	case n.Seen.Facts.Loading != nil && *n.Seen.Facts.Loading:
		return "it still loads its data"
	case copies(n.Role()) && !n.Seen.LinkUp:
		return "its link to the primary is down, so its data is old"
	case !copies(n.Role()) && n.Role() != engine.RolePrimary:
		return "its role is not known"
	case n.Seen.LagBytes > maxBackupLag:
		return fmt.Sprintf("it is %d MiB behind", n.Seen.LagBytes>>20)
	}
	return ""
}

func lagOf(n *health.Node) int64 { return max(0, n.Seen.LagBytes) }

func load(n *health.Node) float64 {
	if n.Host == nil || n.Host.Cores == 0 {
		return 1
	}
	return n.Host.Load1 / float64(n.Host.Cores)
}

// Backup plans taking a backup.
func Backup(f *Facts, id, target, wanted string) Plan {
	p := backupBase(f, "back up cluster "+f.Cluster+" to "+target)
	save, command := "Save, count the keys, encrypt and store; the manifest last", "BGSAVE; put "+target
	switch f.Engine {
	case engine.Redis:
	case engine.EventStore:
		save, command = "Back up the log as far as it is applied, encrypt and store; the manifest last", "POST /admin/backup; put "+target
	default:
		p.Refuse("backup.engine", "backups of this engine are not taken", f.Engine, "use the engine's own tools")
		return p
	}
	node, why, refusals := BackupNode(f, wanted)
	p.Node, p.Refusals = node, refusals
	if p.Refused() {
		return p
	}
	p.Args[ArgBackup], p.Args[ArgTarget] = id, target
	if f.Node(node).Role() == engine.RolePrimary {
		p.Args["primary"] = "true"
	}
	p.PossibleLoss = "nothing: the data is only read"
	p.Steps = []Step{
		{ID: StepBeginBackup, Node: node, Title: "Take the backup on " + node + ": " + why, Command: "journal", Undo: "it is marked as failed", Timeout: quick},
		{ID: StepTakeBackup, Node: node, Title: save, Command: command,
			Undo: "what was stored is removed", Timeout: dataMoves},
		{ID: StepRecordBackup, Node: node, Title: "Record the backup", Command: "journal", PointOfNoReturn: true, Undo: "none: it is a backup from here", Timeout: quick},
		{ID: StepExpire, Node: node, Title: "Remove the backups that have had their time", Command: "delete", Undo: "none", Timeout: patient},
	}
	return p
}

// backupBase is a plan with what every plan about backups has.
func backupBase(f *Facts, title string) Plan {
	p := Plan{Cluster: f.Cluster, Engine: f.Engine, Title: title, Generation: f.Generation, Addresses: map[string]string{}, Args: map[string]string{}}
	for i := range f.Nodes {
		p.Addresses[f.Nodes[i].Name] = f.Nodes[i].Address
	}
	return p
}

// TryBackup plans restoring a backup on trial, apart from everything else, on
// the host of an agent. drill is set when it is the newest on purpose.
func TryBackup(f *Facts, id, target, agent string, drill bool) Plan {
	p := backupBase(f, "verify backup "+id+" of cluster "+f.Cluster)
	if drill {
		p.Title = "restore drill of cluster " + f.Cluster + " with backup " + id
		p.Args[ArgDrill] = "true"
	}
	p.Args[ArgBackup], p.Args[ArgTarget], p.Args[ArgAgent] = id, target, agent
	p.PossibleLoss = "nothing: a scratch server is used"
	if f.Engine == engine.EventStore {
		p.PossibleLoss = "nothing: the backup is read beside everything else"
		p.Steps = []Step{
			{ID: StepTryBackup, Node: agent, Title: "Read the backup, check every part, apply every entry to an empty index", Command: "baton store verify",
				Undo: "what was read is removed", Timeout: dataMoves},
			{ID: StepRecordTry, Node: agent, Title: "Record what was found", Command: "journal", Undo: "none needed", Timeout: quick},
		}
		return p
	}
	p.Steps = []Step{
		{ID: StepTryBackup, Node: agent, Title: "Read the backup, check every part, load it into a scratch server, compare its keys", Command: "redis-check-rdb; redis-server (no network)",
			Undo: "the scratch server and its data are removed", Timeout: dataMoves},
		{ID: StepRecordTry, Node: agent, Title: "Record what was found", Command: "journal", Undo: "none needed", Timeout: quick},
	}
	return p
}

// RestorePause is how long writes are held before the primary is stopped, at
// most.
const RestorePause = time.Minute

// Nowhere is what a detached replica follows: a port without a service, so
// that it serves what it has.
const Nowhere = "127.0.0.1 1"
