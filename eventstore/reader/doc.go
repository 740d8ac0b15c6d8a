// Package reader serves events from the log: pages of one stream or of all
// streams in both directions, and catch-up subscriptions.
//
// Reads of all streams scan the log itself, up to the applied watermark; reads
// of one stream find their records through the index. A subscription is a read
// that goes on: at the watermark it says that it has caught up and waits there.
// There is no second path for live events and no buffer per subscriber, so a
// slow one delays nobody else.
//
// Every method may be called by any number of goroutines. Events are handed
// out without copying: see [Event] for how long their memory may be used.
package reader
