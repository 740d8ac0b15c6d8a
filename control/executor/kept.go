package executor

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"baton/control/inventory"
	"baton/control/mend"
)

// Saved is a file of everything a node held, made beside it before it was told
// to follow somebody who may hold less.
type Saved struct {
	Cluster, Node string
	// Generation of the order that had it made; its name holds it.
	Generation uint64
	// Operation names it among what was saved of the cluster: of the correction
	// that had it made, or of the operation and the node.
	Operation string
	Why       string // what it is, for people
	Path      string // on the node's host
	Bytes     int64
}

// keptTime bounds listing a file. A second primary's writes are held meanwhile.
const keptTime = 5 * time.Second

// kept lists a file that keep-data answered with. Nothing waits for a journal
// that does not take it: the audit names the file too.
func (e *Executor) kept(ctx context.Context, s Saved, v map[string]string) {
	if s.Path = v["bundle"]; s.Path == "" || e.Leases == nil {
		return
	}
	s.Bytes, _ = strconv.ParseInt(v["bytes"], 10, 64)
	ctx, cancel := context.WithTimeout(ctx, keptTime)
	defer cancel()
	if err := e.Leases.Kept(ctx, s); err != nil {
		e.Log.Warn("a file of saved writes is not listed", "cluster", s.Cluster, "node", s.Node, "path", s.Path, "err", err)
	}
}

// heldAs says what a file saved before a correction holds.
func heldAs(c *inventory.Cluster, d mend.Correction) string {
	if d.Kind == mend.Demote {
		return fmt.Sprintf("everything %s held when it came back as a primary beside %s", d.Node, c.ShouldBe)
	}
	return fmt.Sprintf("everything %s held, which is more than %s has, before it followed it", d.Node, c.ShouldBe)
}
