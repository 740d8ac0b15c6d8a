// Package replica keeps one node's copy of the log in agreement with the
// others and applies it: it drives raft, writes the log, applies committed
// records and tells every waiter what became of its command.
//
// # The append path
//
// Core is a synchronous, deterministic wrapper of raft: state and inputs go in,
// effects come out; it starts no goroutine and reads no clock, so that a
// simulation can drive whole clusters of it. Replica is the production shell
// with three goroutines:
//
//   - the loop owns Core. It takes everything that has arrived as one step:
//     responses, messages, commands, a tick. Waiting commands are judged by the
//     stream.Sequencer (applied heads plus everything in flight) and their
//     records joined into ONE raft entry of up to MaxBatchBytes. At most
//     MaxBatches entries are proposed and not yet committed, and a further one
//     only when there is enough for it; meanwhile new commands gather, and so
//     batches grow with the load.
//   - the append thread takes all append jobs that wait, writes their entries
//     with one write and one sync, and only then releases the responses. The
//     same entries are on their way to the peers meanwhile.
//   - the apply thread runs stream.Apply on every committed record, the only
//     judge of it, then updates index, heads and the watermark in this order.
//     Readers see a record only after that.
//
// # Why no acknowledged write is lost
//
// A waiter is told "done" by exactly one event: its record was applied here, in
// the entry at the index and term at which it was proposed. Applied implies
// committed, committed implies durable on a majority of voters: a voter's
// acknowledgement (MsgAppResp) is a response of the append job and leaves only
// after the sync; the leader's own is no exception. Votes and terms are saved
// and synced in the same job before the responses that depend on them.
//
// A deposed leader fails nothing it cannot know. A command not yet proposed was
// never appended and is returned as such (ErrNotAppended). A proposed one waits
// until an entry is applied at its index: with the same term it is done, whoever
// leads now; with another term it has lost for ever. Until then its outcome is
// unknown, and a caller that cannot wait gets ErrTimeout, never a failure.
//
// A new leader serves only after its first entry has been applied. From then on
// its heads contain everything committed before, and the sequencer, reset at
// that moment, predicts every verdict exactly.
//
// # Configuration changes and restarts
//
// A configuration takes effect when its entry is committed. Two neighbouring
// configurations overlap in a majority; two that are further apart need not. A
// node must therefore never campaign more than one change behind. A running node
// cannot: it receives a second change only in a message whose commit index
// covers the first, and raft does not campaign over committed, unapplied
// changes. A restarted node could, had it forgotten the commit index. So that
// index is made durable before a configuration change is appended, and after one
// is handed to apply (CommitFile); it is not synced for anything else.
//
// A clone becomes a voter only by a change proposed when the leader knows every
// entry committed at that very moment to be durable on it (P8).
//
// # Failure
//
// A failed write or sync, a record that cannot be parsed, an index that cannot
// be read: the replica stops for good and says why. It never carries on beside
// a disk that lied.
package replica
