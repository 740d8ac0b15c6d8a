package supervise

import (
	"fmt"
	"strings"
	"time"
)

// UnitWord quotes one word of a command line in a systemd unit. Errors: a
// word with a line break or NUL cannot stand in a unit.
func UnitWord(s string) (string, error) {
	if strings.ContainsAny(s, "\n\r\x00") {
		return "", fmt.Errorf("%q cannot stand in a unit", s)
	}
	s = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "$", "$$").Replace(s)
	if strings.ContainsAny(s, " \t'\"\\;") || s == "" {
		return `"` + s + `"`, nil
	}
	return s, nil
}

// unitPath is a path as a unit's settings take it, whole and not split.
func unitPath(s string) (string, error) {
	if strings.ContainsAny(s, "\n\r\x00") || strings.TrimSpace(s) != s {
		return "", fmt.Errorf("path %q cannot stand in a unit", s)
	}
	return strings.ReplaceAll(s, "%", "%%"), nil
}

// unitText is the unit of one run. systemd never starts it again by itself and
// nobody else can: each start uses up a ticket that only the supervisor
// writes, after it asked who is primary. A fenced primary so stays down
// whatever is said to systemd.
func unitText(l launch, ticket string) (string, error) {
	if strings.Contains(l.path, "=") {
		return "", fmt.Errorf("the path %s holds an equals sign: move the program, or use child supervision", l.path)
	}
	// env -i gives exactly the environment asked for and becomes the program.
	command := append([]string{"/usr/bin/env", "-i"}, l.env...)
	command = append(append(command, l.path), l.args...)
	words := func(list []string) (string, error) {
		out := make([]string, len(list))
		for i, w := range list {
			var err error
			if out[i], err = UnitWord(w); err != nil {
				return "", err
			}
		}
		return strings.Join(out, " "), nil
	}
	start, err := words(command)
	if err != nil {
		return "", err
	}
	use, err := words([]string{"/bin/rm", "--", ticket})
	if err != nil {
		return "", err
	}
	dir, err := unitPath(l.dir)
	if err != nil {
		return "", err
	}
	log, err := unitPath(l.log)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf(`# Written by the Baton agent, anew before each start. Only the agent can start
# it: it knows whether this server is the primary. Stop the agent first.
[Unit]
Description=Baton: %s
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStartPre=%s
ExecStart=%s
WorkingDirectory=%s
StandardInput=null
StandardOutput=append:%s
StandardError=append:%s
Restart=no
KillMode=control-group
TimeoutStopSec=%d
OOMScoreAdjust=-600
LimitNOFILE=1048576
UMask=0077
NoNewPrivileges=yes
`, l.name, use, start, dir, log, log, int((l.grace+5*time.Second)/time.Second)), nil
}
