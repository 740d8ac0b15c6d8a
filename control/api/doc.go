// Package api translates between HTTP and the control plane: JSON in and out,
// sessions, roles, server-sent events, and the dashboard's files. It decides
// nothing about clusters; the planner and the executor do.
//
// Everything is under /api/v1 and described by an OpenAPI 3.1 document at
// /api/v1/openapi.json (Document returns the same bytes). Errors are problem
// documents (RFC 9457) with a code, a fix and whether retrying helps. 64-bit
// integers are decimal strings.
package api
