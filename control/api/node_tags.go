package api

import (
	"time"

	"baton/control/inventory"
)

// NodeTags is what people decided a node may become, as it holds now.
type NodeTags struct {
	Priority    int        `json:"priority"`
	NoFailover  bool       `json:"noFailover"`
	Never       bool       `json:"never"`
	NoSync      bool       `json:"noSync"`
	NoBackup    bool       `json:"noBackup"`
	Expires     *time.Time `json:"expires" doc:"when the default tags come back; null: never"`
	Maintenance *time.Time `json:"maintenance" doc:"until when nothing is promoted to it; null: not in maintenance"`
}

// nodeTags gives the tags of a node that hold now; the default ones for a node
// that is not in the record.
func nodeTags(c *inventory.Cluster, node string, now time.Time) NodeTags {
	m, ok := c.Member(node)
	if !ok {
		return NodeTags{Priority: inventory.DefaultPriority}
	}
	t, _ := m.Tags.Lapsed(now)
	return NodeTags{t.Priority, t.NoFailover, t.Never, t.NoSync, t.NoBackup, t.Expires, t.Maintenance}
}
