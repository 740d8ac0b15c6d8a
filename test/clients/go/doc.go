// Package clients holds system tests that speak to real nodes through the official Go client, and runs that
// client's own test suite against our binary.
package clients
