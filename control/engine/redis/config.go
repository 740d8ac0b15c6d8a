package redis

import (
	"fmt"
	"strconv"
	"strings"

	"baton/control/engine"
)

// Config is what Baton decides about a server it creates. File gives the text
// of its configuration file; the server rewrites that file when roles change.
type Config struct {
	Host string // address to listen on and to be known by
	Port int
	Dir  string // data directory, absolute
	// Password is both what clients and what replicas log in with. With ACLFile
	// it is User's alone, and clients have users of their own in that file.
	Password  string
	User      string
	ACLFile   string       // absolute
	ReplicaOf *engine.Peer // nil: starts as primary
	// MinReplicas must be attached (and heard within minReplicasMaxLagSeconds) for writes
	// to be accepted: it bounds how long an isolated primary acknowledges. 0 none.
	MinReplicas int
	// MaxMemoryBytes 0 means no limit.
	MaxMemoryBytes int64
	// Parameters are further settings, name and value, after all others.
	Parameters [][2]string
}

const (
	// minReplicasMaxLagSeconds + 1 s stays below a primary's lease of 5 s.
	minReplicasMaxLagSeconds = 3
	// backlogBytes lets a replica that was away continue from its offset.
	backlogBytes = 64 << 20
)

// File is the configuration file's text. It holds the password: write it 0600.
// Values are refused when they could not be one quoted word of the file.
func (c Config) File() ([]byte, error) {
	var b strings.Builder
	var err error
	line := func(name string, args ...string) {
		b.WriteString(name)
		for _, a := range args {
			q, qerr := quote(a)
			if qerr != nil && err == nil {
				err = fmt.Errorf("redis setting %s: %w", name, qerr)
			}
			b.WriteByte(' ')
			b.WriteString(q)
		}
		b.WriteByte('\n')
	}
	num := func(v int64) string { return strconv.FormatInt(v, 10) }
	b.WriteString("# Written by Baton; the server rewrites it when its role changes.\n")
	line("bind", c.Host)
	line("port", num(int64(c.Port)))
	line("dir", c.Dir)
	line("daemonize", "no")
	line("logfile", "")
	line("protected-mode", "yes")
	if c.ACLFile != "" {
		line("aclfile", c.ACLFile)
		line("masteruser", c.User)
	} else {
		line("requirepass", c.Password)
	}
	line("masterauth", c.Password)
	line("appendonly", "yes")
	line("appendfsync", "everysec")
	line("save", "3600", "1", "300", "100")
	line("replica-announce-ip", c.Host)
	line("replica-announce-port", num(int64(c.Port)))
	line("repl-backlog-size", num(backlogBytes))
	line("repl-backlog-ttl", "0")
	// A first synchronization goes straight to the socket, and at once.
	line("repl-diskless-sync", "yes")
	line("repl-diskless-sync-delay", "0")
	// Silence on a link is noticed in seconds although nothing is written.
	line("repl-ping-replica-period", "1")
	line("min-replicas-to-write", num(int64(c.MinReplicas)))
	line("min-replicas-max-lag", num(minReplicasMaxLagSeconds))
	if c.MaxMemoryBytes > 0 {
		line("maxmemory", num(c.MaxMemoryBytes))
		line("maxmemory-policy", "noeviction")
	}
	for _, p := range c.Parameters {
		line(p[0], p[1])
	}
	if c.ReplicaOf != nil {
		line("replicaof", c.ReplicaOf.Host, strconv.Itoa(c.ReplicaOf.Port))
	}
	if err != nil {
		return nil, err
	}
	return []byte(b.String()), nil
}

// quote writes one argument the way the server's file parser reads it back.
// Control characters have no place in any setting of ours.
func quote(s string) (string, error) {
	for _, r := range s {
		if r < 0x20 || r == 0x7f {
			return "", fmt.Errorf("control character %q in a value", r)
		}
	}
	plain := s != "" && !strings.ContainsAny(s, " \"'\\#")
	if plain {
		return s, nil
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`, nil
}
