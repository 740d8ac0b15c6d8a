package redis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"strconv"
	"strings"
	"time"

	"baton/control/engine"
)

const (
	// pollInterval of WaitOffset: the candidate's own offset, because replicas
	// acknowledge to the primary only once a second.
	pollInterval = time.Millisecond
	// maxPause bounds one pause; a longer stall would be an outage.
	maxPause = 60 * time.Second
	// keepaliveBytes is the size of the PING a primary writes into its
	// replication stream; at one a second a stall of the budget holds few.
	keepaliveBytes = uint64(len("*1\r\n$4\r\nPING\r\n"))
	maxKeepalives  = 3
	// verifyKeyTTL removes the key of ProbeWrite by itself.
	verifyKeyTTL = time.Minute
)

type actionFunc func(context.Context, *node, engine.Action) (engine.Result, error)

var actions = map[string]actionFunc{
	engine.PauseWrites:   pauseWrites,
	engine.UnpauseWrites: unpauseWrites,
	engine.ReadOffset:    readOffset,
	engine.WaitOffset:    waitOffset,
	engine.Demote:        follow,
	engine.Promote:       promote,
	engine.Repoint:       follow,
	engine.KickClients:   kickClients,
	engine.Persist:       persist,
	engine.VerifyRole:    verifyRole,
	engine.ProbeWrite:    probeWrite,
	engine.ProbeRead:     probeRead,
	engine.CheckAuth:     checkAuth,
	engine.Backup:        backup,
	engine.SaveState:     saveState,
	engine.KeepData:      keepData,
	engine.Salvage:       salvage,

	engine.Configure:      configure,
	engine.ReadParameters: readParameters,
	engine.SetUser:        setUser,
	engine.DropUser:       dropUser,
	engine.Discover:       discover,
	engine.Reconnect:      reconnect,
	engine.ReadSync:       readSync,
}

// Do performs one action; see package engine for each action's arguments.
func (d *Driver) Do(ctx context.Context, in engine.Instance, a engine.Action) (engine.Result, error) {
	n, err := d.node(in)
	if err != nil {
		return engine.Result{}, err
	}
	f := actions[a.Name]
	if f == nil {
		return engine.Result{}, bad("redis has no action %q", a.Name)
	}
	if err := ctx.Err(); err != nil {
		return engine.Result{}, &engine.ActionError{Code: engine.CodeTimeout, Detail: "no time was left to begin", Err: err}
	}
	return f(ctx, n, a)
}

// Done tells whether the action's goal holds already.
func (d *Driver) Done(ctx context.Context, in engine.Instance, a engine.Action) (bool, error) {
	n, err := d.node(in)
	if err != nil {
		return false, err
	}
	if actions[a.Name] == nil {
		return false, bad("redis has no action %q", a.Name)
	}
	switch a.Name {
	case engine.Promote, engine.Demote, engine.Repoint, engine.VerifyRole, engine.WaitOffset:
	default:
		return false, nil
	}
	m, err := n.replication(ctx)
	if err != nil {
		return false, err
	}
	switch a.Name {
	case engine.Promote:
		return m.isPrimary(), nil
	case engine.Demote, engine.Repoint:
		host, port, err := address(a)
		return err == nil && follows(m, host, port), err
	case engine.WaitOffset:
		offset, err := number(a, "offset")
		return err == nil && m["master_replid"] == a.Arg("replid") && onlyKeepalives(uint64(offset), m.offset()), err
	}
	wrong, err := mismatch(m, a)
	return err == nil && wrong == "", err
}

func (n *node) replication(ctx context.Context) (info, error) {
	text, err := n.client.Info(ctx, "replication", "stats").Result()
	if isReply(err) {
		// Before 7.0 INFO takes one section.
		text, err = n.client.Info(ctx).Result()
	}
	if err != nil {
		return nil, asActionError(err, "read the role", false)
	}
	return parseInfo(text), nil
}

func pauseWrites(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	ms, err := number(a, "ms")
	if err != nil {
		return engine.Result{}, err
	}
	if ms < 1 || time.Duration(ms)*time.Millisecond > maxPause {
		return engine.Result{}, bad("a pause lasts from 1 to %d ms, not %d", maxPause.Milliseconds(), ms)
	}
	until := time.Now().Add(time.Duration(ms) * time.Millisecond)
	if err := n.client.Do(ctx, "CLIENT", "PAUSE", ms, "WRITE").Err(); err != nil {
		return engine.Result{}, asActionError(err, "pause writes", true)
	}
	out := values("untilUnixMs", until.UnixMilli())
	if a.Arg("read") != "true" {
		return out, nil
	}
	at, err := readOffset(ctx, n, a)
	if err != nil {
		return engine.Result{}, err
	}
	maps.Copy(out.Values, at.Values)
	return out, nil
}

