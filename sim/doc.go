// Package sim runs whole clusters in one process and one goroutine: the real replica core, log,
// membership decisions and stream semantics, over a simulated network, disk and clock. A seed decides
// everything: how many nodes, which faults at which intensity, and the order of every event, so that the
// same seed gives the same trace, bit by bit.
//
// One seed is one life of a cluster, in three phases: it is founded, it serves clients under faults, then the
// faults stop and it must come to rest. Checkers watch every step (checker.go names the promises of
// docs/guarantees.md that they hold); what only the end can show is checked at the end.
//
//	make sim SEEDS=1000      a batch
//	make sim SEED=42         one seed, with its story printed
//
// The package draws no randomness but the seed's: raft's election timeouts come from crypto/rand, which
// testing/cryptotest seeds. Two simulations therefore never share a process at the same time.
package sim
