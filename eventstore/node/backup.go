package node

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"baton/eventstore/log"
	"baton/eventstore/membership"
	"baton/platform/vfs"
)

// Names inside a data directory, for those who make one.
const (
	LogDir   = "log"
	IndexDir = "index" // unless Config.IndexDir names another
	// RestoringFile is there while a restore is under way: no node starts.
	RestoringFile = "restoring"
)

// Snapshot returns the log's files up to what this node has applied. Everything
// in it is committed, and it holds everything whose acknowledgement this node
// has sent.
func (n *Node) Snapshot() (*log.Snapshot, error) {
	return n.storage.Log.Snapshot(n.machine.Watermark().Applied())
}

// NewFounder draws who a data directory will be, as the first member of a
// cluster with a new id. Addresses and name are told by the node when it runs.
func NewFounder() (founder membership.Member, clusterID string) {
	id := drawIdentity()
	return membership.Member{ID: id.ID, InstanceID: id.InstanceID, Name: "restored"}, randomUUID().String()
}

// WriteIdentity makes the data directory that of the member in the cluster. It
// comes last when a data directory is made: without it a node with a log does
// not start.
func WriteIdentity(fsys vfs.FS, dir string, member membership.Member, clusterID string) error {
	return identity{ID: member.ID, InstanceID: member.InstanceID, ClusterID: clusterID}.save(fsys, dir)
}

// checkRestored refuses a directory that a restore has not completed.
func (n *Node) checkRestored() error {
	_, err := n.fs.Stat(path.Join(n.cfg.Dir, RestoringFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for an unfinished restore: %w", err)
	}
	return fmt.Errorf("a restore into %s was not completed: run it again, it begins anew, or remove the directory", n.cfg.Dir)
}
