package h2

import (
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Counts is how many calls a server was asked for, by what became of them. Calls
// that failed in one of the named ways are counted in Failed as well.
type Counts struct {
	Current                                 int64 // running now
	Total                                   uint64
	Failed, Unimplemented, DeadlineExceeded uint64
}

type counts struct {
	current                          atomic.Int64
	total                            atomic.Uint64
	failures, unimplemented, expired atomic.Uint64
}

// failed counts a call that ended with an error.
func (c *counts) failed(err error) {
	c.failures.Add(1)
	st, ok := status.FromError(err)
	if !ok {
		st = status.FromContextError(err)
	}
	switch st.Code() {
	case codes.Unimplemented:
		c.unimplemented.Add(1)
	case codes.DeadlineExceeded:
		c.expired.Add(1)
	}
}

// Counts returns the counts so far.
func (s *Server) Counts() Counts {
	c := &s.counts
	return Counts{Current: c.current.Load(), Total: c.total.Load(), Failed: c.failures.Load(), Unimplemented: c.unimplemented.Load(), DeadlineExceeded: c.expired.Load()}
}
