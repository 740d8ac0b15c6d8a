package api

import (
	"encoding/json"
	"sync"
	"time"
)

// board is the list of all clusters as it was made last. Everybody with the
// page open is sent it each second: with a thousand clusters and twenty people
// it is made and encoded a few times a second instead of for each of them.
type board struct {
	mu       sync.Mutex
	at       time.Time // when it was begun
	took     time.Duration
	position uint64 // of the inventory
	rows     []ClusterSummary
	encoded  []byte // rows as JSON; nil until somebody wants it
}

// boardAge is how old a list may be that is given once more. Agents report
// twice a second. What was journaled since makes it anew at once. A list that
// takes long to make is kept for boardShare times as long, at most boardOldest:
// it must not take the processors from everything else.
const (
	boardAge    = 300 * time.Millisecond
	boardOldest = 900 * time.Millisecond
	boardShare  = 20
)

// board returns the list and its JSON. Neither is to be changed.
func (s *Server) board() ([]ClusterSummary, []byte) {
	b := &s.shown
	b.mu.Lock() // whoever comes while it is made gets it too
	defer b.mu.Unlock()
	now, position := time.Now(), s.Inventory.Position()
	if b.rows == nil || position != b.position || now.Sub(b.at) > min(max(boardAge, boardShare*b.took), boardOldest) {
		b.at, b.position, b.rows, b.encoded = now, position, s.summaries(), nil
		b.took = time.Since(now)
	}
	if b.encoded == nil {
		data, err := json.Marshal(b.rows)
		if err != nil {
			panic("api: clusters cannot be encoded: " + err.Error())
		}
		b.encoded = data
	}
	return b.rows, b.encoded
}
