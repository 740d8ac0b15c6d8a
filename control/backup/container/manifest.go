package container

import (
	"encoding/json"
	"fmt"
	"regexp"
)

// Manifest stands beside each backup file and is written after it: a backup
// without one does not exist. It repeats the header, so a catalog can be
// made from a target alone.
type Manifest struct {
	Header
	Object string `json:"object"` // name of the backup file in the target
	Bytes  int64  `json:"bytes"`  // of the backup file
	Host   string `json:"host"`   // where it was taken
	SaveMs int64  `json:"saveMs"` // the engine's own save
	SendMs int64  `json:"sendMs"` // encrypting and storing
	// Primary tells that it was taken on the primary.
	Primary bool `json:"primary,omitempty"`
}

// Suffixes of the two objects of a backup.
const (
	fileSuffix     = ".baton"
	manifestSuffix = ".json"
)

// FileName is the name of a backup's file in its target.
func FileName(cluster, id string) string { return cluster + "/" + id + fileSuffix }

// ManifestName is the name of a backup's manifest in its target.
func ManifestName(cluster, id string) string { return cluster + "/" + id + manifestSuffix }

// MaxManifestBytes bounds a manifest.
const MaxManifestBytes = 2 * maxHeaderBytes

var idForm = regexp.MustCompile(`^b-[a-z0-9-]{1,60}$`)

// ValidID tells whether s may name a backup.
func ValidID(s string) bool { return idForm.MatchString(s) }

// DecodeManifest reads a manifest and refuses one of another backup.
func DecodeManifest(b []byte, cluster, id string) (Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("read the manifest of %s: %w", id, err)
	}
	if m.Cluster != cluster || m.ID != id || m.Object != FileName(cluster, id) || m.Format != Format {
		return m, fmt.Errorf("the manifest found for %s/%s is of %s/%s, format %d", cluster, id, m.Cluster, m.ID, m.Format)
	}
	return m, nil
}
