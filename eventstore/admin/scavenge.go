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
