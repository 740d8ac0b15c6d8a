package node

import (
	"context"
	"encoding/json"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"baton/eventstore/membership"
	"baton/eventstore/peer"
)

// Kinds of requests between nodes.
const (
	requestMeet    uint8 = 1 // nodes without a cluster learn of each other
	requestPrepare uint8 = 2 // founding, first phase
	requestAccept  uint8 = 3 // founding, second phase
	requestFormed  uint8 = 4 // founding, outcome
	requestJoin    uint8 = 5 // admit me, or take my new data
	requestAppend  uint8 = 6 // a forwarded command
	requestOperate uint8 = 7 // a forwarded operator's command
	requestTraced  uint8 = 8 // a forwarded command with its place in a trace before it
	requestFrames  uint8 = 9 // frames of the log from a position on, for a node that lost them
)

func (n *Node) peerHandler() peer.Handler {
	return peer.Handler{
		Hello: func() peer.Hello {
			return peer.Hello{ClusterID: n.clusterID(), From: n.identity.ID, FromAddr: n.peerAddr}
		},
		Welcome: n.welcome,
		Raft: func(messages []*raftpb.Message) {
			if r := n.replica.Load(); r != nil {
				r.Receive(messages...)
			}
		},
		Status:  n.takeReport,
		Request: n.answerRequest,
		Linked:  n.linked,
		Heard:   n.metrics.heard,
		Lost:    n.linkLost,
		Refused: n.linkRefused,
	}
}

func (n *Node) linked(membership.MemberID) {
	if s := n.suspected.Load(); s != nil {
		s.Retry() // it may have what is damaged here
	}
	n.notify()
}

func (n *Node) linkLost(id membership.MemberID, refused bool) {
	r := n.replica.Load()
	if r == nil {
		return
	}
	status := r.Status()
	leading := status.Lead == uint64(id)
	campaign := leading && n.firstToStand(id)
	r.Call(func(c *replicaCore) {
		c.Unreachable(uint64(id))
		if refused && leading {
			c.LeaderGone(uint64(id), campaign)
		}
	})
	if refused {
		n.peers.down(id)
		n.notify()
	}
}

// firstToStand reports whether this node is the one to stand when the leader is
// gone: of the other voters that answer the one of highest priority, then with
// the longest log, then of lowest id. The others stand when their own time is up.
func (n *Node) firstToStand(gone membership.MemberID) bool {
	r := n.replica.Load()
	status := r.Status()
	end := n.storage.Log.End()
	mine, ok := status.Roster.Find(n.identity.ID)
	if !ok || !isVoter(status.Conf, n.identity.ID) || n.scrubber.Damaged() != "" {
		return false
	}
	for _, member := range status.Roster.Members {
		if member.ID == gone || member.ID == mine.ID || !isVoter(status.Conf, member.ID) || !n.network.Up(member.ID) {
			continue
		}
		report, _ := n.peers.get(member.ID)
		switch {
		case report.Damage != "": // it does not stand first
		case member.Priority != mine.Priority:
			if member.Priority > mine.Priority {
				return false
			}
		case report.LogEnd > end:
			return false
		case report.LogEnd == end && member.ID < mine.ID:
			return false
		}
	}
	return true
}

func (n *Node) linkRefused(err *peer.RefusedError) {
	if err.Welcome.Removed && err.Welcome.ClusterID == n.clusterID() {
		n.cfg.Logger.Error("this node was removed from the cluster", "by", err.Address)
		go n.stopWith(ErrRemoved)
		return
	}
	n.cfg.Logger.Warn("a node refuses the link", "address", err.Address, "why", err.Welcome.Refused)
}

func (n *Node) answerRequest(ctx context.Context, from membership.MemberID, kind uint8, payload []byte) ([]byte, error) {
	switch kind {
	case requestMeet:
		return answerJSON(payload, n.meet)
	case requestPrepare:
		return answerJSON(payload, n.prepare)
	case requestAccept:
		return answerJSON(payload, n.accept)
	case requestFormed:
		return answerJSON(payload, n.formed)
	case requestJoin:
		return answerJSON(payload, func(m membership.Member) (joinReply, error) {
			if m.ID != from {
				return joinReply{}, fmt.Errorf("member %s asks on behalf of %s", from, m.ID)
			}
			return n.join(ctx, m), nil
		})
	case requestAppend:
		return n.answerAppend(ctx, payload, nil)
	case requestTraced:
		return n.answerTraced(ctx, payload)
	case requestFrames:
		return n.framesHere(payload)
	case requestOperate:
		return answerJSON(payload, func(o operation) (operationReply, error) { return n.operateHere(ctx, o), nil })
	}
	return nil, fmt.Errorf("unknown request %d", kind)
}

func answerJSON[In, Out any](payload []byte, f func(In) (Out, error)) ([]byte, error) {
	var in In
	if err := json.Unmarshal(payload, &in); err != nil {
		return nil, fmt.Errorf("malformed request: %w", err)
	}
	out, err := f(in)
	if err != nil {
		return nil, err
	}
	return json.Marshal(out)
}

// ask sends a request with JSON both ways.
func ask[Out any](ctx context.Context, send func(context.Context, uint8, []byte) ([]byte, error), kind uint8, in any) (Out, error) {
	var out Out
	payload, err := json.Marshal(in)
	if err != nil {
		return out, fmt.Errorf("encode request: %w", err)
	}
	answer, err := send(ctx, kind, payload)
	if err != nil {
		return out, err
	}
	if err := json.Unmarshal(answer, &out); err != nil {
		return out, fmt.Errorf("malformed answer: %w", err)
	}
	return out, nil
}

func (n *Node) toAddress(address string) func(context.Context, uint8, []byte) ([]byte, error) {
	return func(ctx context.Context, kind uint8, payload []byte) ([]byte, error) {
		return n.network.RequestAddress(ctx, address, kind, payload)
	}
}

func (n *Node) toMember(id membership.MemberID) func(context.Context, uint8, []byte) ([]byte, error) {
	return func(ctx context.Context, kind uint8, payload []byte) ([]byte, error) {
		return n.network.Request(ctx, id, kind, payload)
	}
}
