package admin

import (
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"baton/eventstore/rpc"
)

// live answers 204 once the node has been ready for the first time, and from then on as long as it runs: a node without a quorum is alive, and killing it
// would not help. ?liveCode= chooses another success code.
func (h *handler) live(w http.ResponseWriter, r *http.Request) {
	if !h.wasLive.Load() {
		ready, waiting := h.Node.Ready()
		if !ready {
			h.notReady(w, waiting)
			return
		}
		h.wasLive.Store(true)
	}
	code := http.StatusNoContent
	if text := r.URL.Query().Get("liveCode"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 200 || n > 299 {
			problem(w, problemDetails{Title: "No such code", Status: http.StatusBadRequest, Code: "bad-request",
				Detail: "liveCode must be a number from 200 to 299.", Fix: "Leave it out for 204."})
			return
		}
		code = n
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
}

// ready answers whether the node serves now.
func (h *handler) ready(w http.ResponseWriter, r *http.Request) {
	ready, waiting := h.Node.Ready()
	if !ready {
		h.notReady(w, waiting)
		return
	}
	answer(w, map[string]bool{"ready": true})
}

func (h *handler) notReady(w http.ResponseWriter, waiting string) {
	problem(w, problemDetails{Title: "Not ready", Status: http.StatusServiceUnavailable, Code: "not-ready", Detail: waiting, Retry: true,
		Fix: "Wait; GET /cluster shows what this node sees."})
}

func (h *handler) ping(w http.ResponseWriter, r *http.Request) {
	answer(w, map[string]string{"text": "pong"})
}

func (h *handler) login(w http.ResponseWriter, r *http.Request) {
	answer(w, map[string]bool{"ok": true})
}

func (h *handler) info(w http.ResponseWriter, r *http.Request) {
	self := h.Node.Self()
	kind := "insecure"
	if h.access.Secure() {
		kind = "basic"
	}
	answer(w, map[string]any{
		"dbVersion": rpc.ProtocolVersion,
		"esVersion": rpc.ProtocolVersion,
		"product":   "baton",
		"version":   h.Version,
		"state":     strings.ToLower(string(self.State)),
		"role":      self.Role,
		"nodeId":    self.ID,
		"features":  map[string]bool{"projections": h.projections() != nil, "userManagement": h.access.Secure(), "atomPub": false},
		"authentication": map[string]any{
			"type":       kind,
			"properties": map[string]string{},
		},
	})
}

func (h *handler) infoOptions(w http.ResponseWriter, r *http.Request) { answer(w, h.Options.Options) }

// gossipMember is a member as GET /gossip shows it, with the names clients and harnesses know.
type gossipMember struct {
	InstanceID               string `json:"instanceId"`
	TimeStamp                string `json:"timeStamp"`
	State                    string `json:"state"`
	IsAlive                  bool   `json:"isAlive"`
	InternalTCPIP            string `json:"internalTcpIp"`
	InternalTCPPort          int    `json:"internalTcpPort"`
	InternalSecureTCPPort    int    `json:"internalSecureTcpPort"`
	ExternalTCPIP            string `json:"externalTcpIp"`
	ExternalTCPPort          int    `json:"externalTcpPort"`
	ExternalSecureTCPPort    int    `json:"externalSecureTcpPort"`
	InternalHTTPEndPointIP   string `json:"internalHttpEndPointIp"`
	InternalHTTPEndPointPort int    `json:"internalHttpEndPointPort"`
	HTTPEndPointIP           string `json:"httpEndPointIp"`
	HTTPEndPointPort         int    `json:"httpEndPointPort"`
	LastCommitPosition       uint64 `json:"lastCommitPosition"`
	WriterCheckpoint         uint64 `json:"writerCheckpoint"`
	ChaserCheckpoint         uint64 `json:"chaserCheckpoint"`
	EpochPosition            int64  `json:"epochPosition"` // -1: not kept
	EpochNumber              uint64 `json:"epochNumber"`
	EpochID                  string `json:"epochId"`
	NodePriority             int    `json:"nodePriority"`
	IsReadOnlyReplica        bool   `json:"isReadOnlyReplica"`
	ESVersion                string `json:"esVersion"`
}

const noEpochID = "00000000-0000-0000-0000-000000000000"

func (h *handler) gossip(w http.ResponseWriter, r *http.Request) {
	view := h.Node.View()
	now := time.Now().UTC()
	members := make([]gossipMember, 0, len(view.Members))
	serverIP, serverPort := "", 0
	for i := range view.Members {
		m := &view.Members[i]
		if m.ID == view.Self {
			serverIP, serverPort = m.ClientHost, m.ClientPort
		}
		seen := now
		if m.LastSeenMs > 0 {
			seen = now.Add(-time.Duration(m.LastSeenMs) * time.Millisecond)
		}
		peerHost, peerPortText, _ := net.SplitHostPort(m.PeerAddress)
		peerPort, _ := strconv.Atoi(peerPortText)
		plainPort, securePort := peerPort, 0
		if h.access.Secure() {
			plainPort, securePort = 0, peerPort
		}
		members = append(members, gossipMember{
			InstanceID: m.InstanceID.String(), TimeStamp: seen.Format("2006-01-02T15:04:05.0000000Z07:00"), State: string(m.State), IsAlive: m.Alive,
			InternalTCPIP: peerHost, InternalTCPPort: plainPort, InternalSecureTCPPort: securePort,
			InternalHTTPEndPointIP: m.ClientHost, InternalHTTPEndPointPort: m.ClientPort, HTTPEndPointIP: m.ClientHost, HTTPEndPointPort: m.ClientPort,
			LastCommitPosition: m.CommitPosition, WriterCheckpoint: m.LogPosition, ChaserCheckpoint: m.AppliedPosition,
			EpochPosition: -1, EpochNumber: m.Term, EpochID: noEpochID, NodePriority: m.NodePriority, IsReadOnlyReplica: m.IsReadOnly, ESVersion: rpc.ProtocolVersion,
		})
	}
	answer(w, map[string]any{"members": members, "serverIp": serverIP, "serverPort": serverPort})
}

// stats answers the figures as a tree, or the branch a path names.
func (h *handler) stats(w http.ResponseWriter, r *http.Request) {
	var at any = h.statsTree()
	for _, part := range strings.FieldsFunc(r.PathValue("path"), func(c rune) bool { return c == '/' }) {
		branch, _ := at.(map[string]any)
		next, ok := branch[part]
		if !ok {
			problem(w, problemDetails{Title: "No such figures", Status: http.StatusNotFound, Code: "no-stats",
				Detail: "There is nothing at " + clip(r.URL.Path) + ".", Fix: "See GET /stats for what there is."})
			return
		}
		at = next
	}
	answer(w, at)
}

// replication answers how far each member is, as this node sees it.
func (h *handler) replication(w http.ResponseWriter, r *http.Request) {
	type replica struct {
		SubscriptionID       string `json:"subscriptionId"` // the member's id: one link each
		ConnectionID         string `json:"connectionId"`
		SubscriptionEndpoint string `json:"subscriptionEndpoint"`
		PendingSendBytes     uint64 `json:"pendingSendBytes"` // what it is behind the leader
		IsAlive              bool   `json:"isAlive"`
	}
	view := h.Node.View()
	list := []replica{}
	for i := range view.Members {
		if m := &view.Members[i]; m.ID != view.Self {
			list = append(list, replica{m.ID.String(), m.InstanceID.String(), m.PeerAddress, m.LagBytes, m.Alive})
		}
	}
	answer(w, list)
}

func (h *handler) statsTree() map[string]any {
	tree := map[string]any{}
	for name, value := range h.Services.Stats() {
		parts := strings.Split(name, ".")
		at := tree
		for _, part := range parts[:len(parts)-1] {
			next, ok := at[part].(map[string]any)
			if !ok {
				next = map[string]any{}
				at[part] = next
			}
			at = next
		}
		at[parts[len(parts)-1]] = value
	}
	return tree
}

// elections answers how this node's latest candidacies ended, and why.
func (h *handler) elections(w http.ResponseWriter, r *http.Request) {
	answer(w, map[string]any{"node": h.Node.Self().Name, "elections": h.Node.Elections()})
}

func (h *handler) cluster(w http.ResponseWriter, r *http.Request) { answer(w, h.Node.View()) }
