package redis

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"baton/control/engine"
)

var _ engine.Maker = (*Driver)(nil)

// Names of the files of a server that Baton makes.
const (
	configFile = "redis.conf"
	aclFile    = "users.acl"
)

// Programs are the servers this driver drives.
func (d *Driver) Programs() []string { return []string{"redis-server", "valkey-server"} }

var versionForm = regexp.MustCompile(`^(Redis|Valkey) server v=([0-9]+\.[0-9]+\.[0-9]+)\b`)

// VersionOf reads "Redis server v=7.0.15 ..."; Valkey's versions begin with
// "valkey-".
func (d *Driver) VersionOf(output string) (string, bool) {
	m := versionForm.FindStringSubmatch(output)
	if m == nil {
		return "", false
	}
	if m[1] == "Valkey" {
		return "valkey-" + m[2], true
	}
	return m[2], true
}

// Make returns the configuration and the users' file of a new server.
func (d *Driver) Make(s engine.NewServer, dir string) ([]engine.ServerFile, []string, error) {
	c := Config{Host: s.Host, Port: s.Port, Dir: dir, Password: s.Login.Password, User: s.Login.User, ACLFile: filepath.Join(dir, aclFile),
		MinReplicas: s.SyncReplicas, MaxMemoryBytes: s.MemoryBytes}
	if s.ReplicaOf != "" {
		host, port, err := net.SplitHostPort(s.ReplicaOf)
		n, perr := strconv.Atoi(port)
		if err != nil || perr != nil {
			return nil, nil, fmt.Errorf("primary %q is not host:port", s.ReplicaOf)
		}
		c.ReplicaOf = &engine.Peer{Host: host, Port: n}
	}
	args := []string{configFile}
	for _, name := range slices.Sorted(maps.Keys(s.Parameters)) {
		p, ok := parameter(name)
		if !ok {
			return nil, nil, fmt.Errorf("parameter %q is not one that may be set", name)
		}
		if p.NeedsRestart {
			args = append(args, "--"+name, s.Parameters[name])
			continue
		}
		c.Parameters = append(c.Parameters, [2]string{name, s.Parameters[name]})
	}
	conf, err := c.File()
	if err != nil {
		return nil, nil, err
	}
	// Passwords are in this file only as hashes.
	lines := []string{"user default reset off", "user " + s.Login.User + " reset on #" + Hash(s.Login.Password) + " ~* &* +@all"}
	for _, u := range s.Users {
		rules, err := rulesOf(u.Name, u.Access, u.Hash)
		if err != nil {
			return nil, nil, err
		}
		lines = append(lines, "user "+u.Name+" "+strings.Join(rules, " "))
	}
	return []engine.ServerFile{{Name: configFile, Data: conf}, {Name: aclFile, Data: []byte(strings.Join(lines, "\n") + "\n")}}, args, nil
}

var (
	userForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)
	hashForm = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// rulesOf are the ACL rules of a user, from nothing.
func rulesOf(name, access, hash string) ([]string, error) {
	if !userForm.MatchString(name) || name == "default" || name == engine.LoginUser {
		return nil, fmt.Errorf("user %q: the name is not allowed", name)
	}
	if !hashForm.MatchString(hash) {
		return nil, fmt.Errorf("user %q: the password's hash is not 64 hexadecimal digits", name)
	}
	rules := []string{"reset", "on", "#" + hash, "~*", "&*"}
	switch access {
	case engine.AccessRead:
		return append(rules, "+@read", "+@connection", "+@pubsub", "-publish", "+info", "+role", "-@dangerous", "+info", "+role"), nil
	case engine.AccessReadWrite:
		return append(rules, "+@all", "-@admin", "-@dangerous", "+info", "+role", "+keys", "+sort", "+flushdb"), nil
	case engine.AccessAdmin:
		// Roles, users and files stay in Baton's hands.
		return append(rules, "+@all", "-replicaof", "-slaveof", "-failover", "-shutdown", "-debug", "-acl", "-config|set", "-config|rewrite", "-module", "-psync", "-sync", "-replconf"), nil
	}
	return nil, fmt.Errorf("user %q: access %q is not known", name, access)
}