func unpauseWrites(ctx context.Context, n *node, _ engine.Action) (engine.Result, error) {
	if err := n.client.Do(ctx, "CLIENT", "UNPAUSE").Err(); err != nil {
		return engine.Result{}, asActionError(err, "end the pause of writes", true)
	}
	return engine.Result{}, nil
}

func readOffset(ctx context.Context, n *node, _ engine.Action) (engine.Result, error) {
	first, err := n.replication(ctx)
	if err != nil {
		return engine.Result{}, err
	}
	second, err := n.replication(ctx)
	if err != nil {
		return engine.Result{}, err
	}
	role := engine.RoleReplica
	if second.isPrimary() {
		role = engine.RolePrimary
	}
	return values("offset", second.offset(), "offset2", first.offset(),
		"stable", onlyKeepalives(first.offset(), second.offset()) && first["master_replid"] == second["master_replid"],
		"replid", second["master_replid"], "role", role), nil
}

// waitOffset polls until the applied offset equals the wanted one. An offset
// beyond it means that someone wrote after the primary was read: also an error.
//
// The server's own keepalive to its replicas is part of the stream and not held
// by a pause; up to maxKeepalives of them beyond the wanted offset are no write.
func waitOffset(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	want, err := number(a, "offset")
	if err != nil {
		return engine.Result{}, err
	}
	replid := a.Arg("replid")
	if replid == "" {
		return engine.Result{}, bad("wait-offset needs replid")
	}
	limit, err := number(a, "deadlineMs")
	if err != nil {
		return engine.Result{}, err
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, time.Duration(limit)*time.Millisecond)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	var last uint64
	answered := false
	for {
		text, err := n.client.Info(ctx, "replication").Result()
		// A server that is slow to answer may be asked again until the time is
		// over; one that is gone need not be waited for.
		if err != nil && ctx.Err() == nil && !isTimeout(err) {
			return engine.Result{}, asActionError(err, "read the candidate's offset", false)
		}
		if err == nil {
			m := parseInfo(text)
			answered, last = true, m.offset()
			if m["master_replid"] != replid {
				return engine.Result{}, &engine.ActionError{Code: engine.CodeHistory,
					Detail: fmt.Sprintf("the candidate is in history %s, the primary in %s", m["master_replid"], replid),
					Fix:    "resynchronize the candidate first"}
			}
			if onlyKeepalives(uint64(want), last) {
				return values("offset", last, "waitedMs", milliseconds(time.Since(start))), nil
			}
			if last > uint64(want) {
				// The candidate has all of it, but the pause did not hold.
				return engine.Result{}, &engine.ActionError{Code: engine.CodeHistory,
					Detail: fmt.Sprintf("the candidate stands at %d, beyond the primary's %d: something wrote during the pause", last, want)}
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			detail := fmt.Sprintf("the candidate stands at %d, %d bytes short, after %d ms", last, uint64(want)-last, time.Since(start).Milliseconds())
			if !answered {
				detail = fmt.Sprintf("the candidate did not say where it stands within %d ms", time.Since(start).Milliseconds())
			}
			return engine.Result{}, &engine.ActionError{Code: engine.CodeTimeout, Detail: detail,
				Fix: "look at the candidate's load and its link to the primary", Err: ctx.Err()}
		}
	}
}

// onlyKeepalives tells whether the stream grew from a to b by nothing but
// keepalives.
func onlyKeepalives(a, b uint64) bool {
	return b >= a && b-a <= maxKeepalives*keepaliveBytes && (b-a)%keepaliveBytes == 0
}

// follow makes the instance a replica of addr: Demote and Repoint.
func follow(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	host, port, err := address(a)
	if err != nil {
		return engine.Result{}, err
	}
	if net.JoinHostPort(host, port) == n.in.Address() {
		return engine.Result{}, bad("%s cannot follow itself", n.in.Node)
	}
	m, err := n.replication(ctx)
	if err != nil {
		return engine.Result{}, err
	}
	if a.Name == engine.Repoint && m.isPrimary() {
		return engine.Result{}, &engine.ActionError{Code: engine.CodeRefused,
			Detail: n.in.Node + " is a primary; re-pointing is for replicas", Fix: "demote it instead"}
	}
	if err := stillAt(m, a); err != nil {
		return engine.Result{}, err
	}
	done := follows(m, host, port)
	if !done {
		if err := n.client.Do(ctx, "REPLICAOF", host, port).Err(); err != nil {
			return engine.Result{}, asActionError(err, "follow "+net.JoinHostPort(host, port), true)
		}
		if m, err = n.replication(ctx); err != nil {
			return engine.Result{}, asUnknown(err)
		}
		if !follows(m, host, port) {
			return engine.Result{}, &engine.ActionError{Code: engine.CodeFailed,
				Detail: fmt.Sprintf("the server accepted the order to follow %s but follows %q", net.JoinHostPort(host, port), m.replicaOf())}
		}
	}
	return values("replicaOf", m.replicaOf(), "offset", m.offset(), engine.ValueAlreadyDone, done), nil
}

// stillAt refuses when a primary is not where it was read: it was restarted or
// took writes since, and following another would throw those away.
func stillAt(m info, a engine.Action) error {
	replid := a.Arg("ifReplid")
	if replid == "" || !m.isPrimary() {
		return nil
	}
	was, err := number(a, "ifOffset")
	if err != nil {
		return err
	}
	if m["master_replid"] == replid && onlyKeepalives(uint64(was), m.offset()) {
		return nil
	}
	return &engine.ActionError{Code: engine.CodeHistory,
		Detail: fmt.Sprintf("the server is at %d of history %s, not at %d of %s any more", m.offset(), m["master_replid"], was, replid),
		Fix:    "it was restarted or took writes; compare positions again"}
}

// stillHolds refuses a candidate that is not in the history it was chosen for,
// or not as far: it was started again, and may have come back with less.
func stillHolds(m info, a engine.Action) error {
	history := a.Arg("history")
	if history == "" {
		return nil
	}
	least, err := number(a, "offset")
	if err != nil {
		return err
	}
	if m["master_replid"] != history && m["master_replid2"] != history {
		return &engine.ActionError{Code: engine.CodeHistory,
			Detail: fmt.Sprintf("the server is in history %s, not in %s any more", m["master_replid"], history),
			Fix:    "it was started again and may lack what it held; another replica that holds everything can take over"}
	}
	if m.offset() < uint64(least) {
		return &engine.ActionError{Code: engine.CodeHistory,
			Detail: fmt.Sprintf("the server stands at %d of history %s, before %d, where it was when it was chosen", m.offset(), history, least),
			Fix:    "it was started again and lacks what it held; another replica that holds everything can take over"}
	}
	return nil
}

func promote(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	m, err := n.replication(ctx)
	if err != nil {
		return engine.Result{}, err
	}
	if err := stillHolds(m, a); err != nil {
		return engine.Result{}, err
	}
	done := m.isPrimary()
	if !done {
		if err := n.client.Do(ctx, "REPLICAOF", "NO", "ONE").Err(); err != nil {
			return engine.Result{}, asActionError(err, "become primary", true)
		}
		if m, err = n.replication(ctx); err != nil {
			return engine.Result{}, asUnknown(err)
		}
		if !m.isPrimary() {
			return engine.Result{}, &engine.ActionError{Code: engine.CodeFailed, Detail: "the server accepted the order to become primary but is a " + m["role"]}
		}
	}
	return values("role", engine.RolePrimary, "replid", m["master_replid"], "previousReplid", m["master_replid2"],
		"offset", m.offset(), "syncFull", m["sync_full"], engine.ValueAlreadyDone, done), nil
}

// kickClients closes ordinary clients one by one, sparing our own connections:
// closing by type would close the agent's other connections and the probe's.
func kickClients(ctx context.Context, n *node, _ engine.Action) (engine.Result, error) {
	text, err := n.client.Do(ctx, "CLIENT", "LIST", "TYPE", "normal").Text()
	if err != nil {
		return engine.Result{}, asActionError(err, "list clients", false)
	}
	pipe := n.client.Pipeline()
	kicked := 0
	for line := range strings.Lines(text) {
		c := clientFields(line)
		if c["id"] == "" || strings.HasPrefix(c["name"], "baton-") {
			continue
		}
		pipe.Do(ctx, "CLIENT", "KILL", "ID", c["id"])
		kicked++
	}
	if kicked > 0 {
		if _, err := pipe.Exec(ctx); err != nil && !isReply(err) {
			return engine.Result{}, asActionError(err, "close clients' connections", true)
		}
	}
	return values("kicked", kicked), nil
}

func persist(ctx context.Context, n *node, _ engine.Action) (engine.Result, error) {
	if err := n.client.ConfigRewrite(ctx).Err(); err != nil {
		ae := asActionError(err, "write the role to the configuration file", true)
		var e *engine.ActionError
		if errors.As(ae, &e) && e.Code == engine.CodeFailed {
			e.Fix = "start the server with a configuration file it may write; until then a restart reverts its role"
		}
		return engine.Result{}, ae
	}
	return values("file", parseInfoField(ctx, n, "config_file")), nil
}

func parseInfoField(ctx context.Context, n *node, field string) string {
	text, err := n.client.Info(ctx, "server").Result()
	if err != nil {
		return ""
	}
	return parseInfo(text)[field]
}

func verifyRole(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	start := time.Now()
	wait, err := optionalNumber(a, "waitMs")
	if err != nil {
		return engine.Result{}, err
	}
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		m, err := n.replication(ctx)
		if err != nil {
			return engine.Result{}, err
		}
		wrong, err := mismatch(m, a)
		if err != nil {
			return engine.Result{}, err
		}
		if wrong == "" {
			role, link := engine.RolePrimary, "up"
			if !m.isPrimary() {
				role, link = engine.RoleReplica, m["master_link_status"]
			}
			return values("role", role, "link", link, "syncFull", m["sync_full"], "syncPartialOk", m["sync_partial_ok"],
				"offset", m.offset(), "replid", m["master_replid"], "connectedReplicas", m["connected_slaves"]), nil
		}
		if time.Since(start) >= time.Duration(wait)*time.Millisecond {
			return engine.Result{}, &engine.ActionError{Code: engine.CodeRefused, Detail: wrong}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return engine.Result{}, &engine.ActionError{Code: engine.CodeRefused, Detail: wrong, Err: ctx.Err()}
		}
	}
}

