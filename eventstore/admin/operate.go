package admin

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"time"

	"baton/eventstore/membership"
)

// promoteRequest is the body of POST /cluster/promote.
type promoteRequest struct {
	Node      string `json:"node"`      // name or id
	As        string `json:"as"`        // "leader" (default) or "follower"
	TimeoutMs int64  `json:"timeoutMs"` // 0: the route's own bound
}

// promoteAnswer is its answer.
type promoteAnswer struct {
	Outcome string                `json:"outcome"`
	Leader  membership.MemberID   `json:"leader"`
	Term    uint64                `json:"term,string"`
	TookMs  int64                 `json:"tookMs"`
	Changed []membership.MemberID `json:"changed"`
}

func badField(w http.ResponseWriter, detail, fix string) {
	problem(w, problemDetails{Title: "The request cannot be carried out", Status: http.StatusBadRequest, Code: "bad-request", Detail: detail, Fix: fix})
}

func (h *handler) promote(w http.ResponseWriter, r *http.Request) {
	var req promoteRequest
	if !decode(w, r, &req) {
		return
	}
	if req.Node == "" {
		badField(w, "The request names no node.", `Send {"node": "NAME"}; GET /cluster lists the names.`)
		return
	}
	if req.As != "" && req.As != "leader" && req.As != "follower" {
		badField(w, `"as" must be "leader" or "follower".`, "Leave it out for leader.")
		return
	}
	timeout := operationTimeout
	if req.TimeoutMs < 0 || req.TimeoutMs > maxPromoteTimeout.Milliseconds() {
		badField(w, "timeoutMs must be from 1 to "+strconv.FormatInt(maxPromoteTimeout.Milliseconds(), 10)+".", "Leave it out for 10 seconds.")
		return
	}
	if req.TimeoutMs > 0 {
		timeout = time.Duration(req.TimeoutMs) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	result, err := h.Node.Promote(ctx, req.Node, req.As != "follower")
	if err != nil {
		h.fail(w, r, err)
		return
	}
	h.Logger.Info("promoted by request", "node", req.Node, "leader", result.Leader.String(), "term", result.Term, "tookMs", result.TookMs)
	changed := result.Changed
	if changed == nil {
		changed = []membership.MemberID{}
	}
	answer(w, promoteAnswer{Outcome: "done", Leader: result.Leader, Term: result.Term, TookMs: result.TookMs, Changed: changed})
}

func (h *handler) size(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Size int `json:"size"`
	}
	if !decode(w, r, &req) {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), operationTimeout)
	defer cancel()
	if err := h.Node.SetClusterSize(ctx, req.Size); err != nil {
		h.fail(w, r, err)
		return
	}
	answer(w, map[string]any{"outcome": "done", "size": req.Size})
}

// memberRequest is the body of POST /cluster/members. Only the peer address is needed: the node tells the rest itself.
type memberRequest struct {
	Name            string `json:"name"`
	PeerAddress     string `json:"peerAddress"`
	ReadOnlyReplica bool   `json:"isReadOnlyReplica"`
}

func (h *handler) addMember(w http.ResponseWriter, r *http.Request) {
	var req memberRequest
	if !decode(w, r, &req) {
		return
	}
	if _, port, err := net.SplitHostPort(req.PeerAddress); err != nil || port == "" {
		badField(w, "peerAddress is not host:port.", `Send {"peerAddress": "HOST:1112"} of a node that runs and belongs to no cluster.`)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), operationTimeout)
	defer cancel()
	member, err := h.Node.AddMember(ctx, membership.Member{Name: req.Name, PeerAddr: req.PeerAddress, ReadOnlyReplica: req.ReadOnlyReplica})
	if err != nil {
		h.fail(w, r, err)
		return
	}
	answer(w, map[string]any{"outcome": "done", "member": member})
}

func (h *handler) removeMember(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), operationTimeout)
	defer cancel()
	if err := h.Node.RemoveMember(ctx, r.PathValue("id")); err != nil {
		h.fail(w, r, err)
		return
	}
	answer(w, map[string]any{"outcome": "done", "removed": r.PathValue("id")})
}

// resign makes the leader hand over. On any other node there is nothing to do.
func (h *handler) resign(w http.ResponseWriter, r *http.Request) {
	if h.Node.Self().Role != membership.RoleLeader {
		answer(w, map[string]string{"outcome": "not-leader"})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), operationTimeout)
	defer cancel()
	if err := h.Node.Resign(ctx); err != nil {
		h.fail(w, r, err)
		return
	}
	answer(w, map[string]string{"outcome": "done"})
}

func (h *handler) priority(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.ParseInt(r.PathValue("n"), 10, 32)
	if err != nil {
		badField(w, "The priority is not a whole number of 32 bits.", "POST /admin/node/priority/5, for example.")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), operationTimeout)
	defer cancel()
	if err := h.Node.SetPriority(ctx, int(n)); err != nil {
		h.fail(w, r, err)
		return
	}
	answer(w, map[string]any{"outcome": "done", "priority": n})
}

func (h *handler) shutdown(w http.ResponseWriter, r *http.Request) {
	if h.Shutdown == nil {
		problem(w, problemDetails{Title: "Not possible", Status: http.StatusConflict, Code: "cannot-stop",
			Detail: "This node runs inside another program.", Fix: "Stop that program."})
		return
	}
	h.Logger.Info("stopping by request", "from", r.RemoteAddr)
	answer(w, map[string]string{"outcome": "stopping"})
	_ = http.NewResponseController(w).Flush() // the answer leaves before the port closes
	h.Shutdown()
}
