package session

import (
	"maps"
	"strings"
)

// Class is what a command may do to data.
type Class uint8

// Classes, in the order of what they forbid.
const (
	// Read changes nothing: it may be asked again.
	Read Class = iota
	// Session is about the connection itself; it goes to any server and may be repeated.
	Session
	// Admin is about the server. It is not held, and not repeated.
	Admin
	// Write may change data or the replication stream: it is held while the
	// primary moves. A command that is not known is one.
	Write
)

// kind is how the session treats a command beside its class.
type kind uint8

const (
	plain kind = iota
	kAuth
	kHello
	kSelect
	kClient
	kReset
	kQuit
	kMulti
	kExec
	kDiscard
	kWatch
	kUnwatch
	kSubscribe
	kUnsubscribe
	kMonitor
	kWait
	kBlocking
	kRefused
)

// info is what is known of a command.
type info struct {
	class Class
	kind  kind
	known bool             // the server named it
	subs  map[string]Class // of subcommands, upper case
}

// Table tells of each command what it may do. A Table does not change once it
// is in use.
type Table struct{ commands map[string]info }

var unknown = info{class: Write}

// find looks a command up; name may be of any case.
func (t *Table) find(name []byte) info {
	var upper [32]byte
	if len(name) > len(upper) {
		return unknown
	}
	for i, c := range name {
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		upper[i] = c
	}
	if in, ok := t.commands[string(upper[:len(name)])]; ok {
		return in
	}
	return unknown
}

// classOf is the class of one request.
func (in *info) classOf(args [][]byte) Class {
	if in.subs != nil && len(args) > 1 {
		if c, ok := in.subs[strings.ToUpper(string(args[1]))]; ok {
			return c
		}
	}
	return in.class
}

// kinds are the commands with a treatment of their own.
var kinds = map[string]kind{
	"AUTH": kAuth, "HELLO": kHello, "SELECT": kSelect, "CLIENT": kClient, "RESET": kReset, "QUIT": kQuit,
	"MULTI": kMulti, "EXEC": kExec, "DISCARD": kDiscard, "WATCH": kWatch, "UNWATCH": kUnwatch,
	"SUBSCRIBE": kSubscribe, "PSUBSCRIBE": kSubscribe, "SSUBSCRIBE": kSubscribe,
	"UNSUBSCRIBE": kUnsubscribe, "PUNSUBSCRIBE": kUnsubscribe, "SUNSUBSCRIBE": kUnsubscribe,
	"MONITOR": kMonitor, "WAIT": kWait, "WAITAOF": kWait,
	"BLPOP": kBlocking, "BRPOP": kBlocking, "BLMOVE": kBlocking, "BRPOPLPUSH": kBlocking, "BLMPOP": kBlocking,
	"BZPOPMIN": kBlocking, "BZPOPMAX": kBlocking, "BZMPOP": kBlocking, "XREAD": kBlocking, "XREADGROUP": kBlocking,
	// Roles belong to the control plane, and a replication stream is no answer.
	"SYNC": kRefused, "PSYNC": kRefused, "REPLCONF": kRefused, "REPLICAOF": kRefused, "SLAVEOF": kRefused,
	"FAILOVER": kRefused, "SHUTDOWN": kRefused,
}

// Classes that do not depend on what the server says.
const (
	sessionCommands = "AUTH HELLO SELECT CLIENT RESET QUIT MULTI EXEC DISCARD WATCH UNWATCH SUBSCRIBE PSUBSCRIBE SSUBSCRIBE " +
		"UNSUBSCRIBE PUNSUBSCRIBE SUNSUBSCRIBE MONITOR WAIT WAITAOF PING ECHO COMMAND READONLY READWRITE ASKING TIME ROLE PUBSUB"
	adminCommands = "INFO CONFIG ACL SLOWLOG LATENCY LASTSAVE SAVE BGSAVE BGREWRITEAOF CLUSTER MODULE SYNC PSYNC REPLCONF " +
		"REPLICAOF SLAVEOF FAILOVER SHUTDOWN"
	// writeCommands are replicated although some servers do not flag them so.
	writeCommands = "EVAL EVALSHA FCALL PUBLISH SPUBLISH PFCOUNT PFDEBUG SCRIPT FUNCTION DEBUG SWAPDB FLUSHALL FLUSHDB MIGRATE"
	readCommands  = "GET MGET STRLEN GETRANGE SUBSTR EXISTS TYPE TTL PTTL EXPIRETIME PEXPIRETIME KEYS SCAN RANDOMKEY DBSIZE DUMP TOUCH LCS " +
		"GETBIT BITCOUNT BITPOS BITFIELD_RO HGET HMGET HGETALL HKEYS HVALS HLEN HEXISTS HSTRLEN HSCAN HRANDFIELD " +
		"LRANGE LLEN LINDEX LPOS SMEMBERS SISMEMBER SMISMEMBER SCARD SRANDMEMBER SSCAN SINTER SUNION SDIFF SINTERCARD " +
		"ZRANGE ZREVRANGE ZRANGEBYSCORE ZREVRANGEBYSCORE ZRANGEBYLEX ZREVRANGEBYLEX ZCARD ZCOUNT ZLEXCOUNT ZSCORE ZMSCORE " +
		"ZRANK ZREVRANK ZSCAN ZRANDMEMBER ZINTER ZUNION ZDIFF ZINTERCARD XRANGE XREVRANGE XLEN XREAD XPENDING XINFO " +
		"GEOPOS GEODIST GEOHASH GEOSEARCH GEORADIUS_RO GEORADIUSBYMEMBER_RO SORT_RO EVAL_RO EVALSHA_RO FCALL_RO OBJECT MEMORY"
)

