package node

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"

	"baton/eventstore/membership"
)

// HelloPath is where a node answers, on its client port, nodes that have it as a seed.
const HelloPath = "/peer/hello"

// seedAnswer is the JSON at HelloPath.
type seedAnswer struct {
	ID          membership.MemberID `json:"id"`
	PeerAddress string              `json:"peerAddress"`
	ClusterID   string              `json:"clusterId,omitempty"`
}

// maxSeedAnswer bounds what a seed may answer.
const maxSeedAnswer = 64 << 10

// HelloHandler answers GET HelloPath on the client port with this node's peer
// address and cluster; nodes that have it as a seed ask there.
func (n *Node) HelloHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET is answered here", http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(seedAnswer{ID: n.identity.ID, PeerAddress: n.peerAddr, ClusterID: n.clusterID()})
	})
}

// resolveSeeds asks the seeds not reached yet for their peer addresses.
func (n *Node) resolveSeeds() {
	b := n.boot
	b.mu.Lock()
	var open []string
	for _, seed := range n.cfg.Seeds {
		if b.resolved[seed] == "" {
			open = append(open, seed)
		}
	}
	b.mu.Unlock()
	if len(open) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(n.ctx, seedTimeout)
	defer cancel()
	var all sync.WaitGroup
	for _, seed := range open {
		all.Go(func() {
			answer, err := n.askSeed(ctx, seed)
			if err != nil || answer.PeerAddress == "" {
				return
			}
			b.mu.Lock()
			b.resolved[seed] = answer.PeerAddress
			b.mu.Unlock()
			if answer.ID != n.identity.ID {
				b.hear(n.peerAddr, answer.PeerAddress)
			}
		})
	}
	all.Wait()
}

func (n *Node) askSeed(ctx context.Context, seed string) (seedAnswer, error) {
	scheme := "http"
	transport := &http.Transport{DisableKeepAlives: true}
	switch {
	case n.cfg.TLS != nil:
		scheme, transport.TLSClientConfig = "https", n.cfg.TLS.seed()
	case n.cfg.SeedTLS != nil:
		scheme, transport.TLSClientConfig = "https", n.cfg.SeedTLS
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+seed+HelloPath, nil)
	if err != nil {
		return seedAnswer{}, err
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return seedAnswer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	var answer seedAnswer
	err = json.NewDecoder(io.LimitReader(response.Body, maxSeedAnswer)).Decode(&answer)
	return answer, err
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}
