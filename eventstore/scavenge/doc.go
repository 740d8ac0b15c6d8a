// Package scavenge takes events out of the log that nobody can read any more:
// below $tb or beyond $maxCount, older than $maxAge, of deleted streams, metadata
// that was replaced, and events of records that apply refused.
//
// What may go is decided by [stream.Head.Removable], with the heads that this
// node has applied; the last event of a stream always stays, so the numbering
// goes on and every record is judged alike when the log is applied again. A
// scavenge has a point, an event in the stream $scavengePoints: nothing at or
// after the point's position is touched, and $maxAge is measured at its time.
//
// Before its point a scavenge ends the segment being written, on all nodes, if
// that holds something to remove (ending.go).
//
// A scavenge is one node's own affair. It walks over the closed segments in
// order, rewrites those with something to remove ([log.Log.Rewrite]) and then
// removes the rows of the index that lead to nothing any more. Positions,
// revisions, indexes and terms stay as they were; what is gone reads as an event
// marked as removed, which no reader hands out. What one node removed another may
// still have; a node that is sent a scavenged entry by raft stores it as it is.
//
// Memory: the heads of maxHeads streams and maxRows rows at a time, whatever the
// size of the log. Disk: one segment more while it is rewritten, at most
// bytesPerSecond read and written.
//
// [Store] does the work on one segment and belongs to one goroutine. [Scavenger]
// runs it through the log in the background, keeps on disk how far it came, and
// goes on there after a restart; its methods may be called from any goroutine.
package scavenge
