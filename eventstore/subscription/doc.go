// Package subscription holds the rules of a consumer group: which consumer gets which event, when an event is sent again, when it is parked, and how
// far the group's checkpoint may move.
//
// The package is pure. A [Group] is fed with what happened (an event was read, acknowledged, refused; a consumer came or went; a write ended; time
// passed) and answers with [Effects]: events to deliver, events to park, a checkpoint to write. It reads no clock: [Group.SetNow] tells the time, as a
// duration since any fixed moment.
//
// What holds at every moment, whatever comes in (argued where it is kept, tried by property_test.go):
//
//   - Every event read is outstanding until it is handled: acknowledged, skipped, or parked with the write confirmed. An outstanding event is in exactly one place: waiting to
//     be sent, sent to one consumer, being parked, or behind an event of the same id.
//   - The checkpoint lies before the lowest outstanding event of the source and never moves back.
//   - What is held is bounded: [Group.Room] is 0 when the read-ahead buffer or the bytes are used up, and no consumer holds more than its slots.
//
// A Group belongs to one goroutine at a time.
package subscription
