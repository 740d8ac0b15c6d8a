package inventory

import "baton/control/journal"

// Observe has f see every event of the journal, in order, before Wait and
// Watch tell of it: what is projected beside the inventory is then as new as
// the inventory. Call it before Run. f must be quick and not call back.
func (v *Inventory) Observe(f func(journal.Recorded)) { v.observers = append(v.observers, f) }
