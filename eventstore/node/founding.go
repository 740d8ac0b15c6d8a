package node

import (
	"context"
	"errors"
	"path"
	"sync"

	"baton/eventstore/membership"
)

// ballotRequest is either phase of the agreement; Value only in the second.
type ballotRequest struct {
	Ballot membership.Ballot    `json:"ballot"`
	Value  *membership.Founding `json:"value,omitempty"`
}

type ballotReply struct {
	OK       bool                 `json:"ok"`
	Acceptor membership.Acceptor  `json:"acceptor"`
	Chosen   *membership.Founding `json:"chosen,omitempty"`
}

// joinsOnly says whether this node founds nothing. One that promised or accepted
// something before it was told so goes on with that: others may count on its word.
func (n *Node) joinsOnly() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.joinsOnlyLocked()
}

func (n *Node) joinsOnlyLocked() bool {
	a := n.founding.Acceptor
	return n.cfg.JoinOnly && n.founding.Chosen == nil && a.Promised == membership.Ballot{} && a.Value == nil
}

// prepare and accept answer for this node's durable promises.
func (n *Node) prepare(r ballotRequest) (ballotReply, error) {
	return n.vote(func(a membership.Acceptor) (membership.Acceptor, bool) { return a.Prepare(r.Ballot) })
}

func (n *Node) accept(r ballotRequest) (ballotReply, error) {
	return n.vote(func(a membership.Acceptor) (membership.Acceptor, bool) { return a.Accept(r.Ballot, r.Value) })
}

func (n *Node) vote(f func(membership.Acceptor) (membership.Acceptor, bool)) (ballotReply, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.founding.Chosen != nil {
		return ballotReply{Chosen: n.founding.Chosen, Acceptor: n.founding.Acceptor}, nil
	}
	if n.identity.ClusterID != "" || n.joinsOnlyLocked() {
		return ballotReply{Acceptor: n.founding.Acceptor}, nil
	}
	next, ok := f(n.founding.Acceptor)
	if !ok {
		return ballotReply{Acceptor: n.founding.Acceptor}, nil
	}
	state := foundingState{Acceptor: next}
	if err := writeJSON(n.fs, path.Join(n.cfg.Dir, foundingFile), state); err != nil {
		return ballotReply{}, err
	}
	n.founding = state
	return ballotReply{OK: true, Acceptor: next}, nil
}

// formed answers requestFormed: a founding was chosen.
func (n *Node) formed(f membership.Founding) (struct{}, error) {
	if f.ClusterID == "" || len(f.Founders) == 0 {
		return struct{}{}, errors.New("a founding without cluster or founders")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.founding.Chosen == nil && n.identity.ClusterID == "" {
		state := n.founding
		state.Chosen = &f
		if err := writeJSON(n.fs, path.Join(n.cfg.Dir, foundingFile), state); err != nil {
			return struct{}{}, err
		}
		n.founding = state
	}
	n.boot.hear(n.peerAddr, f.Founders[0].PeerAddr)
	n.boot.poke()
	return struct{}{}, nil
}

// propose tries to have the founding chosen: by a majority of its acceptors and
// of the nodes this one was told of. It reports whether one was.
func (n *Node) propose(own *membership.Founding, seeds membership.SeedQuorum) bool {
	own.ClusterID = randomUUID().String()
	n.mu.Lock()
	ballot := membership.Ballot{Round: n.founding.Promised.Round + 1, Proposer: n.identity.ID}
	n.mu.Unlock()
	voters := n.addressesOf(own.Acceptors)

	promises, from, chosen := n.poll(voters, requestPrepare, ballotRequest{Ballot: ballot}, n.prepare)
	if chosen != nil {
		return n.announceFounding(chosen, voters)
	}
	if len(promises) < membership.Majority(own.AcceptorCount) || !seeds.Met(from) {
		return false
	}
	value := membership.ValueToPropose(own, promises)
	accepted, from, chosen := n.poll(voters, requestAccept, ballotRequest{Ballot: ballot, Value: value}, n.accept)
	if chosen != nil {
		return n.announceFounding(chosen, voters)
	}
	if len(accepted) < max(membership.Majority(own.AcceptorCount), membership.Majority(value.AcceptorCount)) || !seeds.Met(from) {
		return false
	}
	n.cfg.Logger.Info("a cluster is founded", "cluster", value.ClusterID, "founders", len(value.Founders))
	return n.announceFounding(value, voters)
}

func (n *Node) announceFounding(chosen *membership.Founding, voters []string) bool {
	if _, err := n.formed(*chosen); err != nil {
		go n.stopWith(err)
		return false
	}
	ctx, cancel := context.WithTimeout(n.ctx, meetTimeout)
	defer cancel()
	var all sync.WaitGroup
	for _, address := range voters {
		all.Go(func() { _, _ = ask[struct{}](ctx, n.toAddress(address), requestFormed, chosen) })
	}
	all.Wait()
	return true
}

// poll asks this node and the others, and returns the answers of those that
// agreed and their peer addresses.
func (n *Node) poll(voters []string, kind uint8, request ballotRequest, own func(ballotRequest) (ballotReply, error)) (agreed []membership.Acceptor, from []string, chosen *membership.Founding) {
	ctx, cancel := context.WithTimeout(n.ctx, meetTimeout)
	defer cancel()
	var mu sync.Mutex
	var all sync.WaitGroup
	count := func(address string, reply ballotReply, err error) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err != nil:
		case reply.Chosen != nil:
			chosen = reply.Chosen
		case reply.OK:
			agreed, from = append(agreed, reply.Acceptor), append(from, address)
		}
	}
	mine, err := own(request)
	count(n.peerAddr, mine, err)
	for _, address := range voters {
		all.Go(func() {
			reply, err := ask[ballotReply](ctx, n.toAddress(address), kind, request)
			count(address, reply, err)
		})
	}
	all.Wait()
	return agreed, from, chosen
}

// addressesOf returns the peer addresses of the nodes met, without this one.
func (n *Node) addressesOf(ids []membership.MemberID) []string {
	b := n.boot
	b.mu.Lock()
	defer b.mu.Unlock()
	var addresses []string
	for _, address := range sortedKeys(b.known) {
		known := b.known[address]
		for _, id := range ids {
			if known.met && known.meeting.Member.ID == id && id != n.identity.ID {
				addresses = append(addresses, address)
			}
		}
	}
	return addresses
}
