package admin

import (
	"net/http"

	"baton/eventstore/backup"
)

// backupRoutes adds the routes of this node's backups.
func (h *handler) backupRoutes(mux *http.ServeMux) {
	mux.Handle("GET /admin/backup", h.may(h.access.MayOperate, h.backupStatus))
	mux.Handle("POST /admin/backup", h.may(h.access.MayOperate, h.takeBackup))
	mux.Handle("DELETE /admin/backup", h.may(h.access.MayOperate, h.cancelBackup))
}

// backups returns the runner, or answers that this node has none.
func (h *handler) backups(w http.ResponseWriter) *backup.Runner {
	if h.Backups == nil {
		problem(w, problemDetails{Title: "Not possible", Status: http.StatusConflict, Code: "no-backups",
			Detail: "This node runs inside another program, which takes no backups of it.", Fix: "Use that program's own backups."})
	}
	return h.Backups
}

func (h *handler) backupStatus(w http.ResponseWriter, _ *http.Request) {
	if r := h.backups(w); r != nil {
		answer(w, r.Status())
	}
}

// takeBackup begins a backup to a directory on this host; GET tells how far it is.
func (h *handler) takeBackup(w http.ResponseWriter, r *http.Request) {
	var q backup.Request
	runner := h.backups(w)
	if runner == nil || !decode(w, r, &q) {
		return
	}
	status, err := runner.Start(q)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	h.Logger.Info("a backup was asked for", "directory", q.Directory, "from", r.RemoteAddr)
	w.Header().Set("Location", "/admin/backup")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	encode(w, status)
}

func (h *handler) cancelBackup(w http.ResponseWriter, _ *http.Request) {
	if r := h.backups(w); r != nil {
		answer(w, r.Cancel())
	}
}
