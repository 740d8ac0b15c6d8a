package projections

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"baton/eventstore/stream"
)

// place is how far a source was read. The zero value of pos, and -1 of rev, stand before everything.
type place struct {
	pos uint64 // position in the log of the last event looked at
	rev int64  // its revision, where one stream is read
}

var beginning = place{rev: -1}

// tag is the metadata of a checkpoint and of a partition's state, and, with more beside it, of every event a projection writes.
type tag struct {
	Sign    string           `json:"$v"` // "id:epoch:version" of the projection
	Commit  *uint64          `json:"$c,omitempty"`
	Prepare *uint64          `json:"$p,omitempty"`
	Streams map[string]int64 `json:"$s,omitempty"` // instead of positions, where one stream is read
	Done    bool             `json:"$done,omitempty"`
}

// signedBy says whether the tag is of the projection's present epoch; of any version.
func (g *tag) signedBy(d *document) bool {
	id, epoch, ok := g.of()
	return ok && id == d.ID && epoch == d.Epoch
}

// of splits the signature.
func (g *tag) of() (id, epoch int64, ok bool) {
	parts := strings.Split(g.Sign, ":")
	if len(parts) < 3 {
		return 0, 0, false
	}
	id, err := strconv.ParseInt(parts[0], 10, 64)
	if err != nil {
		return 0, 0, false
	}
	epoch, err = strconv.ParseInt(parts[1], 10, 64)
	return id, epoch, err == nil
}

func parseTag(metadata []byte) (g tag, ok bool) {
	return g, json.Unmarshal(metadata, &g) == nil && g.Sign != ""
}

// placeText is a place as clients read it.
func placeText(single string, at place) string {
	if single != "" {
		return single + ": " + strconv.FormatInt(at.rev, 10)
	}
	if at.pos == 0 {
		return "C:0/P:-1"
	}
	return fmt.Sprintf("C:%d/P:%d", at.pos, at.pos)
}

// stored is what the last checkpoint of a projection says.
type stored struct {
	revision stream.Expected // of the checkpoint stream
	at       place
	state    []byte // of the one partition; nil: none
	shared   []byte
	done     bool
}

// checkpoint reads where a projection stands. A checkpoint of another epoch, or of a deleted projection of the same name, counts as none.
func (t *term) checkpoint(ctx context.Context, name string, doc *document, single string, biState bool) (stored, error) {
	c := stored{revision: stream.NoStream, at: beginning}
	if doc.Mode == Transient {
		return c, nil
	}
	rev, data, metadata, err := t.last(ctx, checkpointStream(name))
	if err != nil || rev < 0 {
		return c, err
	}
	c.revision = stream.Expected(rev)
	g, ok := parseTag(metadata)
	if !ok || !g.signedBy(doc) {
		return c, nil
	}
	switch {
	case single != "" && g.Streams != nil:
		at, ok := g.Streams[single]
		if !ok {
			return c, nil // the program reads another stream now: it begins at its beginning, with the state it has
		}
		c.at.rev = at
	case single == "" && g.Commit != nil:
		c.at.pos = *g.Commit
	default:
		// The program reads another kind of source now.
	}
	c.done = g.Done
	c.state = data
	if biState {
		var both [2]json.RawMessage
		if json.Unmarshal(data, &both) == nil {
			c.state, c.shared = both[0], both[1]
		}
	}
	c.state, c.shared = orNil(c.state), orNil(c.shared)
	return c, nil
}

// orNil turns the JSON null into no state.
func orNil(state []byte) []byte {
	if len(state) == 0 || bytes.Equal(state, []byte("null")) {
		return nil
	}
	return state
}

func orNull(state []byte) []byte {
	if len(state) == 0 {
		return []byte("null")
	}
	return state
}
