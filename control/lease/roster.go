package lease

import "slices"

// Eligible are the nodes the control plane may promote while the holder of a
// lease may be kept by promises: only those whose agents are in every roster
// the holder may be asking. What it is has to be recorded before it is relied
// on, because it outlives the control node that found it out:
//
//   - fewer: recorded first, then the holder is told;
//   - more: the holder is told first, and when it acknowledged, it is recorded.
//
// A nil Nodes with All stands for every node: the holder is not kept by promises.
type Eligible struct {
	All   bool     `json:"all"`
	Nodes []string `json:"nodes,omitempty"` // sorted
}

// Everybody may be promoted: no holder is kept by promises.
func Everybody() Eligible { return Eligible{All: true} }

// Has tells whether a node may be promoted.
func (e Eligible) Has(node string) bool { return e.All || slices.Contains(e.Nodes, node) }

// Equal tells whether both are the same.
func (e Eligible) Equal(o Eligible) bool { return e.All == o.All && slices.Equal(e.Nodes, o.Nodes) }

// Told is what may be promoted from before the holder is told of a roster until
// it acknowledged it. Told that only grants count, it may be asking the former
// roster until then.
func (e Eligible) Told(failsafe bool, roster []string) Eligible {
	switch {
	case !failsafe:
		return e
	case e.All:
		return Eligible{Nodes: sorted(roster)}
	}
	var both []string
	for _, n := range e.Nodes {
		if slices.Contains(roster, n) {
			both = append(both, n)
		}
	}
	return Eligible{Nodes: both}
}

// Acknowledged is what may be promoted when the holder said, with a renewal
// that was granted, that the roster it was told of last is the one it asks.
func Acknowledged(failsafe bool, roster []string) Eligible {
	if !failsafe {
		return Everybody()
	}
	return Eligible{Nodes: sorted(roster)}
}

func sorted(nodes []string) []string {
	out := slices.Clone(nodes)
	slices.Sort(out)
	return slices.Compact(out)
}
