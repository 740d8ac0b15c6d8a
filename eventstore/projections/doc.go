// Package projections runs the projections of a cluster on the node that leads: it holds true that what a projection read, the state it came to and the
// events it wrote are remembered together or not at all, so that each event is handled and each of its consequences written exactly once, whoever leads.
//
// [Service] follows the node's leadership. With each term it reads which projections there are and starts those that are enabled. A projection that runs
// has two goroutines: one reads through the path of every other subscription and hands each event to the program of package projection; one writes
// what came of it. While a write is on its way the next batch gathers; a full batch makes the reader wait.
//
// One batch is one append to many streams: emitted events, results, states of partitions, and last the checkpoint with the place in the source, at the exact
// revision expected. A batch of a leader that was deposed, or one whose outcome was not learned, therefore either is in the log before its successor reads
// the checkpoint, or is refused. After every doubt the projection begins anew from the checkpoint.
//
// Definitions are events too: $projections-$all says which projections there are, $projections-NAME what each is. docs/formats.md draws the streams,
// docs/adr/0070 has the decisions.
//
// All methods may be called from any goroutine.
package projections
