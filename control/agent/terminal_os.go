package agent

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"

	"baton/control/engine"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// hangupTime is how long what runs in an OS shell may take to end when it is
// told to.
const hangupTime = 2 * time.Second

func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return fmt.Sprint(os.Getuid())
}

// osShell runs a shell of the host in a pseudo-terminal, in a session of its
// own, with nothing of the agent's environment but where programs are.
func (t *terminal) osShell(in engine.Instance) (why string) {
	path, err := exec.LookPath("bash")
	if err != nil {
		path = "/bin/sh"
	}
	home, dir := os.Getenv("HOME"), in.Dir
	name := userName()
	if u, err := user.Current(); home == "" && err == nil {
		home = u.HomeDir
	}
	if home == "" {
		home = "/"
	}
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		dir = home
	}
	lang := os.Getenv("LANG")
	if lang == "" {
		lang = "C.UTF-8"
	}
	cmd := exec.Command(path, "-i")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "USER=" + name, "LOGNAME=" + name, "SHELL=" + path, "LANG=" + lang, "TERM=xterm-256color",
		"BATON_CLUSTER=" + in.Cluster, "BATON_NODE=" + in.Node}
	_, columns, rows := t.news()
	host, _ := os.Hostname()
	fmt.Fprintf(t, "A shell of %s as %s, beside %s of cluster %s, %s. This terminal is recorded.\r\n", host, name, in.Node, in.Cluster, t.now().Role)
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Cols: uint16(columns), Rows: uint16(rows)})
	if err != nil {
		return "the shell could not be started: " + strings.TrimSuffix(err.Error(), ".")
	}
	shown := make(chan struct{})
	go func() { // until the last process has closed its side
		defer close(shown)
		_, _ = io.Copy(t, tty)
	}()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop := make(chan struct{})
	typing := make(chan struct{})
	go func() {
		defer close(typing)
		t.typeInto(tty, stop)
	}()
	defer func() {
		close(stop)
		_ = tty.Close() // hangs up what still runs in the session
		<-shown
		<-typing
	}()
	for {
		select {
		case err := <-ended:
			// What was written last is shown, unless something keeps the terminal open.
			timer := time.NewTimer(hangupTime)
			defer timer.Stop()
			select {
			case <-shown:
			case <-timer.C:
			case <-t.ending:
			}
			return exitWords(err)
		case <-t.changed:
			_, columns, rows := t.news()
			_ = pty.Setsize(tty, &pty.Winsize{Cols: uint16(columns), Rows: uint16(rows)})
		case <-t.ending:
			hangup(cmd.Process.Pid, ended)
			return t.endWhy()
		}
	}
}

// typeInto passes on what is typed. Closing the terminal ends it.
func (t *terminal) typeInto(tty io.Writer, stop <-chan struct{}) {
	for {
		for in := t.take(); len(in) > 0; in = t.take() {
			if _, err := tty.Write(in); err != nil {
				return
			}
		}
		select {
		case <-t.typed:
		case <-stop:
			return
		}
	}
}

// hangup ends the shell and everything else in its session.
func hangup(pid int, ended <-chan error) {
	signalSession(pid, syscall.SIGHUP)
	signalSession(pid, syscall.SIGCONT)
	timer := time.NewTimer(hangupTime)
	defer timer.Stop()
	select {
	case <-ended:
		signalSession(pid, syscall.SIGKILL) // what ignored it
	case <-timer.C:
		signalSession(pid, syscall.SIGKILL)
		<-ended
	}
}

// signalSession signals the shell and every process of its session: those an
// interactive shell started have process groups of their own.
func signalSession(pid int, sig syscall.Signal) {
	procs, err := os.ReadDir("/proc")
	if err != nil {
		_ = syscall.Kill(-pid, sig)
		return
	}
	for _, p := range procs {
		id, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		if session, err := unix.Getsid(id); err == nil && session == pid {
			_ = syscall.Kill(id, sig) // or it has just ended
		}
	}
}

func exitWords(err error) string {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "left"
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return fmt.Sprintf("the shell ended with code %d", exit.ExitCode())
	}
	return "the shell was killed"
}
