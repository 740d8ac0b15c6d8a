// Package backup takes backups of a running event-store node, proves them and
// makes new clusters of them. A backup holds every event that the node had
// applied at one position, byte for byte as the log has it, and everything
// about it is checked before it counts.
//
// # A backup directory
//
//	manifest.json       what the backup is; written last
//	segments/BASE-HASH.seg
//	partial.json        only while one is being taken: what is there already
//	LOCK                held while one is being taken
//
// Segment files are named by their base and the first 16 digits of their
// SHA-256, so a file never changes once it has its name, and two states of one
// segment stand beside each other. A backup taken into the directory of an
// earlier one stores only what is new; until its manifest has taken the place
// of the earlier one, the earlier backup is whole. Interrupted at any point, a
// directory holds the earlier backup or none, and taking it again goes on.
//
// # What is restored
//
// A restored log keeps positions and revisions. It becomes the log of a new
// cluster with one voter (replica.Refound); other nodes join that as they join
// any cluster. The files of a node that say who it is are not part of a backup.
//
// # Goroutines
//
// Take, Verify and Restore work in the goroutine of the caller. Runner is safe
// for concurrent use.
package backup
