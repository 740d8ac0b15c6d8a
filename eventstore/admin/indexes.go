package admin

import (
	"net/http"

	"baton/eventstore/rpc"
)

// indexRoutes serves this node's index. The path is upstream's.
func (h *handler) indexRoutes(mux *http.ServeMux) {
	mux.Handle("POST /admin/mergeindexes", h.may(h.access.MayOperate, h.mergeIndexes))
}

// mergeIndexes begins a merge of the index and answers at once; where one runs, or there is nothing that could be merged, none is begun.
func (h *handler) mergeIndexes(w http.ResponseWriter, r *http.Request) {
	started := false
	if n, ok := h.Node.(rpc.Merging); ok {
		if started = n.MergeIndexes(); started {
			h.Logger.Info("merging the index by request", "from", r.RemoteAddr)
		}
	}
	answer(w, map[string]bool{"started": started})
}
