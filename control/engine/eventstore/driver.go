// Package eventstore drives nodes of our own event store, like any client: the
// cluster's view and its commands over HTTP (GET /cluster, POST
// /cluster/promote), the probe over gRPC.
//
// Promotion is the engine's own: a leadership transfer to a named voter, or a
// joint change that makes a clone a voter. The driver asks, then reads back.
// Positions are byte offsets of one log, comparable within a cluster id
// (Observation.History).
//
// Instance.Auth.CAFile turns TLS on; without it the node is spoken to in the
// clear. Instance.Auth's user and password are sent as basic authentication.
package eventstore

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"baton/control/engine"
)

const (
	dialTimeout    = 500 * time.Millisecond
	observeTimeout = 400 * time.Millisecond
	// maxAnswerBytes bounds an answer; a view of a hundred members is 60 KiB.
	maxAnswerBytes = 1 << 20
)

// Driver implements engine.Driver.
type Driver struct {
	mu    sync.Mutex
	nodes map[string]*node // by instanceID
}

// node is what the driver keeps of one instance between calls.
type node struct {
	in     engine.Instance // as first given; its peers are below
	client *http.Client
	base   string // "http://host:port"
	err    error  // the instance cannot be spoken to as configured

	mu           sync.Mutex    // guards the rest
	peers        []engine.Peer // as last given
	track        engine.Track
	writes       engine.Counter
	writesAt     time.Time
	rate         float64
	reach        map[string]engine.Reach
	reachAt      time.Time
	reachRunning bool
	handled      map[string]*engine.Counter // events of projections, by name
}

var _ engine.Driver = (*Driver)(nil)

// New returns a driver without connections.
func New() *Driver { return &Driver{nodes: map[string]*node{}} }

// Engine returns "eventstore".
func (d *Driver) Engine() string { return engine.EventStore }

// Forget drops the connections kept for the instance.
func (d *Driver) Forget(in engine.Instance) {
	d.mu.Lock()
	n := d.nodes[instanceID(in)]
	delete(d.nodes, instanceID(in))
	d.mu.Unlock()
	if n != nil {
		n.client.CloseIdleConnections()
	}
}

// Close drops all connections.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, n := range d.nodes {
		n.client.CloseIdleConnections()
		delete(d.nodes, id)
	}
	return nil
}

func instanceID(in engine.Instance) string {
	return strings.Join([]string{in.Cluster, in.Node, in.Address(), in.Auth.User, in.Auth.Password, in.Auth.CAFile}, "\x00")
}

func (d *Driver) node(in engine.Instance) (*node, error) {
	if in.Engine != engine.EventStore {
		return nil, bad("instance %s runs %s, not eventstore", in.Key(), in.Engine)
	}
	if in.Host == "" || in.Port <= 0 || in.Port > 65535 {
		return nil, bad("instance %s has no usable address", in.Key())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	id := instanceID(in)
	n := d.nodes[id]
	if n == nil {
		n = newNode(in)
		d.nodes[id] = n
	}
	n.mu.Lock()
	n.peers = in.Peers
	n.mu.Unlock()
	return n, nil
}

func newNode(in engine.Instance) *node {
	n := &node{in: in, base: "http://" + in.Address(), rate: -1, handled: map[string]*engine.Counter{}}
	tr := &http.Transport{
		Proxy:               nil, // nodes are reached directly
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout: dialTimeout, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute,
		MaxResponseHeaderBytes: 16 << 10,
	}
	if in.Auth.CAFile != "" {
		n.base = "https://" + in.Address()
		tr.TLSClientConfig, n.err = tlsConfig(in.Auth.CAFile)
	}
	n.client = &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return n
}

func tlsConfig(caFile string) (*tls.Config, error) {
	b, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("read authority of the event store: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("no certificate in %s", caFile)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}, nil
}

// refusal is a problem document of a node.
type refusal struct {
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Fix    string `json:"fix"`
	Code   string `json:"code"`
	Status int    `json:"status"`
	Retry  bool   `json:"retry"`
}

func (r *refusal) Error() string {
	if r.Detail == "" {
		return r.Title
	}
	return r.Title + ": " + r.Detail
}

// errNotSent wraps errors after which nothing can have happened.
var errNotSent = errors.New("not sent")

// call sends a request to base and decodes the answer; in and out may be nil.
// Errors: *refusal for a problem document, errNotSent when no connection came
// to be, else the transport's.
func (n *node) call(ctx context.Context, method, base, path string, in, out any) error {
	if n.err != nil {
		return fmt.Errorf("%w: %w", errNotSent, n.err)
	}
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, base+path, body)
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if n.in.Auth.Password != "" {
		req.SetBasicAuth(n.in.Auth.User, n.in.Auth.Password)
	}
	resp, err := n.client.Do(req)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" {
			return fmt.Errorf("%w: %w", errNotSent, err)
		}
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		r := &refusal{Title: "the node answers " + resp.Status, Status: resp.StatusCode}
		if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json") {
			_ = json.Unmarshal(b, r)
			r.Status = resp.StatusCode
		}
		return r
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("read the answer of %s: %w", path, err)
	}
	return nil
}

// asActionError classifies an error of call. changed tells whether the request
// would have changed something.
func asActionError(err error, what string, changed bool) error {
	var r *refusal
	switch {
	case err == nil:
		return nil
	case errors.As(err, &r) && (r.Status == http.StatusUnauthorized || r.Status == http.StatusForbidden):
		return &engine.ActionError{Code: engine.CodeAuth, Detail: what + ": the node refuses the agent's login", Err: err}
	case errors.As(err, &r):
		return &engine.ActionError{Code: engine.CodeRefused, Detail: what + ": " + r.Error(), Fix: r.Fix, Err: err}
	case errors.Is(err, errNotSent):
		return &engine.ActionError{Code: engine.CodeUnreachable, Detail: what + ": no connection to the node", Err: err}
	case changed:
		return &engine.ActionError{Code: engine.CodeUnknown, Detail: what + ": no answer, the outcome is unknown", Err: err}
	}
	return &engine.ActionError{Code: engine.CodeUnreachable, Detail: what + ": no answer", Err: err}
}

func bad(format string, args ...any) error {
	return &engine.ActionError{Code: engine.CodeBadAction, Detail: fmt.Sprintf(format, args...)}
}
