package agent

import (
	"slices"
	"time"
)

const (
	// quickRetry is waited before the next of several control nodes is dialed.
	quickRetry = 100 * time.Millisecond
	// roundMax bounds the wait once every control node was tried in vain.
	roundMax = 500 * time.Millisecond
	// steadyLink: a link that lasted so long was a good one.
	steadyLink = 10 * time.Second
	// silenceOfOne and silenceOfMany: the control plane sends a tick each second;
	// without any message for this long the link is given up. Where there is
	// another control node to ask, that is sooner.
	silenceOfOne  = 5 * time.Second
	silenceOfMany = 2500 * time.Millisecond
)

// route chooses which control node to dial. It belongs to one goroutine.
type route struct {
	addresses []string // of all control nodes, never empty
	at        int      // index of the one to dial now
	failed    int      // attempts without success in a row
	direct    bool     // the last move was straight to a leader
}

func newRoute(first string, all []string) *route {
	return &route{addresses: merge([]string{first}, all)}
}

// merge joins lists without repeating an address, in order.
func merge(lists ...[]string) []string {
	var out []string
	for _, list := range lists {
		for _, a := range list {
			if a != "" && !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	return out
}

// address is where to dial now.
func (r *route) address() string { return r.addresses[r.at] }

// silence is how long a link may be silent.
func (r *route) silence() time.Duration {
	if len(r.addresses) > 1 {
		return silenceOfMany
	}
	return silenceOfOne
}

// learn takes the addresses of all control nodes as one of them told; the one
// in use stays. It reports whether they are news. An empty list is not believed.
func (r *route) learn(all []string) bool {
	all = merge(all)
	if len(all) == 0 {
		return false
	}
	now := r.address()
	news := len(all) != len(r.addresses)
	for _, a := range all {
		news = news || !slices.Contains(r.addresses, a)
	}
	if !news {
		return false
	}
	// The one in use may be known here under another name: it is kept while it is used.
	r.addresses = all
	if r.at = slices.Index(all, now); r.at < 0 {
		r.addresses, r.at = append(slices.Clone(all), now), len(all)
	}
	return true
}

// lasted is called when a link ended that had been good.
func (r *route) lasted() { r.failed = 0 }

// next moves on after a link ended: to the leader if it was told, else to the
// next control node. It returns how long to wait before dialing.
func (r *route) next(leader string) time.Duration {
	r.failed++
	here := r.address()
	direct := r.direct
	r.direct = false
	if i := slices.Index(r.addresses, leader); i >= 0 {
		r.at = i
	} else if leader != "" {
		r.addresses, r.at = append(r.addresses, leader), len(r.addresses)
	} else {
		r.at = (r.at + 1) % len(r.addresses)
	}
	switch rounds := r.failed / len(r.addresses); {
	case leader != "" && leader != here && r.failed < 2*len(r.addresses) && !direct:
		r.direct = true
		return 0 // straight to who leads, but not in circles
	case len(r.addresses) == 1:
		return min(retryMin<<min(rounds-1, 6), retryMax)
	case rounds == 0:
		return quickRetry
	default:
		return min(quickRetry<<min(rounds, 6), roundMax)
	}
}
