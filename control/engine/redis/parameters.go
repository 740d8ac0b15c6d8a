package redis

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"baton/control/engine"
)

// Parameters are the settings people may change, by name. What decides roles,
// addresses, users and files is Baton's own and not among them.
var Parameters = []engine.Parameter{
	{Name: "activedefrag", Default: "no", Description: "Defragment memory in the background"},
	{Name: "appendfsync", Default: "everysec", Description: "When the append-only file is synced: always, everysec or no"},
	{Name: "databases", Default: "16", Description: "Number of databases", NeedsRestart: true},
	{Name: "hz", Default: "10", Description: "Background tasks per second, 1 to 500"},
	{Name: "io-threads", Default: "1", Description: "Threads for client input and output, 1 to 128", NeedsRestart: true},
	{Name: "latency-monitor-threshold", Default: "0", Description: "Log events that take this many milliseconds, 0 none"},
	{Name: "lazyfree-lazy-eviction", Default: "no", Description: "Free evicted keys in the background"},
	{Name: "lazyfree-lazy-expire", Default: "no", Description: "Free expired keys in the background"},
	{Name: "maxclients", Default: "10000", Description: "Connections at a time"},
	{Name: "maxmemory", Default: "0", Description: "Bytes of data at most, 0 no limit"},
	{Name: "maxmemory-policy", Default: "noeviction", Description: "What to do when memory is full"},
	{Name: "notify-keyspace-events", Default: "", Description: "Events published for keys"},
	{Name: "slowlog-log-slower-than", Default: "10000", Description: "Log commands slower than this many microseconds, -1 none"},
	{Name: "slowlog-max-len", Default: "128", Description: "Slow commands kept"},
	{Name: "tcp-backlog", Default: "511", Description: "Connections that may wait to be accepted", NeedsRestart: true},
	{Name: "tcp-keepalive", Default: "300", Description: "Seconds between probes of idle connections, 0 none"},
	{Name: "timeout", Default: "0", Description: "Close connections idle for this many seconds, 0 never"},
}

func parameter(name string) (engine.Parameter, bool) {
	for _, p := range Parameters {
		if p.Name == name {
			return p, true
		}
	}
	return engine.Parameter{}, false
}

// spans are the ranges of numeric parameters.
var spans = map[string][2]int64{
	"databases": {1, 10000}, "hz": {1, 500}, "io-threads": {1, 128}, "latency-monitor-threshold": {0, 3600000}, "maxclients": {32, 1000000},
	"maxmemory": {0, 1 << 46}, "slowlog-log-slower-than": {-1, 3600000000}, "slowlog-max-len": {0, 1000000}, "tcp-backlog": {1, 65535}, "tcp-keepalive": {0, 86400}, "timeout": {0, 31536000},
}

var words = map[string]string{
	"activedefrag": "yes no", "appendfsync": "always everysec no", "lazyfree-lazy-eviction": "yes no", "lazyfree-lazy-expire": "yes no",
	"maxmemory-policy": "noeviction allkeys-lru allkeys-lfu allkeys-random volatile-lru volatile-lfu volatile-random volatile-ttl",
}

// CheckParameter refuses a parameter or value that cannot be set; the error
// says what to give.
func CheckParameter(name, value string) error {
	if _, ok := parameter(name); !ok {
		return fmt.Errorf("parameter %q may not be changed: roles, addresses, users and files are Baton's own", name)
	}
	if span, ok := spans[name]; ok {
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n < span[0] || n > span[1] {
			return fmt.Errorf("%s: %q is not a number from %d to %d", name, value, span[0], span[1])
		}
		return nil
	}
	if list, ok := words[name]; ok {
		for w := range strings.FieldsSeq(list) {
			if w == value {
				return nil
			}
		}
		return fmt.Errorf("%s: %q is not one of %s", name, value, list)
	}
	for _, r := range value { // notify-keyspace-events
		if !strings.ContainsRune("KEg$lshzxedtmnA", r) {
			return fmt.Errorf("%s: %q holds %q, which names no events", name, value, r)
		}
	}
	return nil
}

// Hash is the SHA-256 of a password as the server stores it.
func Hash(password string) string {
	sum := sha256.Sum256([]byte(password))
	return hex.EncodeToString(sum[:])
}
