// Package log keeps the raft log of a node, which is the event log: entries
// as checksummed frames in segment files, durable when Append returns.
//
// # Positions and segments
//
// A position is a byte offset in the sequence of all frames, identical on
// every node. Frames are contiguous; segment files cut the sequence. A frame
// that would make its segment longer than Options.SegmentBytes begins the next
// one, and so does an entry that asks for it (stream.BeginsSegment). Where the
// cuts fall depends on the entries only, and closed segment files are
// byte-identical on all nodes with the same entries.
//
// The segment being written is filled with zeros ahead of use and opened with
// O_DSYNC: one positioned write makes a batch durable without changing the
// file's length.
//
// # What holds
//
//  1. Zeros after the end. Before frames are written at the end of the log,
//     everything in the segment after the end and its trailer is zeros, durably.
//     So stale frames cannot come back: nothing behind a new end survives.
//  2. A segment file exists only if all frames before its base are durable.
//     Damage in any but the last segment is never the work of a crash.
//  3. Cutting a suffix off is announced in a file of its own before the first
//     byte is changed, and repeated by recovery until it is complete.
//  4. After the first failed write or sync the log accepts nothing more
//     (ErrFailed). What the disk holds then is found out by the next start.
//
// # Goroutines
//
// Append and Close belong to one goroutine, the append thread. Everything else
// may be called from any goroutine at any time; readers never block on the
// disk work of an Append.
package log
