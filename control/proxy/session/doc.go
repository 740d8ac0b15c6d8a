// Package session is one client's session through the endpoint as a state
// machine: bytes and events go in, bytes and wishes come out. It holds true:
//
//   - An answer reaches the client whole, once, and in the order of the requests.
//   - A request that may change data is sent to a second server only when the
//     first one said that it did not carry it out. When no answer came the client
//     is told that the outcome is unknown.
//   - What belongs to the session (login, database, name, protocol version,
//     subscriptions, an open MULTI) is on the server before a request is sent there;
//     an EXEC whose WATCH was on another server answers nil.
//   - Nothing that writes is sent while writes are held or the route is fenced.
//
// The machine reads no clock and starts nothing: the shell in package proxy
// gives it times and carries out its wishes. One goroutine at a time may call it.
package session