// mismatch says in one sentence what differs from the wanted role, "" nothing.
func mismatch(m info, a engine.Action) (string, error) {
	switch engine.Role(a.Arg("role")) {
	case engine.RolePrimary:
		if !m.isPrimary() {
			return "the instance is a replica of " + m.replicaOf() + ", not a primary", nil
		}
		if want := a.Arg("replicas"); want != "" && m["connected_slaves"] != want {
			return "the primary serves " + m["connected_slaves"] + " replicas, not " + want, nil
		}
	case engine.RoleReplica:
		if m.isPrimary() {
			return "the instance is a primary, not a replica", nil
		}
		if a.Arg("addr") != "" {
			host, port, err := address(a)
			if err != nil {
				return "", err
			}
			if !follows(m, host, port) {
				return "the replica follows " + m.replicaOf() + ", not " + a.Arg("addr"), nil
			}
			if m["master_link_status"] != "up" {
				return "the replica's link to " + a.Arg("addr") + " is not up yet", nil
			}
		}
	default:
		return "", bad("verify-role needs role primary or replica, not %q", a.Arg("role"))
	}
	if want := a.Arg("syncFull"); want != "" && m["sync_full"] != want {
		return "full synchronizations went from " + want + " to " + m["sync_full"] + ": a replica could not continue from its offset", nil
	}
	return "", nil
}

