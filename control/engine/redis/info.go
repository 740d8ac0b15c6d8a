package redis

import (
	"net"
	"strconv"
	"strings"

	"baton/control/engine"
)

// info is an INFO reply as field -> value.
type info map[string]string

// ParseInfo reads an INFO reply into field -> value.
func ParseInfo(text string) map[string]string { return parseInfo(text) }

func parseInfo(text string) info {
	m := info{}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" || line[0] == '#' {
			continue
		}
		if k, v, ok := strings.Cut(line, ":"); ok {
			m[k] = v
		}
	}
	return m
}

func (m info) uint(k string) uint64 {
	v, _ := strconv.ParseUint(m[k], 10, 64)
	return v
}

// number is nil when the field is missing or not a number.
func (m info) number(k string) *int64 {
	v, err := strconv.ParseInt(m[k], 10, 64)
	if err != nil {
		return nil
	}
	return &v
}

func (m info) flag(k string) *bool {
	v, ok := m[k]
	if !ok {
		return nil
	}
	b := v == "1"
	return &b
}

func (m info) isPrimary() bool { return m["role"] == "master" }

// offset is the instance's own position: what it produced, or what it applied.
func (m info) offset() uint64 {
	if m.isPrimary() {
		return m.uint("master_repl_offset")
	}
	return m.uint("slave_repl_offset")
}

func (m info) replicaOf() string {
	if m["master_host"] == "" {
		return ""
	}
	return net.JoinHostPort(m["master_host"], m["master_port"])
}

// writes sums the calls of all commands that write.
func (m info) writes(isWrite map[string]bool) int64 {
	var sum int64
	for k, v := range m {
		name, ok := strings.CutPrefix(k, "cmdstat_")
		if !ok {
			continue
		}
		name, _, _ = strings.Cut(name, "|")
		if !isWrite[name] {
			continue
		}
		if calls, ok := strings.CutPrefix(v, "calls="); ok {
			calls, _, _ = strings.Cut(calls, ",")
			n, _ := strconv.ParseInt(calls, 10, 64)
			sum += n
		}
	}
	return sum
}

// links are the replicas a primary (or a chained replica) lists, in its order.
func (m info) links() []engine.Link {
	n := int(m.uint("connected_slaves"))
	var out []engine.Link
	own := m.uint("master_repl_offset")
	for i := range n {
		fields := map[string]string{}
		for f := range strings.SplitSeq(m["slave"+strconv.Itoa(i)], ",") {
			k, v, _ := strings.Cut(f, "=")
			fields[k] = v
		}
		if fields["ip"] == "" {
			continue
		}
		pos, _ := strconv.ParseUint(fields["offset"], 10, 64)
		out = append(out, engine.Link{
			Address: net.JoinHostPort(fields["ip"], fields["port"]), Role: engine.RoleReplica,
			State: fields["state"], Up: fields["state"] == "online",
			Position: pos, LagBytes: int64(own) - int64(pos),
		})
	}
	return out
}
