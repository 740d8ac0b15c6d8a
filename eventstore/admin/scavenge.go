package admin

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"baton/eventstore/rpc"
	"baton/eventstore/scavenge"
)

// scavengeRoutes serves scavenges of this node's log. The paths, the parameters and the first three fields of the answers are those of upstream.
func (h *handler) scavengeRoutes(mux *http.ServeMux) {
	mux.Handle("POST /admin/scavenge", h.may(h.access.MayOperate, h.startScavenge))
	mux.Handle("DELETE /admin/scavenge/{id}", h.may(h.access.MayOperate, h.stopScavenge))
	mux.Handle("GET /admin/scavenge/current", h.may(h.access.MayOperate, h.currentScavenge))
	mux.Handle("GET /admin/scavenge/last", h.may(h.access.MayOperate, h.lastScavenge))
	mux.Handle("POST /admin/redact", h.may(h.access.MayOperate, h.redact))
}

// scavenger is nil for a node without a log to scavenge.
func (h *handler) scavenger() *scavenge.Scavenger {
	if n, ok := h.Node.(rpc.Scavenging); ok {
		return n.Scavenger()
	}
	return nil
}

// scavengeAnswer is how a scavenge stands.
type scavengeAnswer struct {
	ID     string `json:"scavengeId"`
	Link   string `json:"scavengeLink"`
	Result string `json:"scavengeResult"`
	*scavenge.Status
}

func scavengeLink(id string) string { return "/admin/scavenge/" + id }

// startScavenge begins a scavenge: startFromChunk, threads, threshold, throttlePercent; syncOnly changes nothing, every write is synced.
func (h *handler) startScavenge(w http.ResponseWriter, r *http.Request) {
	scavenger := h.scavenger()
	if scavenger == nil {
		h.noScavenge(w, "This node has no log that can be scavenged.")
		return
	}
	o := scavenge.Options{Threads: 1, ThrottlePercent: 100}
	query := r.URL.Query()
	for name, value := range map[string]*int{"startFromChunk": &o.StartFrom, "threads": &o.Threads, "threshold": &o.Threshold, "throttlePercent": &o.ThrottlePercent} {
		if !intParameter(w, query, name, value) {
			return
		}
	}
	if text := query.Get("syncOnly"); text != "" {
		if _, err := strconv.ParseBool(text); err != nil {
			badField(w, "syncOnly is neither true nor false.", "Leave it out: every write is synced.")
			return
		}
	}
	if o.ThrottlePercent == 0 {
		badField(w, "throttlePercent must be from 1 to 100.", "Leave it out for 100.")
		return
	}
	id, started, err := scavenger.Start(o)
	var option *scavenge.OptionError
	switch {
	case errors.As(err, &option):
		badField(w, "The options cannot be: "+option.Reason+".", "See docs/operating.md for what they mean.")
	case err != nil:
		h.fail(w, r, err)
	case started:
		h.Logger.Info("scavenge started by request", "id", id)
		answer(w, scavengeAnswer{ID: id, Link: scavengeLink(id), Result: "Started"})
	default:
		answer(w, scavengeAnswer{ID: id, Link: scavengeLink(id), Result: string(scavenge.InProgress)})
	}
}

func intParameter(w http.ResponseWriter, query url.Values, name string, value *int) bool {
	text := query.Get(name)
	if text == "" {
		return true
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		badField(w, name+" is not a whole number.", "POST /admin/scavenge?"+name+"=1, for example.")
		return false
	}
	*value = int(n)
	return true
}

func (h *handler) stopScavenge(w http.ResponseWriter, r *http.Request) {
	scavenger := h.scavenger()
	if scavenger == nil {
		h.noScavenge(w, "This node has no log that can be scavenged.")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), operationTimeout)
	defer cancel()
	id, err := scavenger.Stop(ctx, r.PathValue("id"))
	switch {
	case errors.Is(err, scavenge.ErrNotFound):
		h.noScavenge(w, "No scavenge with this id is running on this node.")
	case err != nil:
		h.fail(w, r, err)
	default:
		answer(w, scavengeAnswer{ID: id, Link: scavengeLink(id), Result: string(scavenge.Stopped)})
	}
}

func (h *handler) currentScavenge(w http.ResponseWriter, _ *http.Request) { h.showScavenge(w, true) }

func (h *handler) lastScavenge(w http.ResponseWriter, _ *http.Request) { h.showScavenge(w, false) }

func (h *handler) showScavenge(w http.ResponseWriter, running bool) {
	var status scavenge.Status
	ok := false
	if scavenger := h.scavenger(); scavenger != nil {
		status, ok = scavenger.Status()
	}
	switch {
	case running && !status.Running():
		h.noScavenge(w, "No scavenge is running on this node.")
	case !ok:
		h.noScavenge(w, "This node was never scavenged.")
	default:
		answer(w, scavengeAnswer{ID: status.ID, Link: scavengeLink(status.ID), Result: string(status.Result), Status: &status})
	}
}

func (h *handler) noScavenge(w http.ResponseWriter, detail string) {
	problem(w, problemDetails{Title: "No such scavenge", Status: http.StatusNotFound, Code: "scavenge-not-found", Detail: detail,
		Fix: "GET /admin/scavenge/last tells about the last one; POST /admin/scavenge starts one. Each node is scavenged by itself."})
}

// redact overwrites data and metadata of one event in this node's log.
func (h *handler) redact(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Stream   string `json:"stream"`
		Revision int64  `json:"revision,string"`
	}
	if !decode(w, r, &req) {
		return
	}
	scavenger := h.scavenger()
	if scavenger == nil || req.Stream == "" || req.Revision < 0 {
		badField(w, "The request names no event of this node.", `Send {"stream": "NAME", "revision": "5"}.`)
		return
	}
	position, err := scavenger.Redact(r.Context(), req.Stream, req.Revision)
	switch {
	case errors.Is(err, scavenge.ErrNoEvent):
		problem(w, problemDetails{Title: "No such event", Status: http.StatusNotFound, Code: "no-event", Detail: "This node has no such event, or it cannot be read any more.",
			Fix: "Events that cannot be read any more are removed by a scavenge: POST /admin/scavenge."})
	case errors.Is(err, scavenge.ErrSystemStream):
		badField(w, "Events of system streams cannot be redacted: the store acts on them.", "Write a newer event, or delete the stream.")
	case errors.Is(err, scavenge.ErrStillWritten):
		problem(w, problemDetails{Title: "Not yet", Status: http.StatusConflict, Code: "still-written", Retry: true,
			Detail: "The event stands in the segment of the log that is being written, which a read-only replica cannot end; nothing was changed.", Fix: "Redact the event on another node first, then here."})
	case err != nil:
		h.fail(w, r, err)
	default:
		h.Logger.Warn("redacted by request", "stream", req.Stream, "revision", req.Revision, "from", r.RemoteAddr)
		answer(w, map[string]any{"outcome": "done", "stream": req.Stream, "revision": strconv.FormatInt(req.Revision, 10), "position": strconv.FormatUint(position, 10)})
	}
}
