package supervise

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// markerName is the environment variable that marks a supervised process, so
// that one started just before its supervisor died, and not recorded yet, is
// found and not started twice. The name keeps clear of the prefix BATON_, under
// which programs of ours read options.
const markerName = "SUPERVISED_BY_BATON"

// startTicks is when the process started, in clock ticks since boot; it and the
// pid together are unique for a boot. A zombie counts as gone.
func startTicks(pid int) (uint64, bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	// The second field is the name in parentheses and may hold anything.
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return 0, false
	}
	fields := strings.Fields(string(b[i+1:]))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return 0, false
	}
	t, err := strconv.ParseUint(fields[19], 10, 64)
	return t, err == nil
}

func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func (r running) alive() bool {
	if r.PID <= 0 || r.BootID != bootID() {
		return false
	}
	t, ok := startTicks(r.PID)
	return ok && t == r.Ticks
}

// findMarked finds live processes with our marker, by marker value.
func findMarked() map[string]int {
	out := map[string]int{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		env, err := os.ReadFile(filepath.Join(d, "environ"))
		if err != nil {
			continue
		}
		for kv := range bytes.SplitSeq(env, []byte{0}) {
			if v, ok := bytes.CutPrefix(kv, []byte(markerName+"=")); ok {
				// Children inherit the mark; the one that was started leads its session.
				if pid, _ := strconv.Atoi(filepath.Base(d)); leadsSession(pid) {
					out[string(v)] = pid
				}
			}
		}
	}
	return out
}

func leadsSession(pid int) bool {
	sid, err := unix.Getsid(pid)
	return err == nil && sid == pid
}
