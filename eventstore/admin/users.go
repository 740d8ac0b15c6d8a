package admin

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"baton/eventstore/rpc"
	"baton/eventstore/users"
)

// currentUser names the caller in GET /users/$current.
const currentUser = "$current"

// userRoutes adds the routes of accounts, with the names and answers that clients know.
func (h *handler) userRoutes(mux *http.ServeMux) {
	admins := h.access.MayAdministrate
	for _, path := range []string{"/users", "/users/{$}"} {
		mux.Handle("GET "+path, h.may(admins, h.listUsers))
		mux.Handle("POST "+path, h.may(admins, h.createUser))
	}
	mux.Handle("GET /users/{login}", h.may(h.access.SignedIn, h.oneUser))
	mux.Handle("PUT /users/{login}", h.may(admins, h.updateUser))
	mux.Handle("DELETE /users/{login}", h.may(admins, h.deleteUser))
	mux.Handle("POST /users/{login}/command/enable", h.may(admins, h.enableUser(true)))
	mux.Handle("POST /users/{login}/command/disable", h.may(admins, h.enableUser(false)))
	mux.Handle("POST /users/{login}/command/reset-password", h.may(admins, h.resetPassword))
	mux.Handle("POST /users/{login}/command/change-password", h.may(h.access.SignedIn, h.changePassword))
}

// userView is an account as the routes show it.
type userView struct {
	LoginName       string   `json:"loginName"`
	FullName        string   `json:"fullName"`
	Groups          []string `json:"groups"`
	DateLastUpdated string   `json:"dateLastUpdated"`
	Disabled        bool     `json:"disabled"`
	Links           []link   `json:"links"`
}

type link struct {
	Href string `json:"href"`
	Rel  string `json:"rel"`
}

// userAnswer is what every route but the list answers: what was done, or the account.
type userAnswer struct {
	LoginName string    `json:"loginName,omitempty"`
	Data      *userView `json:"data,omitempty"`
	Success   bool      `json:"success"`
	Error     string    `json:"error"`
}

const noError = "Success"

func viewOf(r *http.Request, d users.Details) userView {
	base := "http://"
	if r.TLS != nil {
		base = "https://"
	}
	base += r.Host + "/users/" + url.PathEscape(d.Login)
	v := userView{LoginName: d.Login, FullName: d.FullName, Groups: d.Groups, Disabled: d.Disabled,
		DateLastUpdated: time.Unix(0, d.Updated*100).UTC().Format(time.RFC3339Nano)}
	if v.Groups == nil {
		v.Groups = []string{}
	}
	toggle := "disable"
	if d.Disabled {
		toggle = "enable"
	}
	for _, command := range []string{"reset-password", "change-password", toggle} {
		v.Links = append(v.Links, link{base + "/command/" + command, command})
	}
	v.Links = append(v.Links, link{base, "edit"}, link{base, "delete"})
	return v
}

// accounts returns the users, or answers that there are none on an insecure node.
func (h *handler) accounts(w http.ResponseWriter) *users.Store {
	store := h.access.Users()
	if store == nil {
		problem(w, problemDetails{Title: "No users here", Status: http.StatusConflict, Code: "insecure",
			Detail: "This node is insecure: it keeps no users and lets everybody do everything.", Fix: "Start it without --insecure."})
	}
	return store
}

func (h *handler) listUsers(w http.ResponseWriter, r *http.Request) {
	store := h.accounts(w)
	if store == nil {
		return
	}
	list := []userView{}
	err := store.List(r.Context(), func(d users.Details) error {
		list = append(list, viewOf(r, d))
		return nil
	})
	if err != nil {
		h.failUser(w, r, err)
		return
	}
	answer(w, map[string]any{"data": list, "success": true, "error": noError})
}

func (h *handler) oneUser(w http.ResponseWriter, r *http.Request) {
	caller, login := rpc.CallerOf(r.Context()), r.PathValue("login")
	if login == currentUser {
		login = caller.Name
	}
	if login != caller.Name && !h.access.MayAdministrate(caller) {
		h.notAllowed(w, caller)
		return
	}
	store := h.accounts(w)
	if store == nil {
		return
	}
	d, err := store.Details(login)
	if err != nil {
		h.failUser(w, r, err)
		return
	}
	v := viewOf(r, d)
	answer(w, userAnswer{Data: &v, Success: true, Error: noError})
}

func (h *handler) createUser(w http.ResponseWriter, r *http.Request) {
	var req struct {
		LoginName string   `json:"loginName"`
		FullName  string   `json:"fullName"`
		Groups    []string `json:"groups"`
		Password  string   `json:"password"`
	}
	store := h.accounts(w)
	if store == nil || !decode(w, r, &req) {
		return
	}
	if err := store.Create(r.Context(), req.LoginName, req.FullName, req.Groups, req.Password); err != nil {
		h.failUser(w, r, err)
		return
	}
	h.userChanged(r, "created", req.LoginName)
	w.Header().Set("Location", "/users/"+url.PathEscape(req.LoginName))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	encode(w, userAnswer{LoginName: req.LoginName, Success: true, Error: noError})
}

