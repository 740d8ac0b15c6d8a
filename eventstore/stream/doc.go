// Package stream holds the rules of streams: what an append, a delete or a
// metadata write means, which expected revision it satisfies, which revisions
// its events get, and when a repeated request is the same request.
//
// The package is pure: it opens nothing, reads no clock, draws no random
// number, starts no goroutine and takes no lock. Time reaches it as a stamp
// chosen by the leader, stored state through [HeadSource].
//
// A request lives through four steps:
//
//  1. A builder ([NewAppend], [NewMultiAppend], [NewDelete], [NewTombstone],
//     [NewAdmin]) checks it and encodes it once, off the consensus loop, as a
//     [Command]: the very bytes that will stand in the log.
//  2. The leader's [Sequencer] judges it against the heads of its streams plus
//     everything in flight, stamps revisions and time into the bytes in place,
//     and says [Admit]; or it answers at once.
//  3. Consensus orders the bytes in one entry with others.
//  4. Every node runs [Applier.Apply] on every committed [Record]. It alone
//     decides: a record is accepted when each stamped revision is the next one
//     of its stream. Apply depends on nothing but the record and the heads, so
//     all nodes come to the same verdict.
//
// The byte layout of records is drawn in docs/formats.md.
package stream
