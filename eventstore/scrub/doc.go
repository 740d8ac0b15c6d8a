// Package scrub looks after the bytes of a node's log while it runs: it reads every
// segment again and again, slowly, and mends what is damaged with the frames of the
// other nodes ([log.Log.Verify], [log.Log.Mend]).
//
// Damage is found by a round over all segments, begun every Config.Every or by
// request, and by readers that meet it ([Scrubber.Suspect]), whose segment is read
// at once. What is found stays in [Status] until it is mended; a mending that fails
// is tried again, sooner at first. Nobody waits for a scrub, and a round reads at
// most Config.BytesPerSecond.
//
// What is not done here: the node hands leadership over and is not chosen while
// something is damaged (eventstore/node). Damage for which the log does not open is
// mended before it is opened ([log.MendStopped]).
//
// A Scrubber's methods may be called from any goroutine; the work is done on one.
package scrub