// ---- actions

func configure(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	var want map[string]string
	if err := json.Unmarshal([]byte(a.Arg("values")), &want); err != nil {
		return engine.Result{}, bad("configure needs values as a JSON object")
	}
	var changed []string
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if strings.ContainsAny(name+want[name], "\x00\r\n") {
			return engine.Result{}, bad("setting %q holds a line break or NUL", name)
		}
		have, err := n.client.ConfigGet(ctx, name).Result()
		if err != nil {
			return engine.Result{}, asActionError(err, "read setting "+name, false)
		}
		if v, ok := have[name]; ok && v == want[name] {
			continue
		}
		if err := n.client.ConfigSet(ctx, name, want[name]).Err(); err != nil {
			return engine.Result{}, asActionError(err, "set "+name, true)
		}
		changed = append(changed, name)
	}
	n.mu.Lock()
	n.settings.at = time.Time{} // look again
	n.mu.Unlock()
	if _, err := persist(ctx, n, a); err != nil {
		return engine.Result{}, err
	}
	return values("changed", strings.Join(changed, ",")), nil
}

func readParameters(ctx context.Context, n *node, _ engine.Action) (engine.Result, error) {
	out := engine.Result{Values: map[string]string{}}
	for _, p := range Parameters {
		v, err := n.client.ConfigGet(ctx, p.Name).Result()
		if err != nil {
			return out, asActionError(err, "read setting "+p.Name, false)
		}
		if x, ok := v[p.Name]; ok {
			out.Values[p.Name] = x
		}
	}
	return out, nil
}

func setUser(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	rules, err := rulesOf(a.Arg("name"), a.Arg("access"), a.Arg("hash"))
	if err != nil {
		return engine.Result{}, bad("%s", err)
	}
	args := []any{"ACL", "SETUSER", a.Arg("name")}
	for _, r := range rules {
		args = append(args, r)
	}
	if err := n.client.Do(ctx, args...).Err(); err != nil {
		return engine.Result{}, asActionError(err, "set user "+a.Arg("name"), true)
	}
	// A former password must not live on in open connections.
	_ = n.client.Do(ctx, "CLIENT", "KILL", "USER", a.Arg("name")).Err()
	return engine.Result{}, saveUsers(ctx, n)
}

func dropUser(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	if !userForm.MatchString(a.Arg("name")) || a.Arg("name") == "default" || a.Arg("name") == engine.LoginUser {
		return engine.Result{}, bad("user %q may not be removed", a.Arg("name"))
	}
	if err := n.client.Do(ctx, "ACL", "DELUSER", a.Arg("name")).Err(); err != nil {
		return engine.Result{}, asActionError(err, "remove user "+a.Arg("name"), true)
	}
	return engine.Result{}, saveUsers(ctx, n)
}

// saveUsers writes the users to their file, or where they are in the
// configuration to that.
func saveUsers(ctx context.Context, n *node) error {
	err := n.client.Do(ctx, "ACL", "SAVE").Err()
	if isReply(err) && strings.Contains(err.Error(), "not configured to use an ACL file") {
		err = n.client.ConfigRewrite(ctx).Err()
	}
	if err != nil {
		return asActionError(err, "write the users to their file", true)
	}
	return nil
}

