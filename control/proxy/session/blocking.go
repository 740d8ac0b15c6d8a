package session

import (
	"bytes"
	"strconv"

	"baton/control/proxy/resp"
)

// shorten takes the time a blocking request has waited already off its
// timeout, before it is sent to another server.
func (m *Machine) shorten(now int64, c *command) {
	i, unit := timeoutOf(c.name, c.args)
	if i < 0 || i >= len(c.args) {
		return
	}
	v, err := strconv.ParseFloat(string(c.args[i]), 64)
	if err != nil || v <= 0 { // 0 waits for ever
		return
	}
	left := v - float64(now-c.sent)/unit
	if unit == 1e6 {
		c.args[i] = strconv.AppendInt(nil, max(1, int64(left)), 10)
	} else {
		c.args[i] = strconv.AppendFloat(nil, max(0.001, left), 'f', 3, 64)
	}
	c.raw = resp.Append(nil, c.args...)
}

// timeoutOf is which argument is the timeout and how many nanoseconds its unit
// has; -1 when there is none.
func timeoutOf(name string, args [][]byte) (int, float64) {
	switch name {
	case "BLPOP", "BRPOP", "BLMOVE", "BRPOPLPUSH", "BZPOPMIN", "BZPOPMAX":
		return len(args) - 1, 1e9
	case "BLMPOP", "BZMPOP":
		return 1, 1e9
	case "XREAD", "XREADGROUP":
		for i, a := range args {
			if bytes.EqualFold(a, []byte("BLOCK")) {
				return i + 1, 1e6
			}
		}
	}
	return -1, 0
}
