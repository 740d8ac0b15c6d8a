// Package h2 serves gRPC calls on HTTP/2 connections: the noun is the
// connection. Generated handlers, codecs, status and metadata are grpc-go's; this
// package is what lies between them and the socket.
//
// It exists because a call costs more than the write it carries. grpc-go gives
// every call four hand-overs between goroutines and three control frames through
// a queue; here a call costs one hand-over: the reading goroutine gathers the
// whole request before a handler is woken, and what handlers answer at the same
// time leaves in one write. docs/adr/0015 has the measurements.
//
// # What a connection does
//
// One goroutine reads frames, one writes what has gathered, handlers run on
// goroutines that are kept for the next call. A request that is one message, or
// that a client streams without waiting for answers, reaches its handler when it
// is complete or gatherBytes are there; a call in both directions at once.
//
// Windows: a call may have Options.StreamWindow bytes waiting unread, more only
// while its handler waits for the rest of one message. What a handler sends waits
// for the client's windows and for the socket, so a slow client holds up itself
// alone. Header blocks are encoded without the dynamic table: no state, no
// entries to disagree about.
//
// Bounds: Options.MaxCalls handlers at a time (a call that was reset counts until
// its handler has returned), maxHeaderBytes of headers, maxControlBytes of
// answers to pings and settings that a client does not read.
package h2
