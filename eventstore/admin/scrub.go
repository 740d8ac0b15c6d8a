package admin

import (
	"net/http"

	"baton/eventstore/scrub"
)

// scrubbing is a node whose log is read for damage; *node.Node is one.
type scrubbing interface{ Scrubber() *scrub.Scrubber }

// scrubRoutes serves the readings of this node's log for damage.
func (h *handler) scrubRoutes(mux *http.ServeMux) {
	mux.Handle("GET /admin/scrub", h.may(h.access.MayOperate, h.showScrub))
	mux.Handle("POST /admin/scrub", h.may(h.access.MayOperate, h.startScrub))
}

// scrubber answers for a node without a log of its own and returns nil then.
func (h *handler) scrubber(w http.ResponseWriter) *scrub.Scrubber {
	if n, ok := h.Node.(scrubbing); ok {
		return n.Scrubber()
	}
	problem(w, problemDetails{Title: "No log to read", Status: http.StatusNotFound, Code: "scrub-not-found",
		Detail: "This node has no log that can be read for damage.", Fix: "Ask a node of the cluster."})
	return nil
}

func (h *handler) showScrub(w http.ResponseWriter, _ *http.Request) {
	if s := h.scrubber(w); s != nil {
		answer(w, s.Status())
	}
}

// startScrub begins a reading, unless one is under way; either is a success.
func (h *handler) startScrub(w http.ResponseWriter, r *http.Request) {
	s := h.scrubber(w)
	if s == nil {
		return
	}
	if s.Start() {
		h.Logger.Info("the log is read for damage by request", "from", r.RemoteAddr)
	}
	answer(w, s.Status())
}