func verifyKey(n *node) string { return "__baton:verify:" + n.in.Cluster }

func probeWrite(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	if a.Arg("seq") == "" {
		return engine.Result{}, bad("probe-write needs seq")
	}
	if err := n.client.Set(ctx, verifyKey(n), a.Arg("seq"), verifyKeyTTL).Err(); err != nil {
		return engine.Result{}, asActionError(err, "write the verification key", true)
	}
	got, err := n.client.Get(ctx, verifyKey(n)).Result()
	if err != nil {
		return engine.Result{}, asActionError(err, "read the verification key", false)
	}
	if got != a.Arg("seq") {
		return engine.Result{}, &engine.ActionError{Code: engine.CodeFailed, Detail: "the verification key reads back differently"}
	}
	return values("seq", got), nil
}

func probeRead(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	wait, err := optionalNumber(a, "waitMs")
	if err != nil {
		return engine.Result{}, err
	}
	start := time.Now()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		got, err := n.client.Get(ctx, verifyKey(n)).Result()
		if err == nil && got == a.Arg("seq") {
			return values("seq", got), nil
		}
		if err != nil && !hasPrefix(err, "redis: nil") && !isReply(err) {
			return engine.Result{}, asActionError(err, "read the verification key", false)
		}
		if time.Since(start) >= time.Duration(wait)*time.Millisecond {
			return engine.Result{}, &engine.ActionError{Code: engine.CodeRefused, Detail: "the verification key has not arrived on " + n.in.Node}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return engine.Result{}, &engine.ActionError{Code: engine.CodeTimeout, Detail: "the verification key has not arrived on " + n.in.Node, Err: ctx.Err()}
		}
	}
}

