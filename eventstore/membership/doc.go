// Package membership decides who belongs to a cluster and in which role: which
// members vote, which are clones, who should lead, and whether a node may be
// promoted, with the reason for each answer.
//
// It is pure: facts go in, actions, refusals and a new roster come out. Time
// reaches it as durations inside the facts. The node gathers the facts and
// carries the actions out; the roster itself is replicated, every node applies
// the same changes in log order and so holds the same roster at the same index.
package membership
