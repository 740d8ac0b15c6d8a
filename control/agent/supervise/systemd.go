package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"baton/platform/identity"
)

// Systemd says how systemd is reached. The zero value is the machine's own.
type Systemd struct {
	// Systemctl is the program; "" looks for it where systems have it.
	Systemctl string
	// UnitDir is where units are written; "" is /run/systemd/system: they are
	// gone after a restart of the machine, and the agent writes them anew.
	UnitDir string
}

const (
	runtimeUnits = "/run/systemd/system"
	// systemctlTime bounds one command.
	systemctlTime = 15 * time.Second
	// endedTime is how long a restart may wait to learn how the run before ended.
	endedTime = 500 * time.Millisecond
	// unitPrefix begins the name of each unit.
	unitPrefix = "baton-db-"
)

// ErrNoSystemd: this machine's first process is not systemd, or we may not
// command it.
var ErrNoSystemd = errors.New("systemd supervision is not possible here")

// Usable tells whether systemd runs here and takes our commands. Errors:
// ErrNoSystemd with the reason.
func (s Systemd) Usable() error {
	if s.Systemctl != "" {
		return executable(s.Systemctl)
	}
	if st, err := os.Stat(runtimeUnits); err != nil || !st.IsDir() {
		return fmt.Errorf("%w: systemd is not this machine's first process", ErrNoSystemd)
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: only root may write units; this agent runs as another user", ErrNoSystemd)
	}
	_, err := s.program()
	return err
}

func (s Systemd) program() (string, error) {
	if s.Systemctl != "" {
		return s.Systemctl, nil
	}
	for _, path := range []string{"/usr/bin/systemctl", "/bin/systemctl"} {
		if executable(path) == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w: there is no systemctl", ErrNoSystemd)
}

// units starts processes as systemd units of one supervisor's directory.
type units struct {
	systemctl, dir string
	mine           string // told apart from other supervisors' units by this
	tickets        string // directory
}

// newUnits prepares the units of the supervisor of a directory.
func newUnits(s Systemd, dir string) (*units, error) {
	if err := s.Usable(); err != nil {
		return nil, err
	}
	program, err := s.program()
	if err != nil {
		return nil, err
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if s.UnitDir == "" {
		s.UnitDir = runtimeUnits
	}
	if err := os.MkdirAll(s.UnitDir, 0o755); err != nil {
		return nil, fmt.Errorf("make the directory of units: %w", err)
	}
	return &units{systemctl: program, dir: s.UnitDir, mine: abs, tickets: filepath.Join(abs, "processes")}, nil
}

func (u *units) kind() string { return KindSystemd }

// unit is the name of a process's unit. Two agents on one machine may each
// have a process of the same name.
func (u *units) unit(name string) string {
	return fmt.Sprintf("%s%s-%08x.service", unitPrefix, name, hash(u.mine))
}

func hash(s string) uint32 {
	h := uint32(2166136261)
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return h
}

func (u *units) path(name string) string   { return filepath.Join(u.dir, u.unit(name)) }
func (u *units) ticket(name string) string { return filepath.Join(u.tickets, name+".ticket") }

func (u *units) call(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), systemctlTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, u.systemctl, append([]string{"--no-ask-password", "--no-pager"}, args...)...)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		text := strings.TrimSpace(string(out))
		if ctx.Err() != nil {
			text = fmt.Sprintf("no answer within %s", systemctlTime)
		}
		return "", fmt.Errorf("systemctl %s: %w: %.400s", args[0], err, text)
	}
	return string(out), nil
}

func (u *units) show(name string) map[string]string {
	out, err := u.call("show", "--property=LoadState,ActiveState,MainPID,ExecMainCode,ExecMainStatus", u.unit(name))
	if err != nil {
		return nil
	}
	v := map[string]string{}
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		v[key] = value
	}
	return v
}

func (u *units) launch(l launch) (int, func() string, error) {
	if err := executable(l.path); err != nil {
		return 0, nil, err
	}
	text, err := unitText(l, u.ticket(l.name))
	if err != nil {
		return 0, nil, err
	}
	// Before the unit may be started: what systemd makes would be 0644.
	f, err := os.OpenFile(l.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, nil, err
	}
	f.Close()
	if err := identity.WriteFile(u.path(l.name), []byte(text), 0o644); err != nil {
		return 0, nil, fmt.Errorf("write the unit: %w", err)
	}
	if _, err := u.call("daemon-reload"); err != nil {
		return 0, nil, err
	}
	if err := os.WriteFile(u.ticket(l.name), nil, 0o600); err != nil {
		return 0, nil, fmt.Errorf("allow the start: %w", err)
	}
	_, err = u.call("start", u.unit(l.name))
	_ = removeFile(u.ticket(l.name)) // of a start that did not come to it
	if err != nil {
		_, _ = u.call("stop", u.unit(l.name)) // it may be starting yet
		return 0, nil, err
	}
	pid, _ := strconv.Atoi(u.show(l.name)["MainPID"])
	if pid <= 1 {
		return 0, func() string { return u.ended(l.name) }, nil // it has ended already
	}
	return pid, nil, nil
}

func (u *units) running(name string) int {
	v := u.show(name)
	if v["ActiveState"] != "active" {
		return 0
	}
	pid, _ := strconv.Atoi(v["MainPID"])
	return pid
}

// signalNames are those a server's end is told by; systemd gives their numbers.
var signalNames = map[int]string{2: "interrupt", 6: "aborted", 9: "killed", 11: "segmentation fault", 15: "terminated"}

func (u *units) ended(name string) string {
	v := u.show(name)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(endedTime); (v["ActiveState"] == "active" || v["ActiveState"] == "deactivating") && time.Now().Before(limit); v = u.show(name) {
		<-tick.C // the kernel told us before it told systemd
	}
	n, err := strconv.Atoi(v["ExecMainStatus"])
	if err != nil {
		return ""
	}
	switch v["ExecMainCode"] { // as waitid tells: 1 exited, 2 killed, 3 dumped core
	case "1":
		return fmt.Sprintf("exit status %d", n)
	case "2", "3":
		if s := signalNames[n]; s != "" {
			return "signal: " + s
		}
		return fmt.Sprintf("signal: %d", n)
	}
	return ""
}

func (u *units) forget(name string) error {
	_ = removeFile(u.ticket(name))
	if _, err := os.Stat(u.path(name)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := removeFile(u.path(name)); err != nil {
		return fmt.Errorf("remove the unit: %w", err)
	}
	_, _ = u.call("reset-failed", u.unit(name)) // it may not be failed
	_, err := u.call("daemon-reload")
	return err
}
