// Package importer copies a running event store that speaks the client protocol
// into another one, event for event: streams, revisions, metadata, links, types,
// data and ids.
//
// The source is read in the order of all its streams and written in that order,
// many appends under way at once on one call. Each append names the revision it
// expects and carries the source's event ids, so that whatever is sent a second
// time is recognized: an import that was interrupted goes on where its last
// checkpoint in the target stands, and may also be begun anew.
//
// What cannot be carried over by the protocol is kept in another form or said:
// the time an event was created at the source stands in its metadata; revisions
// that the source no longer has are filled with small events that are truncated
// at once, so that every revision keeps its number.
package importer
