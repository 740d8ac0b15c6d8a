package backup

import (
	"sort"
	"time"
)

// DefaultKeep is how many backups are kept where a policy says nothing.
const DefaultKeep = 7

// Kept is one backup as retention sees it.
type Kept struct {
	ID       string
	At       time.Time
	Verified bool // and found good
	Bad      bool // its check found it damaged
}

// Expired decides which backups have had their time: those behind the newest
// keep (0: DefaultKeep), and of these, when days is not 0, only those older than so many
// days. Damaged ones do not count among the newest. Never: one in use, the
// newest verified one, the newest that is not damaged. It is pure; the result
// is in order of age, oldest first.
func Expired(list []Kept, keep, days int, now time.Time, inUse func(id string) bool) []string {
	if keep <= 0 {
		keep = DefaultKeep
	}
	sorted := append([]Kept(nil), list...)
	sort.SliceStable(sorted, func(i, j int) bool { return sorted[i].At.After(sorted[j].At) })
	var out []string
	good, verified := 0, false
	for _, k := range sorted {
		stays := inUse != nil && inUse(k.ID)
		if !k.Bad {
			stays = stays || good == 0 || good < keep
			good++
			if k.Verified && !verified {
				stays, verified = true, true
			}
		} else if good < keep {
			stays = true // as long as it is young it may be looked at
		}
		if days > 0 && now.Sub(k.At) <= time.Duration(days)*24*time.Hour {
			stays = true
		}
		if !stays {
			out = append(out, k.ID)
		}
	}
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out
}