func discover(ctx context.Context, n *node, _ engine.Action) (engine.Result, error) {
	text, err := n.client.Info(ctx).Result()
	if err != nil {
		return engine.Result{}, asActionError(err, "read INFO", false)
	}
	m := parseInfo(text)
	f := engine.Found{Address: n.in.Address(), Role: engine.RoleReplica, Version: m["redis_version"], ReplicaOf: m.replicaOf(),
		LinkUp: m["master_link_status"] == "up", History: m["master_replid"], Position: m.offset(), Keys: m["db0"], Mode: m["redis_mode"]}
	if v := m["valkey_version"]; v != "" {
		f.Version = "valkey-" + v
	}
	if m["cluster_enabled"] == "1" {
		f.Mode = "cluster"
	}
	if m.isPrimary() {
		f.Role, f.LinkUp, f.ReplicaOf = engine.RolePrimary, true, ""
	}
	for _, l := range m.links() {
		f.Replicas = append(f.Replicas, l.Address)
	}
	sort.Strings(f.Replicas)
	if f.Mode == "sentinel" {
		f.Foreign = "it is itself a Sentinel"
		return foundResult(f)
	}
	if v, err := n.client.ConfigGet(ctx, "min-replicas-to-write").Result(); err == nil {
		f.SyncReplicas, _ = strconv.Atoi(v["min-replicas-to-write"])
	}
	f.Foreign, err = n.foreign(ctx)
	if err != nil {
		return engine.Result{}, err
	}
	return foundResult(f)
}

func foundResult(f engine.Found) (engine.Result, error) {
	b, err := json.Marshal(f)
	if err != nil {
		return engine.Result{}, err
	}
	return values("found", string(b)), nil
}

// foreign names a Sentinel that watches the server: by its subscription to
// the channel Sentinels talk on, or by the name it gives its connections.
func (n *node) foreign(ctx context.Context) (string, error) {
	subs, err := n.client.PubSubNumSub(ctx, "__sentinel__:hello").Result()
	if err != nil {
		return "", asActionError(err, "look for a Sentinel", false)
	}
	if subs["__sentinel__:hello"] > 0 {
		return fmt.Sprintf("%d Sentinel connections listen on __sentinel__:hello", subs["__sentinel__:hello"]), nil
	}
	text, err := n.client.Do(ctx, "CLIENT", "LIST").Text()
	if err != nil {
		return "", asActionError(err, "list clients", false)
	}
	for line := range strings.Lines(text) {
		if c := clientFields(line); strings.HasPrefix(c["name"], "sentinel-") {
			return "a Sentinel at " + c["addr"] + " is connected", nil
		}
	}
	return "", nil
}

func reconnect(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	host, port, err := address(a)
	if err != nil {
		return engine.Result{}, err
	}
	m, err := n.replication(ctx)
	if err != nil {
		return engine.Result{}, err
	}
	if m.isPrimary() {
		return engine.Result{}, &engine.ActionError{Code: engine.CodeRefused, Detail: n.in.Node + " is a primary; only a replica is resynchronized"}
	}
	if !follows(m, host, port) {
		if err := n.client.Do(ctx, "REPLICAOF", host, port).Err(); err != nil {
			return engine.Result{}, asActionError(err, "follow "+net.JoinHostPort(host, port), true)
		}
		return engine.Result{}, nil
	}
	err = n.client.Do(ctx, "CLIENT", "KILL", "TYPE", "master").Err()
	if err != nil && !isReply(err) {
		return engine.Result{}, asActionError(err, "drop the link", true)
	}
	return engine.Result{}, nil
}

func readSync(ctx context.Context, n *node, _ engine.Action) (engine.Result, error) {
	text, err := n.client.Info(ctx).Result()
	if hasPrefix(err, "LOADING") {
		return values("role", engine.RoleReplica, "link", "down", "syncing", true), nil
	}
	if err != nil {
		return engine.Result{}, asActionError(err, "read INFO", false)
	}
	m := parseInfo(text)
	role, link := engine.RoleReplica, m["master_link_status"]
	if m.isPrimary() {
		role, link = engine.RolePrimary, "up"
	}
	return values("role", role, "link", link, "syncing", m["master_sync_in_progress"] == "1" || m["loading"] == "1", "leftBytes", m["master_sync_left_bytes"],
		"offset", m.offset(), "replid", m["master_replid"], "syncFull", m["sync_full"], "usedMemory", m["used_memory"], "keys", m["db0"]), nil
}
