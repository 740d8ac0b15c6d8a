// Package swarm is many simulated hosts: agents with identities of their own over links as production has them (gRPC
// over mutual TLS, one report each half second), whose Redis servers are made up. It is the load of thousands of nodes
// on one real control plane.
//
// What an agent reports has the form and the size of a real report, and moves as a real one does: positions, rates and
// clocks change each time, settings do not. Orders are answered done; nothing happens. A Swarm may be used from many
// goroutines.
//
// It imports neither the agent nor its engines, so that a module of few dependencies can use it; a test compares the
// form of its reports with the agent's.
package swarm
