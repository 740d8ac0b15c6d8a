package backup

import (
	"encoding/json"
	"time"

	"baton/control/backup/container"
)

// Stream holds what happened to a cluster's backups.
func Stream(cluster string) string { return streamPrefix + cluster }

const (
	streamPrefix = "backups-"
	// TargetsStream holds the targets.
	TargetsStream = "backup-targets"
)

// Types of the events. Each may come twice with the same content: the second
// changes nothing.
const (
	typeBegun         = "backup-begun"
	typeTaken         = "backup-taken"
	typeFailed        = "backup-failed"
	typeCleaned       = "backup-remains-removed"
	typeVerified      = "backup-verified"
	typeRemoved       = "backup-removed"
	typeDrilled       = "restore-drilled"
	typeRan           = "backup-schedule-ran"
	typeTargetPut     = "backup-target-put"
	typeTargetRemoved = "backup-target-removed"
)

// Begun: an operation is taking a backup.
type Begun struct {
	ID        string    `json:"id"`
	Cluster   string    `json:"cluster"`
	Node      string    `json:"node"`
	Agent     string    `json:"agent"` // id of the agent beside the node
	Target    string    `json:"target"`
	Operation string    `json:"operation"`
	Reason    string    `json:"reason,omitempty"`
	At        time.Time `json:"at"`
}

// Taken: the manifest is in the target.
type Taken struct {
	ID       string             `json:"id"`
	Manifest container.Manifest `json:"manifest"`
	At       time.Time          `json:"at"`
}

// Failed: it never became a backup. Cleaned comes when nothing of it is left in
// the target.
type Failed struct {
	ID  string    `json:"id"`
	Why string    `json:"why"`
	At  time.Time `json:"at"`
}

// Cleaned: nothing of a failed backup is left in the target.
type Cleaned struct {
	ID string    `json:"id"`
	At time.Time `json:"at"`
}

// Verified: a backup was restored apart from everything else, or could not be.
type Verified struct {
	ID        string    `json:"id"`
	OK        bool      `json:"ok"`
	How       string    `json:"how"` // what was done and found, or what is wrong
	Keys      int64     `json:"keys"`
	RestoreMs int64     `json:"restoreMs"` // reading and loading
	Operation string    `json:"operation"`
	At        time.Time `json:"at"`
}

// Removed: a backup is no more in its target.
type Removed struct {
	ID      string    `json:"id"`
	Expired bool      `json:"expired,omitempty"` // by retention, not by a person
	By      string    `json:"by,omitempty"`
	At      time.Time `json:"at"`
}

// Drilled: the newest backup was restored on trial.
type Drilled struct {
	Backup    string    `json:"backup"`
	OK        bool      `json:"ok"`
	Ms        int64     `json:"ms"`
	Sentence  string    `json:"sentence"`
	Operation string    `json:"operation"`
	At        time.Time `json:"at"`
}

// Ran: what a schedule asked for was begun.
type Ran struct {
	What      string    `json:"what"` // WhatBackup, WhatDrill, or WhatAfter and an operation's id
	Due       time.Time `json:"due"`
	Operation string    `json:"operation"`
	At        time.Time `json:"at"`
}

// TargetPut: a target was made or changed.
type TargetPut struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	// Location is for people; Sealed is the whole target.Config.
	Location string    `json:"location"`
	Sealed   string    `json:"sealed"`
	By       string    `json:"by"`
	At       time.Time `json:"at"`
}

// TargetRemoved: Baton forgot a target. What is in it stays.
type TargetRemoved struct {
	Name string    `json:"name"`
	By   string    `json:"by"`
	At   time.Time `json:"at"`
}

func decode[E any](data []byte, f func(E)) error {
	var e E
	if err := json.Unmarshal(data, &e); err != nil {
		return err
	}
	f(e)
	return nil
}
