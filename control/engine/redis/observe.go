package redis

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"baton/control/engine"

	goredis "github.com/redis/go-redis/v9"
	"golang.org/x/sys/unix"
)

const (
	// slowInterval: configuration and clients are read this often, not at
	// every look; they change when people change them.
	slowInterval = 3 * time.Second
	// reachInterval: logins to the other members are proven this often.
	reachInterval = 5 * time.Second
	// maxClientsListed: above it the list of clients is not read (it costs the
	// server about a microsecond per client).
	maxClientsListed = 2000
)

// settingNames are compared between members by preflight (config.match).
var settingNames = []string{
	"maxmemory", "maxmemory-policy", "appendonly", "appendfsync", "save", "databases",
	"min-replicas-to-write", "min-replicas-max-lag", "repl-backlog-size", "repl-diskless-load",
	"notify-keyspace-events", "maxclients", "masteruser", "replica-priority", "replica-announced",
}

// slowFacts are kept between looks.
type slowFacts struct {
	at         time.Time
	settings   map[string]string
	sentinel   *string
	oldestTx   *float64
	persistOK  *bool
	persistWhy string
}

// Observe looks at the instance once.
func (d *Driver) Observe(ctx context.Context, in engine.Instance) (engine.Observation, error) {
	n, err := d.node(in)
	if err != nil {
		return engine.Observation{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	o := engine.Observation{
		Cluster: in.Cluster, Node: in.Node, Engine: engine.Redis, Address: in.Address(),
		Role: engine.RoleUnknown, LagBytes: -1, LagSeconds: -1, LinkSilenceSeconds: -1, WritesPerSecond: -1,
	}
	n.observe(ctx, &o)
	o.At = time.Now()
	return o, nil
}

func (n *node) observe(ctx context.Context, o *engine.Observation) {
	start := time.Now()
	if err := n.client.Ping(ctx).Err(); err != nil && !hasPrefix(err, "LOADING") && !hasPrefix(err, "MASTERDOWN") {
		o.Err = downText(err)
		return
	}
	ms := float64(time.Since(start)) / 1e6
	o.Facts.QueryMs = &ms

	text, err := n.client.Info(ctx, "everything").Result()
	if err != nil {
		o.Err = downText(err)
		return
	}
	m := parseInfo(text)
	o.Up = true
	o.EngineVersion = m["redis_version"]
	o.State = m["role"]
	o.History, o.Position = m["master_replid"], m.offset()
	if prev := m["master_replid2"]; strings.Trim(prev, "0") != "" {
		o.HistoryPrevious = prev
		if end := m.number("second_repl_offset"); end != nil && *end > 0 {
			o.HistoryPreviousEnd = uint64(*end) - 1 // the field names the first offset that differs
		}
	}
	o.Links = m.links()
	n.facts(m, &o.Facts)
	n.slow(ctx, m, &o.Facts)
	o.Facts.Reach = n.reachable()
	if p, err := strconv.Atoi(m["slave_priority"]); err == nil {
		o.Priority = p
	}

	if m.isPrimary() {
		o.Role, o.LinkUp, o.LagBytes, o.LagSeconds, o.LinkSilenceSeconds = engine.RolePrimary, true, 0, 0, 0
		o.WritesPerSecond = n.writeRate(ctx, m)
	} else {
		n.replica(ctx, m, o)
	}
	o.Details = map[string]string{
		"runId": m["run_id"], "configFile": m["config_file"], "uptimeSeconds": m["uptime_in_seconds"],
		"connectedReplicas": m["connected_slaves"], "syncFull": m["sync_full"], "syncPartialOk": m["sync_partial_ok"],
		"failoverState": m["master_failover_state"], "keys": m["db0"], "processId": m["process_id"], "aofSize": m["aof_current_size"],
	}
	if m["aof_rewrite_in_progress"] == "1" || m["aof_rewrite_scheduled"] == "1" {
		o.Details["aofRewrite"] = "1"
	}
	if *boolOr(o.Facts.Loading) {
		o.Role, o.Err = engine.RoleUnknown, "the instance is loading its data set"
	}
}

// replica fills what only a replica knows. The primary's position is read after
// the replica's own, so lag is never shown smaller than it is.
func (n *node) replica(ctx context.Context, m info, o *engine.Observation) {
	o.Role = engine.RoleReplica
	o.ReplicaOf = m.replicaOf()
	o.LinkUp = m["master_link_status"] == "up"
	if v := m.number("master_last_io_seconds_ago"); v != nil && *v >= 0 {
		o.LinkSilenceSeconds = float64(*v)
	}
	if v := m.number("master_link_down_since_seconds"); v != nil && *v >= 0 {
		o.LinkSilenceSeconds = float64(*v)
	}
	var from info
	if o.ReplicaOf != "" {
		text, err := n.primaryClient(o.ReplicaOf).Info(ctx, "replication").Result()
		if err == nil {
			from = parseInfo(text)
		}
	}
	now := time.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	if from == nil || from["master_replid"] != o.History {
		o.LagSeconds = seconds(n.track.Age(now, o.Position))
		return
	}
	o.PrimaryPosition = from.offset()
	n.track.Add(now, o.PrimaryPosition)
	o.LagBytes = max(int64(o.PrimaryPosition)-int64(o.Position), 0)
	o.LagSeconds = seconds(n.track.Age(now, o.Position))
	if o.LagBytes > 0 && o.LagSeconds < 0 {
		o.LagSeconds = 0
	}
}

func (n *node) facts(m info, f *engine.Facts) {
	f.Loading = m.flag("loading")
	f.MemoryUsedBytes, f.MemoryLimitBytes = m.number("used_memory"), m.number("maxmemory")
	f.Connections, f.ConnectionsMax = m.number("connected_clients"), m.number("maxclients")
	f.ReplicasAttached, f.SyncFull = m.number("connected_slaves"), m.number("sync_full")
	f.BacklogBytes = m.number("repl_backlog_size")
	if f.Connections != nil && f.ConnectionsMax != nil {
		free := max(*f.ConnectionsMax-*f.Connections, 0)
		f.SendersFree = &free
	}
	if s, ok := m["master_failover_state"]; ok {
		running := s != "no-failover"
		f.FailoverRunning = &running
	}
	if b, a := m.flag("rdb_bgsave_in_progress"), m.flag("aof_rewrite_in_progress"); b != nil && a != nil {
		saving := *b || *a
		f.DataSaving = &saving
	}
}

// slow reads configuration and clients, at most every slowInterval.
func (n *node) slow(ctx context.Context, m info, f *engine.Facts) {
	n.mu.Lock()
	s := n.settings
	n.mu.Unlock()
	if time.Since(s.at) > slowInterval {
		s = n.readSlow(ctx, m)
		n.mu.Lock()
		n.settings = s
		n.mu.Unlock()
	}
	f.Settings, f.ForeignManager, f.OldestTransactionSeconds = s.settings, s.sentinel, s.oldestTx
	f.PersistOK, f.PersistWhy = s.persistOK, s.persistWhy
	if v, err := strconv.ParseInt(s.settings["min-replicas-to-write"], 10, 64); err == nil {
		f.SyncNeeded = &v
	}
}

func (n *node) readSlow(ctx context.Context, m info) slowFacts {
	s := slowFacts{at: time.Now(), settings: map[string]string{}}
	pipe := n.client.Pipeline()
	gets := make([]*goredis.MapStringStringCmd, len(settingNames))
	for i, name := range settingNames {
		gets[i] = pipe.ConfigGet(ctx, name)
	}
	acl := pipe.Do(ctx, "ACL", "LIST")
	subs := pipe.PubSubNumSub(ctx, "__sentinel__:hello")
	_, _ = pipe.Exec(ctx) // each command's own error counts
	for i, name := range settingNames {
		if v, err := gets[i].Result(); err == nil {
			if x, ok := v[name]; ok {
				s.settings[name] = x
			}
		}
	}
	if lines, err := acl.StringSlice(); err == nil {
		// A digest: equal on members with the same users, tells nothing else.
		slices.Sort(lines)
		sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
		s.settings["users"] = hex.EncodeToString(sum[:6])
	}
	if v, err := subs.Result(); err == nil {
		manager := ""
		if v["__sentinel__:hello"] > 0 {
			manager = "sentinel"
		}
		s.sentinel = &manager
	}
	s.persistOK, s.persistWhy = persistable(m["config_file"])
	s.oldestTx = n.oldestTransaction(ctx, m)
	return s
}

// persistable tells whether CONFIG REWRITE can replace the file. The file is on
// this host; the agent's own permissions stand in for the server's.
func persistable(file string) (*bool, string) {
	no, yes := false, true
	if file == "" {
		return &no, "the server was started without a configuration file; a restart would forget its role"
	}
	if _, err := os.Stat(file); err != nil {
		return nil, "the configuration file " + file + " is not readable on the agent's host"
	}
	for _, p := range []string{file, filepath.Dir(file)} {
		if err := unix.Access(p, unix.W_OK); err != nil {
			return &no, p + " is not writable"
		}
	}
	return &yes, ""
}

// oldestTransaction is the longest any client has been seen inside MULTI, nil
// when the clients cannot be listed.
func (n *node) oldestTransaction(ctx context.Context, m info) *float64 {
	if c := m.number("connected_clients"); c == nil || *c > maxClientsListed {
		return nil
	}
	text, err := n.client.Do(ctx, "CLIENT", "LIST", "TYPE", "normal").Text()
	if err != nil {
		return nil
	}
	now, oldest := time.Now(), 0.0
	n.mu.Lock()
	defer n.mu.Unlock()
	seen := map[string]time.Time{}
	for line := range strings.Lines(text) {
		c := clientFields(line)
		if c["multi"] == "" || c["multi"] == "-1" {
			continue
		}
		first, ok := n.multi[c["id"]]
		if !ok {
			first = now
		}
		seen[c["id"]] = first
		oldest = max(oldest, now.Sub(first).Seconds())
	}
	n.multi = seen
	return &oldest
}

func clientFields(line string) map[string]string {
	out := map[string]string{}
	for f := range strings.FieldsSeq(line) {
		k, v, _ := strings.Cut(f, "=")
		out[k] = v
	}
	return out
}

func (n *node) writeRate(ctx context.Context, m info) float64 {
	n.mu.Lock()
	cmds := n.writeCmds
	n.mu.Unlock()
	if cmds == nil {
		names, err := n.client.Do(ctx, "ACL", "CAT", "write").StringSlice()
		if err != nil {
			return -1
		}
		cmds = map[string]bool{}
		for _, c := range names {
			c, _, _ = strings.Cut(c, "|")
			cmds[c] = true
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.writeCmds = cmds
	return n.writes.Rate(time.Now(), m.writes(cmds))
}

func downText(err error) string {
	switch {
	case isAuth(err):
		return "the server refuses the agent's login"
	case hasPrefix(err, "BUSY"):
		return "the server is busy with a running script"
	case isReply(err):
		return "the server answers " + replyText(err)
	case errors.Is(err, context.DeadlineExceeded):
		return "the server does not answer in " + observeTimeout.String()
	}
	return "no connection to the server"
}

func boolOr(b *bool) *bool {
	if b == nil {
		return new(bool)
	}
	return b
}

func seconds(d time.Duration) float64 {
	if d < 0 {
		return -1
	}
	return d.Seconds()
}
