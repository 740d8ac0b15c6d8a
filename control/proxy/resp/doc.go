// Package resp finds where requests and answers of the Redis protocol begin
// and end: RESP2, RESP3 and the inline form. It decodes no more than that
// takes, keeps no copy of what passes, and gives the same result however the
// bytes are cut into pieces.
//
// It is pure: no I/O, no clock.
package resp
