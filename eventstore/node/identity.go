package node

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"baton/eventstore/membership"
	"baton/platform/vfs"
)

// Files in the data directory beside the log.
const (
	identityFile = "identity.json"
	foundingFile = "founding.json"
	stateFile    = "state" // as log.OpenState names it
)

// identity is who a data directory is. It is written once; the cluster id is
// added when the node founds or joins one.
type identity struct {
	ID         membership.MemberID   `json:"id"`
	InstanceID membership.InstanceID `json:"instanceId"`
	ClusterID  string                `json:"clusterId,omitempty"`
}

// loadIdentity reads the identity, or draws one for a directory without a log.
func loadIdentity(fsys vfs.FS, dir string, hasLog bool) (identity, error) {
	var id identity
	found, err := readJSON(fsys, path.Join(dir, identityFile), &id)
	if err != nil {
		return id, err
	}
	if found {
		if id.ID == 0 {
			return id, fmt.Errorf("%s holds no id; restore it, or wipe the data directory and let the node join again", path.Join(dir, identityFile))
		}
		return id, nil
	}
	if hasLog {
		return id, fmt.Errorf("%s is missing but there is a log: this is no new node; restore the file, or wipe the data directory and let the node join again", path.Join(dir, identityFile))
	}
	id = drawIdentity()
	return id, id.save(fsys, dir)
}

// drawIdentity returns a new identity without a cluster.
func drawIdentity() identity {
	id := identity{InstanceID: randomUUID()}
	for id.ID == 0 || id.ID > 1<<63 { // raft keeps the highest numbers for itself
		var random [8]byte
		_, _ = rand.Read(random[:]) // never fails, see crypto/rand
		id.ID = membership.MemberID(binary.LittleEndian.Uint64(random[:]) >> 1)
	}
	return id
}

func (id identity) save(fsys vfs.FS, dir string) error {
	return writeJSON(fsys, path.Join(dir, identityFile), id)
}

// randomUUID returns a version 4 UUID.
func randomUUID() membership.InstanceID {
	var id membership.InstanceID
	_, _ = rand.Read(id[:]) // never fails, see crypto/rand
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

// foundingState is this node's durable part in founding its cluster.
type foundingState struct {
	membership.Acceptor
	// Chosen is the founding a majority accepted; then the node starts.
	Chosen *membership.Founding `json:"chosen,omitempty"`
}

func readJSON(fsys vfs.FS, name string, into any) (found bool, err error) {
	data, err := vfs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read %s: %w", name, err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return false, fmt.Errorf("read %s: %w", name, err)
	}
	return true, nil
}

func writeJSON(fsys vfs.FS, name string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	if err := vfs.WriteFileAtomic(fsys, name, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
