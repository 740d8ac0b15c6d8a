// Package agent is the part of Baton that runs beside the databases: it alone
// starts, stops and commands the engines of its host.
//
// An agent joins once with a one-use token, keeps a mutual-TLS stream to the
// control plane open, reports every ReportInterval and carries out orders. It
// persists the highest (generation, term) of every cluster before it acts on an
// order and refuses lower ones, so that two control planes can never pull a
// cluster in two directions. Processes it starts are detached: killing the
// agent leaves databases running, and the next agent adopts them.
//
// The package holds the vocabulary shared with the control plane (Order,
// Result, Report) and the agent itself. The control plane's end of the link is
// package hub.
package agent