// changeUser runs one change of the account in the path and answers.
func (h *handler) changeUser(w http.ResponseWriter, r *http.Request, what string, change func(*users.Store, string) error) {
	store, login := h.accounts(w), r.PathValue("login")
	if store == nil {
		return
	}
	if err := change(store, login); err != nil {
		h.failUser(w, r, err)
		return
	}
	h.userChanged(r, what, login)
	answer(w, userAnswer{LoginName: login, Success: true, Error: noError})
}

func (h *handler) userChanged(r *http.Request, what, login string) {
	h.Logger.Info("a user was "+what, "user", login, "by", rpc.CallerOf(r.Context()).Name, "from", r.RemoteAddr)
}

func (h *handler) updateUser(w http.ResponseWriter, r *http.Request) {
	var req struct {
		FullName string   `json:"fullName"`
		Groups   []string `json:"groups"`
	}
	if !decode(w, r, &req) {
		return
	}
	h.changeUser(w, r, "changed", func(u *users.Store, login string) error {
		return u.Update(r.Context(), login, req.FullName, req.Groups)
	})
}

func (h *handler) deleteUser(w http.ResponseWriter, r *http.Request) {
	h.changeUser(w, r, "deleted", func(u *users.Store, login string) error { return u.Delete(r.Context(), login) })
}

func (h *handler) enableUser(enable bool) http.HandlerFunc {
	what := map[bool]string{true: "enabled", false: "disabled"}[enable]
	return func(w http.ResponseWriter, r *http.Request) {
		h.changeUser(w, r, what, func(u *users.Store, login string) error { return u.SetDisabled(r.Context(), login, !enable) })
	}
}

func (h *handler) resetPassword(w http.ResponseWriter, r *http.Request) {
	var req struct {
		NewPassword string `json:"newPassword"`
	}
	if !decode(w, r, &req) {
		return
	}
	h.changeUser(w, r, "given another password", func(u *users.Store, login string) error {
		return u.ResetPassword(r.Context(), login, req.NewPassword)
	})
}

func (h *handler) changePassword(w http.ResponseWriter, r *http.Request) {
	var req struct {
		CurrentPassword string `json:"currentPassword"`
		NewPassword     string `json:"newPassword"`
	}
	caller := rpc.CallerOf(r.Context())
	if r.PathValue("login") != caller.Name && !h.access.MayAdministrate(caller) {
		h.notAllowed(w, caller)
		return
	}
	if !decode(w, r, &req) {
		return
	}
	h.changeUser(w, r, "given another password", func(u *users.Store, login string) error {
		return u.ChangePassword(r.Context(), login, req.CurrentPassword, req.NewPassword, r.RemoteAddr)
	})
}

func (h *handler) notAllowed(w http.ResponseWriter, caller rpc.Caller) {
	problem(w, problemDetails{Title: "Not allowed", Status: http.StatusForbidden, Code: "access-denied",
		Detail: "User " + caller.Name + " may not do this.", Fix: "Use an account of the administrators or operators."})
}

// failUser answers an error of the accounts.
func (h *handler) failUser(w http.ResponseWriter, r *http.Request, err error) {
	var invalid *users.InvalidError
	p := problemDetails{Detail: "Nothing was changed: " + err.Error() + "."}
	switch {
	case errors.Is(err, users.ErrNotFound):
		p.Title, p.Status, p.Code, p.Fix = "No such user", http.StatusNotFound, "user-not-found", "GET /users lists the users."
	case errors.Is(err, users.ErrExists):
		p.Title, p.Status, p.Code, p.Fix = "The user exists", http.StatusConflict, "user-conflict", "Choose another name, or change that user."
	case errors.Is(err, users.ErrLastAdmin):
		p.Title, p.Status, p.Code, p.Fix = "Nobody could administrate users", http.StatusConflict, "last-admin", "Make another member of $admins first."
	case errors.Is(err, users.ErrTryAgain):
		p.Title, p.Status, p.Code, p.Fix, p.Retry = "Changed meanwhile", http.StatusConflict, "user-conflict", "Look at the user and try again.", true
	case errors.Is(err, users.ErrWrong), errors.Is(err, users.ErrTooMany):
		p.Title, p.Status, p.Code, p.Fix = "Not allowed", http.StatusForbidden, "access-denied", "Give the current password, or have an administrator reset it."
	case errors.Is(err, users.ErrBusy), errors.Is(err, users.ErrNotReady):
		p.Title, p.Status, p.Code, p.Fix, p.Retry = "Not now", http.StatusServiceUnavailable, "unavailable", "Try again in a moment.", true
	case errors.As(err, &invalid):
		p.Title, p.Status, p.Code, p.Fix = "The request cannot be carried out", http.StatusBadRequest, "bad-request", "Correct it."
	default:
		h.fail(w, r, err)
		return
	}
	problem(w, p)
}
