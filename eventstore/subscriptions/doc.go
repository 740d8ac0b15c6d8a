// Package subscriptions runs the consumer groups of a cluster on the node that leads: it holds true that in each term every group is fed, delivers and
// remembers its progress on that node alone, and that nothing of it acts once the term is over.
//
// [Service] follows the node's leadership. With each term it reads the groups' settings and checkpoints, which are ordinary events, and starts a group
// for each. A group has one goroutine that reads, through the same path as any subscription, and a lock around the pure state of package subscription;
// whoever brings something (an acknowledgement, the end of a write, a deadline) takes the lock, lets the state judge, and performs the effects, none of which blocks.
//
// What is written:
//
//   - the settings of all groups, one event in $persistentSubscriptionConfig, replaced as a whole with the exact revision expected;
//   - checkpoints, in $persistentsubscription-STREAM::GROUP-checkpoint, also with the exact revision: a group that outlived its term could not write one;
//   - links to parked events, in $persistentsubscription-STREAM::GROUP-parked.
//
// Commands are only ever given to this node's own log, never forwarded: one that was not appended in its term never is.
//
// All methods may be called from any goroutine. docs/adr/0060 has the decisions.
package subscriptions