// subClasses are those of subcommands, where the server does not say better.
var subClasses = map[string]map[string]Class{
	"SCRIPT":   {"EXISTS": Read, "HELP": Read, "KILL": Admin, "DEBUG": Admin},
	"FUNCTION": {"LIST": Read, "DUMP": Read, "STATS": Read, "HELP": Read, "KILL": Admin},
	"CLIENT":   {"PAUSE": Admin, "UNPAUSE": Admin, "KILL": Admin, "UNBLOCK": Admin},
	"CONFIG":   {"GET": Read},
	"XGROUP":   {"HELP": Read},
}

// BuiltIn is the table before a server was asked: what it does not name is a
// write.
var BuiltIn = newTable(nil)

// newTable makes a table from the server's own flags by command (upper case),
// or from none.
func newTable(flags map[string]info) *Table {
	t := &Table{commands: map[string]info{}}
	for name, in := range flags {
		t.commands[name] = in
	}
	put := func(names string, c Class) {
		for _, n := range strings.Fields(names) {
			t.commands[n] = info{class: c, known: true}
		}
	}
	if len(flags) == 0 {
		put(readCommands, Read)
	}
	put(sessionCommands, Session)
	put(adminCommands, Admin)
	put(writeCommands, Write)
	for name, subs := range subClasses {
		in, ok := t.commands[name]
		if !ok {
			in = unknown
		}
		in.subs = maps.Clone(in.subs)
		if in.subs == nil {
			in.subs = map[string]Class{}
		}
		maps.Copy(in.subs, subs)
		t.commands[name] = in
	}
	for name, k := range kinds {
		in, ok := t.commands[name]
		if !ok {
			in = unknown
		}
		in.kind = k
		t.commands[name] = in
	}
	return t
}

// Learn makes a table from the answer to COMMAND; nil when it is not
// understood.
func Learn(answer []byte) *Table {
	flags := map[string]info{}
	d := decoder{rest: answer}
	n, ok := d.array()
	if !ok || n == 0 {
		return nil
	}
	for range n {
		name, in, ok := d.command()
		if !ok {
			return nil
		}
		flags[name] = in
	}
	return newTable(flags)
}

// command reads one entry: name, arity, flags, six fields that do not matter
// here, subcommands.
func (d *decoder) command() (name string, in info, ok bool) {
	fields, ok := d.array()
	if !ok || fields < 3 {
		return "", in, false
	}
	if name, ok = d.text(); !ok || !d.skip() {
		return "", in, false
	}
	words, ok := d.array()
	if !ok {
		return "", in, false
	}
	in = info{class: Admin, known: true}
	for range words {
		word, ok := d.text()
		if !ok {
			return "", in, false
		}
		switch {
		case word == "write" || word == "may_replicate":
			in.class = Write
		case word == "readonly" && in.class != Write:
			in.class = Read
		}
	}
	const subcommands = 9
	for i := 3; i < fields; i++ {
		if i != subcommands {
			if !d.skip() {
				return "", in, false
			}
			continue
		}
		n, ok := d.array()
		if !ok {
			return "", in, false
		}
		for range n {
			sub, of, ok := d.command()
			if !ok {
				return "", in, false
			}
			if in.subs == nil {
				in.subs, in.class = map[string]Class{}, Write // a subcommand it does not name
			}
			if _, word, found := strings.Cut(sub, "|"); found {
				in.subs[word] = of.class
			}
		}
	}
	return strings.ToUpper(name), in, true
}

// decoder reads the values of one answer, one after the other.
type decoder struct{ rest []byte }

func (d *decoder) line() (kind byte, text string, ok bool) {
	for i := 1; i < len(d.rest); i++ {
		if d.rest[i] == '\n' {
			kind, text = d.rest[0], string(d.rest[1:i-1])
			d.rest = d.rest[i+1:]
			return kind, text, true
		}
	}
	return 0, "", false
}

// array reads the head of an array, set or push.
func (d *decoder) array() (n int, ok bool) {
	kind, text, ok := d.line()
	if !ok || kind != '*' && kind != '~' {
		return 0, false
	}
	n = atoi(text)
	return n, n >= 0
}

func (d *decoder) text() (string, bool) {
	kind, text, ok := d.line()
	switch {
	case !ok:
		return "", false
	case kind == '+':
		return text, true
	case kind != '$':
		return "", false
	}
	n := atoi(text)
	if n < 0 || len(d.rest) < n+2 {
		return "", false
	}
	s := string(d.rest[:n])
	d.rest = d.rest[n+2:]
	return s, true
}

// skip passes over one value.
func (d *decoder) skip() bool {
	kind, text, ok := d.line()
	if !ok {
		return false
	}
	n := atoi(text)
	switch kind {
	case '$', '=', '!':
		if n < 0 {
			return true
		}
		if len(d.rest) < n+2 {
			return false
		}
		d.rest = d.rest[n+2:]
	case '%', '|':
		n *= 2
		fallthrough
	case '*', '~', '>':
		for range n {
			if !d.skip() {
				return false
			}
		}
	}
	return true
}

// atoi is -1 for what is no number from 0 on.
func atoi(s string) int {
	if s == "" || len(s) > 10 {
		return -1
	}
	n := 0
	for _, c := range s {
		if c < '0' || c > '9' {
			return -1
		}
		n = n*10 + int(c-'0')
	}
	return n
}
