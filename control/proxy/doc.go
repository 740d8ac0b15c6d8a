// Package proxy is a cluster's stable endpoint: a read-write port that follows
// the primary and a read-only port that follows healthy replicas. A planned
// move of the primary is a pause for its clients and no error.
//
// A Server is told by the control plane where to forward (Route), to hold
// requests that write (Hold), and to let them go (Release). It decides nothing
// about roles. It holds true:
//
//   - Orders of a lower (generation, term) than it has seen are refused, and a
//     connection made under a lower generation gets no further request.
//   - Where the primary is moved automatically, requests that write stop when
//     nothing has confirmed the route for the lease's time.
//   - The session rules of package session, for each client.
//   - What it keeps is bounded: clients, bytes for each and for all, times.
//
// It needs no password: clients log in through it, and what they send is kept
// in memory for the connection to the next primary. A Server may be used from
// many goroutines; two serve each client.
package proxy
