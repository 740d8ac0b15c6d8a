// Package system holds tests that run the built binary as real processes on loopback: the official Node clients,
// failover, promotion, bad input. They are the fourth ring of tests; `make system` runs them.
package system
