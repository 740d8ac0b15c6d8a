package main

import (
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"

	"baton/control/api"
)

// serverList reads --server or BATON_SERVER: one control node, or several with
// commas between. Any of them answers; the next is asked when one is away.
func serverList(text string) []string {
	var out []string
	for s := range strings.SplitSeq(text, ",") {
		if s = strings.TrimRight(strings.TrimSpace(s), "/"); s != "" && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		out = []string{"http://" + defaultControlListen}
	}
	return out
}

// anywhere sends a request to one control node after the other until one takes
// it. What may have been done by one is never sent to another. build makes the
// request for a server.
func (c *client) anywhere(build func(server string) (*http.Request, error)) (*http.Response, error) {
	var last error
	for left := max(1, len(c.servers)); left > 0; left-- {
		req, err := build(c.server)
		if err != nil {
			return nil, err
		}
		res, err := c.http.Do(req)
		switch {
		case err == nil && (left == 1 || !untouched(res)):
			return res, nil // also a refusal, when nobody else can be asked
		case err == nil:
			res.Body.Close()
		case !neverSent(err, req.Method):
			return nil, err
		default:
			last = err
		}
		c.server = c.next()
	}
	return nil, last
}

// next is the server after the one in use.
func (c *client) next() string {
	if len(c.servers) == 0 {
		return c.server
	}
	return c.servers[(slices.Index(c.servers, c.server)+1)%len(c.servers)]
}

// untouched tells of an answer 503 that nothing was done and another node may
// do it.
func untouched(res *http.Response) bool {
	return res.StatusCode == http.StatusServiceUnavailable && res.Header.Get(api.HeaderRefused) == api.CodeNoMajority
}

// neverSent tells whether a request that failed surely had no effect.
func neverSent(err error, method string) bool {
	var op *net.OpError
	return method == http.MethodGet || errors.As(err, &op) && op.Op == "dial"
}
