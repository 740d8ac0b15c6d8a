// Package redis drives Redis 6.2 and later (and compatible servers) in plain
// replication: one primary, replicas that copy asynchronously.
//
// The planned promotion it serves (actions of package engine, in this order):
// pause writes on the old primary, read its offset twice, wait for the
// candidate's own offset to equal it, demote the old primary, promote the
// candidate, point the others at it, unpause, close clients' connections on
// the old primary, write the roles to the configuration files, verify. Only
// partial synchronizations follow, because the old primary's offset and the
// candidate's are equal when the histories part.
//
// Offsets are bytes of the replication stream and comparable only within one
// replication id (Observation.History).
//
// Instance.Params: none are needed. Instance.Auth logs in the agent (user
// "default" when empty); replication uses the server's own masteruser and
// masterauth, which CheckAuth proves by a real login.
package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"baton/control/engine"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	// dialTimeout bounds connecting to an instance: on a LAN a server that
	// does not answer in this time is down for a promotion's purposes.
	dialTimeout = 500 * time.Millisecond
	// observeTimeout bounds one observation, below the agent's report interval.
	observeTimeout = 400 * time.Millisecond
	// warmConns are kept open per instance so that no action waits for a
	// handshake while writes stand still.
	warmConns = 3
	poolConns = 8
	// clientName marks our own connections; KickClients spares them.
	clientName      = "baton-agent"
	probeClientName = "baton-probe"
)

// Driver implements engine.Driver.
type Driver struct {
	mu    sync.Mutex
	nodes map[string]*node // by instanceID
}

// node is what the driver keeps of one instance between calls.
type node struct {
	in     engine.Instance // as first given; its peers are below
	client *goredis.Client

	mu           sync.Mutex    // guards the rest
	peers        []engine.Peer // as last given
	primary      *goredis.Client
	primaryAddr  string
	track        engine.Track
	writes       engine.Counter
	writeCmds    map[string]bool // commands that write, nil before asked
	settings     slowFacts
	reach        map[string]engine.Reach
	reachAt      time.Time
	reachRunning bool
	multi        map[string]time.Time // client id -> first seen inside MULTI
}

var _ engine.Driver = (*Driver)(nil)

func init() {
	// The library would write its own lines to stderr.
	goredis.SetLogger(silent{})
}

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// New returns a driver without connections.
func New() *Driver { return &Driver{nodes: map[string]*node{}} }

// Engine returns "redis".
func (d *Driver) Engine() string { return engine.Redis }

// Forget drops the connections kept for the instance.
func (d *Driver) Forget(in engine.Instance) {
	d.mu.Lock()
	n := d.nodes[instanceID(in)]
	delete(d.nodes, instanceID(in))
	d.mu.Unlock()
	if n != nil {
		n.close()
	}
}

// Close drops all connections.
func (d *Driver) Close() error {
	d.mu.Lock()
	nodes := d.nodes
	d.nodes = map[string]*node{}
	d.mu.Unlock()
	for _, n := range nodes {
		n.close()
	}
	return nil
}

// instanceID changes when any part of the connection does.
func instanceID(in engine.Instance) string {
	return strings.Join([]string{in.Cluster, in.Node, in.Address(), in.Auth.User, in.Auth.Password, in.Auth.CAFile}, "\x00")
}

func (d *Driver) node(in engine.Instance) (*node, error) {
	if in.Engine != engine.Redis {
		return nil, &engine.ActionError{Code: engine.CodeBadAction, Detail: fmt.Sprintf("instance %s runs %s, not redis", in.Key(), in.Engine)}
	}
	if in.Host == "" || in.Port <= 0 || in.Port > 65535 {
		return nil, &engine.ActionError{Code: engine.CodeBadAction, Detail: fmt.Sprintf("instance %s has no usable address", in.Key())}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	id := instanceID(in)
	n := d.nodes[id]
	if n == nil {
		n = &node{in: in, client: newClient(in.Address(), in.Auth, clientName, warmConns), multi: map[string]time.Time{}}
		d.nodes[id] = n
	}
	n.mu.Lock()
	n.peers = in.Peers
	n.mu.Unlock()
	return n, nil
}

// newClient opens nothing yet. It never repeats a command by itself: whether
// a command may be repeated is the caller's knowledge.
func newClient(addr string, auth engine.Auth, name string, warm int) *goredis.Client {
	return goredis.NewClient(&goredis.Options{
		Addr: addr, Username: auth.User, Password: auth.Password, ClientName: name,
		Protocol: 2, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		MaxRetries:               -1, DialerRetries: 1,
		DialTimeout: dialTimeout, ReadTimeout: 3 * time.Second, WriteTimeout: time.Second, ContextTimeoutEnabled: true,
		PoolSize: poolConns, MinIdleConns: warm, PoolTimeout: time.Second,
	})
}

func (n *node) close() {
	n.client.Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.primary != nil {
		n.primary.Close()
	}
}

// primaryClient is a connection to the primary this replica follows, with the
// instance's own login.
func (n *node) primaryClient(addr string) *goredis.Client {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.primary == nil || n.primaryAddr != addr {
		if n.primary != nil {
			n.primary.Close()
		}
		n.primary, n.primaryAddr = newClient(addr, n.in.Auth, clientName, 1), addr
	}
	return n.primary
}

// asActionError classifies an error of the library. changed tells whether the
// command would have changed something: then no answer means unknown outcome.
func asActionError(err error, what string, changed bool) error {
	if err == nil {
		return nil
	}
	ae := &engine.ActionError{Code: engine.CodeFailed, Detail: what, Err: err}
	var op *net.OpError
	switch {
	case isAuth(err):
		ae.Code, ae.Detail = engine.CodeAuth, what+": login or permission refused"
		ae.Fix = "check the user and password Baton uses for this instance, and the user's ACL"
	case errors.As(err, &op) && op.Op == "dial", errors.Is(err, goredis.ErrPoolTimeout):
		ae.Code, ae.Detail = engine.CodeUnreachable, what+": no connection to the server"
	case isReply(err):
		ae.Detail = what + ": the server answered " + replyText(err)
	case changed:
		ae.Code, ae.Detail = engine.CodeUnknown, what+": no answer, the outcome is unknown"
	default:
		ae.Code, ae.Detail = engine.CodeUnreachable, what+": no answer"
	}
	ae.Err = err
	return ae
}

// isTimeout tells that the server may be there and was slow to answer.
func isTimeout(err error) bool {
	var ne net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &ne) && ne.Timeout()
}

func isReply(err error) bool {
	var re goredis.Error
	return errors.As(err, &re) && !errors.Is(err, goredis.Nil)
}

// replyText is the first line of an error reply, bounded.
func replyText(err error) string {
	s, _, _ := strings.Cut(err.Error(), "\n")
	if len(s) > 200 {
		s = s[:200]
	}
	return s
}

func isAuth(err error) bool {
	if !isReply(err) {
		return false
	}
	for _, p := range []string{"NOAUTH", "WRONGPASS", "NOPERM", "ERR AUTH", "ERR invalid password"} {
		if strings.Contains(err.Error(), p) {
			return true
		}
	}
	return false
}

func hasPrefix(err error, prefix string) bool {
	return err != nil && strings.HasPrefix(err.Error(), prefix)
}
