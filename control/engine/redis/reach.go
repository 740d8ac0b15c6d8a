package redis

import (
	"context"
	"errors"
	"maps"
	"time"

	"baton/control/engine"

	goredis "github.com/redis/go-redis/v9"
)

// reachTimeout bounds one login to a peer.
const reachTimeout = time.Second

// reachable returns the latest proofs and starts new ones in the background
// when they have aged: a look must not wait for a peer that hangs.
func (n *node) reachable() map[string]engine.Reach {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.reachRunning && len(n.peers) > 0 && time.Since(n.reachAt) > reachInterval {
		n.reachRunning = true
		peers := n.peers
		go func() {
			found := map[string]engine.Reach{}
			for _, p := range peers {
				if p.Address() == n.in.Address() {
					continue
				}
				ctx, cancel := context.WithTimeout(context.Background(), reachTimeout)
				found[p.Address()] = n.login(ctx, p.Address(), false)
				cancel()
			}
			n.mu.Lock()
			defer n.mu.Unlock()
			n.reach, n.reachAt, n.reachRunning = found, time.Now(), false
		}()
	}
	return maps.Clone(n.reach)
}

// login connects to addr with the credentials this instance would replicate
// with and asks what a replica asks first. With psync it also proves that the
// user may ask for the replication stream, without starting one.
func (n *node) login(ctx context.Context, addr string, psync bool) engine.Reach {
	r := engine.Reach{At: time.Now()}
	fail := func(code, text string) engine.Reach {
		r.Code, r.Err = code, text
		return r
	}
	own, err := n.client.ConfigGet(ctx, "master*").Result()
	if err != nil {
		return fail(engine.CodeFailed, "the credentials this instance replicates with cannot be read: "+downText(err))
	}
	auth := engine.Auth{User: own["masteruser"], Password: own["masterauth"]}
	c := newClient(addr, auth, "", 0)
	defer c.Close()
	conn := c.Conn()
	defer conn.Close()
	// The first command dials and logs in.
	if err := conn.Ping(ctx).Err(); err != nil && !hasPrefix(err, "LOADING") && !hasPrefix(err, "MASTERDOWN") {
		if isAuth(err) {
			return fail(engine.CodeAuth, addr+" refuses this instance's replication login")
		}
		if isReply(err) {
			return fail(engine.CodeFailed, addr+" answers "+replyText(err))
		}
		return fail(engine.CodeUnreachable, addr+" does not answer from this host")
	}
	if err := conn.Do(ctx, "REPLCONF", "capa", "psync2").Err(); err != nil {
		return fail(authOr(err), addr+" refuses REPLCONF to this instance's replication login")
	}
	if psync {
		// A malformed offset is refused after the permission check and
		// before any synchronization begins.
		err := conn.Do(ctx, "PSYNC", "?", "x").Err()
		if isAuth(err) {
			return fail(engine.CodeAuth, addr+" refuses PSYNC to this instance's replication login")
		}
		if err == nil || !isReply(err) {
			return fail(engine.CodeFailed, addr+" did not answer a replication request as expected")
		}
	}
	start := time.Now()
	if err := conn.Ping(ctx).Err(); err != nil && !isReply(err) {
		return fail(engine.CodeUnreachable, addr+" stopped answering")
	}
	r.OK, r.RTTMs = true, float64(time.Since(start))/1e6
	return r
}

func authOr(err error) string {
	switch {
	case isAuth(err):
		return engine.CodeAuth
	case errors.Is(err, goredis.ErrClosed) || !isReply(err):
		return engine.CodeUnreachable
	}
	return engine.CodeFailed
}
