package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"baton/eventstore/membership"
	"baton/eventstore/node"
)

// problemDetails is an RFC 9457 document with the fields of a refusal.
type problemDetails struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Fix    string `json:"fix"`
	Code   string `json:"code"`
	Retry  bool   `json:"retry"`
}

func problem(w http.ResponseWriter, p problemDetails) {
	if p.Type == "" {
		p.Type = "about:blank"
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(p.Status)
	encode(w, p)
}

func answer(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	encode(w, value)
}

func encode(w io.Writer, value any) {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(value) // the client has gone, if this fails
}

// refusalStatus maps refusal codes to HTTP; a code that is not here is a conflict with the cluster's state.
var refusalStatus = map[string]int{
	membership.CodeUnknownNode: http.StatusNotFound,
	membership.CodeBadSize:     http.StatusBadRequest,
	membership.CodeBadMember:   http.StatusBadRequest,
	membership.CodeNoQuorum:    http.StatusServiceUnavailable,
	membership.CodeNoLeader:    http.StatusServiceUnavailable,
	membership.CodeNotFormed:   http.StatusServiceUnavailable,
}

// fail answers an error of the node: a refusal as such, another leader as a redirect, the rest by what it means for the caller.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	var refusal *membership.Refusal
	var notLeader *node.NotLeaderError
	switch {
	case errors.As(err, &refusal):
		status, ok := refusalStatus[refusal.Code]
		if !ok {
			status = http.StatusConflict
		}
		problem(w, problemDetails{Title: refusal.Title, Status: status, Detail: refusal.Detail, Fix: refusal.Fix, Code: refusal.Code, Retry: refusal.Retry})
	case errors.As(err, &notLeader) && notLeader.Leader != nil && notLeader.Leader.ClientAddress() != "":
		scheme := "http"
		if r.TLS != nil {
			scheme = "https"
		}
		w.Header().Set("Location", scheme+"://"+notLeader.Leader.ClientAddress()+r.URL.RequestURI())
		w.WriteHeader(http.StatusTemporaryRedirect)
	case errors.Is(err, node.ErrNoLeader):
		problem(w, problemDetails{Title: "No leader", Status: http.StatusServiceUnavailable, Code: membership.CodeNoLeader, Retry: true,
			Detail: "No leader is known at the moment; nothing was changed.", Fix: "See GET /cluster for the members that are missing, and try again."})
	case errors.Is(err, node.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		problem(w, problemDetails{Title: "Not decided in time", Status: http.StatusGatewayTimeout, Code: "unknown-outcome", Retry: true,
			Detail: "The change was not confirmed in time. It may or may not have happened.", Fix: "Look at GET /cluster before you repeat it."})
	case errors.Is(err, node.ErrStopped), errors.Is(err, node.ErrBusy):
		problem(w, problemDetails{Title: "Not now", Status: http.StatusServiceUnavailable, Code: "unavailable", Retry: true,
			Detail: "The node is starting, stopping or overloaded; nothing was changed.", Fix: "Try again, here or on another node."})
	case errors.Is(err, context.Canceled):
		// The client has gone.
	default:
		h.Logger.Error("an operator's request failed", "route", r.URL.Path, "error", err)
		problem(w, problemDetails{Title: "The node failed to do this", Status: http.StatusInternalServerError, Code: "internal",
			Detail: err.Error(), Fix: "See the node's log."})
	}
}

// decode reads a JSON body strictly into value and answers the problem itself if it cannot.
func decode(w http.ResponseWriter, r *http.Request, value any) bool {
	refuse := func(status int, detail string) bool {
		problem(w, problemDetails{Title: "The request cannot be understood", Status: status, Code: "bad-request", Detail: detail,
			Fix: "Correct the request; see docs/operating.md for the routes."})
		return false
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return refuse(http.StatusUnsupportedMediaType, "The body must be application/json.")
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(value); err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return refuse(http.StatusRequestEntityTooLarge, fmt.Sprintf("The body exceeds %d bytes.", maxBodyBytes))
		}
		return refuse(http.StatusBadRequest, "The body is not what this route expects: "+strings.TrimPrefix(clip(err.Error()), "json: ")+".")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return refuse(http.StatusBadRequest, "There is more after the JSON document.")
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	return true
}
