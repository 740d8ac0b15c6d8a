package supervise

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Kinds of supervision: what carries the processes. Both keep to the same
// rules: only this package starts a process, after asking the gate, and a hard
// fence is a signal sent from here.
const (
	KindChild   = "child"   // detached children, each in a session of its own
	KindSystemd = "systemd" // one unit each, written by this package and started by it alone
	// KindAuto is KindSystemd where systemd started us and takes our commands,
	// else KindChild: whoever starts an agent by hand finds no units left behind.
	KindAuto = "auto"
)

// underSystemd is the variable that systemd gives whatever it starts.
const underSystemd = "INVOCATION_ID"

// launcher begins runs of processes and finds those begun earlier.
type launcher interface {
	kind() string
	// launch starts a run in l.Dir, with its output in l.Log. wait, where it is
	// not nil, blocks until the run has ended and says how.
	launch(l launch) (pid int, wait func() string, err error)
	// running is the pid of a run that an earlier supervisor began, 0 for none.
	running(name string) int
	// ended says how the last run of a name ended, "" when that is not known.
	ended(name string) string
	// forget removes what is kept of a name that does not run any more.
	forget(name string) error
}

// launch is one run: a program with its arguments and whole environment.
type launch struct {
	name, path, dir, log string
	args, env            []string
	grace                time.Duration // between the request to end and the kill
}

// children starts processes as detached children.
type children struct{}

func (children) kind() string        { return KindChild }
func (children) running(string) int  { return 0 } // found by their mark
func (children) ended(string) string { return "" }
func (children) forget(string) error { return nil }
func (children) launch(l launch) (int, func() string, error) {
	out, err := os.OpenFile(l.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, nil, err
	}
	defer out.Close()
	cmd := exec.Command(l.path, l.args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env = l.dir, out, out, l.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return 0, nil, err
	}
	return cmd.Process.Pid, func() string {
		if err := cmd.Wait(); err != nil {
			return err.Error()
		}
		return "exit status 0"
	}, nil
}

// endOf returns when a process that may not be our child has ended: at once
// where the kernel tells it, else within adoptedPoll.
func endOf(run running) {
	fd, err := unix.PidfdOpen(run.PID, 0)
	if err != nil || !run.alive() { // gone, or the pid is another's by now
		fd = -1
	} else {
		defer unix.Close(fd)
	}
	tick := time.NewTicker(adoptedPoll)
	defer tick.Stop()
	for run.alive() {
		if fd >= 0 {
			p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			if n, err := unix.Poll(p, int(pidfdLook/time.Millisecond)); err == nil && n == 0 || err == unix.EINTR {
				continue
			}
		}
		if run.alive() {
			<-tick.C
		}
	}
}

// pidfdLook is how often a process is looked at by name although the kernel
// would tell its end.
const pidfdLook = 5 * time.Second

// executable refuses a program that cannot be started.
func executable(path string) error {
	st, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case st.IsDir() || st.Mode()&0o111 == 0:
		return fmt.Errorf("%s is not a program", path)
	}
	return nil
}