func checkAuth(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	host, port, err := address(a)
	if err != nil {
		return engine.Result{}, err
	}
	addr := net.JoinHostPort(host, port)
	r := n.login(ctx, addr, true)
	n.mu.Lock()
	if n.reach == nil {
		n.reach = map[string]engine.Reach{}
	}
	n.reach[addr] = r
	n.mu.Unlock()
	if !r.OK {
		ae := &engine.ActionError{Code: r.Code, Detail: r.Err}
		switch {
		case r.Code == engine.CodeAuth:
			ae.Fix = "set the same masteruser, masterauth and users on all members"
		case r.Code == engine.CodeUnreachable && takesConnections(addr):
			ae.Code, ae.Detail = engine.CodeTimeout, addr+" takes connections from this host and does not answer"
		}
		return engine.Result{}, ae
	}
	return values("rttMs", strconv.FormatFloat(r.RTTMs, 'f', 3, 64)), nil
}

// takesConnections tells whether anything listens at addr: the machine is on.
func takesConnections(addr string) bool {
	c, err := net.DialTimeout("tcp", addr, dialTimeout)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

func backup(ctx context.Context, n *node, _ engine.Action) (engine.Result, error) {
	err := n.client.Do(ctx, "BGSAVE", "SCHEDULE").Err()
	if isReply(err) && strings.Contains(err.Error(), "already in progress") {
		return values("started", true, engine.ValueAlreadyDone, true), nil
	}
	if err != nil {
		return engine.Result{}, asActionError(err, "start a background save", true)
	}
	return values("started", true), nil
}

// ---- arguments and values

func bad(format string, args ...any) error {
	return &engine.ActionError{Code: engine.CodeBadAction, Detail: fmt.Sprintf(format, args...)}
}

func number(a engine.Action, name string) (int64, error) {
	v, err := strconv.ParseInt(a.Arg(name), 10, 64)
	if err != nil || v < 0 {
		return 0, bad("%s needs %s as a whole number, not %q", a.Name, name, a.Arg(name))
	}
	return v, nil
}

func optionalNumber(a engine.Action, name string) (int64, error) {
	if a.Arg(name) == "" {
		return 0, nil
	}
	return number(a, name)
}

func address(a engine.Action) (host, port string, err error) {
	host, port, err = net.SplitHostPort(a.Arg("addr"))
	p, perr := strconv.Atoi(port)
	if err != nil || host == "" || perr != nil || p < 1 || p > 65535 || strings.ContainsAny(host, " \t\r\n\x00\"'") {
		return "", "", bad("%s needs addr as host:port, not %q", a.Name, a.Arg("addr"))
	}
	return host, port, nil
}

func follows(m info, host, port string) bool {
	return !m.isPrimary() && m["master_host"] == host && m["master_port"] == port
}

func values(pairs ...any) engine.Result {
	r := engine.Result{Values: make(map[string]string, len(pairs)/2)}
	for i := 0; i+1 < len(pairs); i += 2 {
		r.Values[pairs[i].(string)] = fmt.Sprint(pairs[i+1])
	}
	return r
}

func milliseconds(d time.Duration) string { return strconv.FormatFloat(float64(d)/1e6, 'f', 3, 64) }

// asUnknown marks a failed read-back after a change.
func asUnknown(err error) error {
	return &engine.ActionError{Code: engine.CodeUnknown, Detail: "the order was given, its outcome could not be read back", Err: err}
}
