// Package feed keeps what was decided about clusters' endpoints and tells the
// agents that serve them where to forward.
//
// Settings are events of a journal stream of their own; every control node
// projects them (Take). The one in charge runs the feed (Run): it sends each
// serving agent the route when it changes and once a second, which confirms
// it. While an operation moves the primary the operation's own orders lead, and
// a route to the new primary is sent only when it is known to be one.
package feed
