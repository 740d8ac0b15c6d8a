package api

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
)

// Problem is every error answer (RFC 9457, application/problem+json). It is
// the one place where refusals and failures become HTTP.
type Problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	// Code is stable and for programs; see the Code constants.
	Code  string `json:"code"`
	Fix   string `json:"fix"`
	Retry bool   `json:"retry" doc:"whether the same request may succeed later"`
	// Report is the fresh report of a refused promotion.
	Report *Report `json:"report,omitempty"`
	// Refusals are the reasons of the planner.
	Refusals []Refusal `json:"refusals,omitempty"`
	// HostKey is the fingerprint of a machine's host key, to be confirmed.
	HostKey string `json:"hostKey,omitempty"`
	// OperationID names the operation that is in the way.
	OperationID string `json:"operationId,omitempty"`

	retryAfterSeconds int
}

// Codes of problems.
const (
	CodeBadRequest     = "bad-request"
	CodeNotSignedIn    = "not-signed-in"
	CodeForbidden      = "forbidden"
	CodeCrossSite      = "cross-site"
	CodeNotFound       = "not-found"
	CodeUnknownCluster = "unknown-cluster"
	CodeUnknownNode    = "unknown-node"
	CodeNotOfCluster   = "node-of-another-cluster"
	CodeUnknownOp      = "unknown-operation"
	CodeTypedName      = "typed-name-mismatch"
	CodeStaleReport    = "stale-report"
	CodeRefused        = "refused-by-checks"
	CodeRunning        = "operation-running"
	CodeUndoGone       = "undo-not-available"
	CodeWrongLogin     = "wrong-login"
	CodeTooMany        = "too-many-attempts"
	CodeSetupDone      = "setup-done"
	CodeSetupToken     = "setup-token"
	CodeWeakPassword   = "weak-password"
	CodeTooLarge       = "too-large"
	CodeUnavailable    = "unavailable"
	CodeLastAdmin      = "last-admin"
	CodeTooLate        = "too-late"
	CodeInternal       = "internal"
	CodeNoMajority     = "no-majority"
	CodeHostKey        = "confirm-host-key"
	CodeUnreachable    = "unreachable"
	CodeMediaType      = "media-type"
	CodeMethod         = "method-not-allowed"
	problemContentType = "application/problem+json"
)

// Error is the headline.
func (p *Problem) Error() string { return p.Title + ": " + p.Detail }

// GetStatus makes Problem a huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType answers with the problem media type.
func (p *Problem) ContentType(ct string) string {
	if strings.HasPrefix(ct, "application/json") {
		return problemContentType
	}
	return ct
}

var installOnce sync.Once

// installErrors makes huma report its own errors (validation, decoding) as
// Problems. huma keeps this as a process-wide variable.
func installErrors() {
	installOnce.Do(func() {
		huma.DefaultArrayNullable = false
		huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
			for _, e := range errs {
				var p *Problem
				if errors.As(e, &p) {
					return p
				}
			}
			p := &Problem{Title: http.StatusText(status), Status: status, Detail: msg, Code: codeOfStatus(status)}
			for _, e := range errs {
				if e != nil {
					p.Detail += "; " + inWords(e)
				}
			}
			if status == http.StatusUnprocessableEntity || status == http.StatusBadRequest {
				p.Title, p.Fix = "The request is not valid", "compare the request with /api/v1/docs"
			}
			return p
		}
	})
}

// inWords is one of huma's errors without the value that was sent: it may be a
// password, and the text goes to the audit.
func inWords(e error) string {
	var d huma.ErrorDetailer
	if !errors.As(e, &d) {
		return e.Error()
	}
	detail := d.ErrorDetail()
	if detail.Location == "" {
		return detail.Message
	}
	return detail.Message + " (" + printable(detail.Location) + ")"
}

func codeOfStatus(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return CodeNotSignedIn
	case http.StatusForbidden:
		return CodeForbidden
	case http.StatusNotFound:
		return CodeNotFound
	case http.StatusRequestEntityTooLarge:
		return CodeTooLarge
	case http.StatusUnsupportedMediaType:
		return CodeMediaType
	case http.StatusMethodNotAllowed:
		return CodeMethod
	case http.StatusServiceUnavailable:
		return CodeUnavailable
	}
	if status >= 500 {
		return CodeInternal
	}
	return CodeBadRequest
}

func notFoundCluster(id string) *Problem {
	return &Problem{Title: "No such cluster", Status: 404, Code: CodeUnknownCluster,
		Detail: fmt.Sprintf("there is no cluster %q", id), Fix: "baton clusters lists them"}
}

// GetHeaders makes huma send Retry-After.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{}
	if p.retryAfterSeconds > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retryAfterSeconds))
	}
	return h
}
