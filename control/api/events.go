package api

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"baton/control/inventory"
)

// Rhythm of an event stream.
const (
	clustersEvery  = time.Second
	clusterEvery   = 500 * time.Millisecond
	heartbeatEvery = 5 * time.Second
	writeTimeout   = 10 * time.Second
	// maxStreams bounds the open event streams of this process.
	maxStreams = 256
)

// stream is one open event stream. Only its handler's goroutine uses it.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	err     error
}

// send writes one event; id 0 is none.
func (t *stream) send(name string, id uint64, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		panic("api: event cannot be encoded: " + err.Error())
	}
	t.sendEncoded(name, id, data)
}

// sendEncoded is send of JSON that stands on one line.
func (t *stream) sendEncoded(name string, id uint64, data []byte) {
	head := "event: " + name + "\ndata: "
	if id > 0 {
		head = "id: " + strconv.FormatUint(id, 10) + "\n" + head
	}
	t.raw([]byte(head), data, []byte("\n\n"))
}

func (t *stream) raw(parts ...[]byte) {
	if t.err != nil {
		return
	}
	_ = t.control.SetWriteDeadline(time.Now().Add(writeTimeout)) // not every connection can
	for _, p := range parts {
		if _, t.err = t.w.Write(p); t.err != nil {
			return
		}
	}
	t.err = t.control.Flush()
}

// getEvents streams state as it changes. What is told about is not consumed:
// a reader that lost the connection names the last id it has and gets what
// changed since.
func (s *Server) getEvents(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	full := s.streams >= maxStreams
	if !full {
		s.streams++
	}
	s.mu.Unlock()
	if full {
		write(w, &Problem{Title: "Busy", Status: 503, Code: CodeUnavailable, Detail: "too many event streams are open", Retry: true, retryAfterSeconds: 5})
		return
	}
	defer func() {
		s.mu.Lock()
		s.streams--
		s.mu.Unlock()
	}()
	cluster, op := r.URL.Query().Get("cluster"), r.URL.Query().Get("operation")
	if cluster != "" {
		if _, ok := s.Inventory.Cluster(cluster); !ok {
			write(w, notFoundCluster(cluster))
			return
		}
	}
	since, resumed := uint64(0), false
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		n, err := strconv.ParseUint(last, 10, 64)
		if err != nil {
			write(w, &Problem{Title: "The request is not valid", Status: 400, Code: CodeBadRequest, Detail: "Last-Event-ID is not one of ours"})
			return
		}
		since, resumed = n, true
	}
	notices, cancel := s.Inventory.Watch(256)
	defer cancel()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	t := &stream{w: w, control: http.NewResponseController(w)}
	now := s.Inventory.Position()
	if resumed {
		s.missed(t, cluster, since, now)
	}
	if op != "" {
		if o, ok := s.Inventory.Operation(op); ok {
			t.send("operation", now, s.operationView(&o))
		}
	}
	t.send("control", 0, s.controlState())
	s.sendClusters(t, cluster, true)
	s.follow(t, r, notices, cluster, now)
}

// missed sends what changed after a position.
func (s *Server) missed(t *stream, cluster string, since, now uint64) {
	for _, o := range s.Inventory.OperationsSince(since) {
		t.send("operation", now, s.operationView(&o))
	}
	for _, c := range s.Inventory.Clusters() {
		if cluster != "" && c.ID != cluster {
			continue
		}
		for _, rec := range s.Inventory.AuditSince(c.ID, since) {
			t.send("audit", now, auditRow(&rec))
		}
	}
}

func (s *Server) sendClusters(t *stream, cluster string, all bool) {
	if all {
		_, encoded := s.board()
		t.sendEncoded("clusters", 0, encoded)
	}
	if cluster != "" {
		if d, ok := s.detail(cluster); ok {
			t.send("cluster", 0, d)
		}
	}
}

func (s *Server) follow(t *stream, r *http.Request, notices <-chan inventory.Notice, cluster string, sent uint64) {
	tick, beat := time.NewTicker(clusterEvery), time.NewTicker(heartbeatEvery)
	defer tick.Stop()
	defer beat.Stop()
	session, acting := who(r.Context()).session, s.Acts()
	last := time.Now()
	for t.err == nil {
		select {
		case <-r.Context().Done():
			return
		case <-beat.C:
			t.raw([]byte(": still here\n\n"))
		case <-tick.C:
			if session != "" && !s.sessions.Alive(session) {
				return // signed out: nothing more is told
			}
			if s.Acts() != acting || !acting && s.Leadership.Status().Leader != "" {
				return // who leads has changed: the reader connects anew and is passed on
			}
			all := time.Since(last) >= clustersEvery-clusterEvery/10
			if all {
				last = time.Now()
				t.send("control", 0, s.controlState())
			}
			s.sendClusters(t, cluster, all)
		case n, ok := <-notices:
			if !ok {
				return
			}
			if n.Position <= sent {
				continue
			}
			sent = n.Position
			s.tell(t, n, cluster)
		}
	}
}

// tell sends what one journal event changed.
func (s *Server) tell(t *stream, n inventory.Notice, cluster string) {
	if n.Operation != "" {
		if o, ok := s.Inventory.Operation(n.Operation); ok {
			t.send("operation", n.Position, s.operationView(&o))
		}
	}
	if n.Audit && (cluster == "" || n.Cluster == cluster) && n.Cluster != "system" {
		for _, rec := range s.Inventory.AuditSince(n.Cluster, n.Position-1) {
			t.send("audit", n.Position, auditRow(&rec))
		}
	}
	if n.Cluster != "" && n.Cluster == cluster {
		s.sendClusters(t, cluster, false)
	}
}
