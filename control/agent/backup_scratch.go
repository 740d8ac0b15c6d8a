package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"baton/control/engine"
	"baton/platform/identity"

	"golang.org/x/sys/unix"
)

// scratch is a server of this job only: it listens on a Unix socket in a
// directory of mode 0700 and on no network, ends with the agent however that
// ends, and gives way to everything else on the host.
type scratch struct {
	dir   *os.File
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // set before ended is closed
	log   string
}

const (
	scratchSocket = "s"
	scratchConf   = "scratch.conf"
	scratchLog    = "scratch.log"
	// scratchNice is the lowest priority.
	scratchNice = 19
	// scratchEnd is how long a scratch server may take to end when asked.
	scratchEnd = 10 * time.Second
	// replyLimit bounds one reply of a scratch server.
	replyLimit = 1 << 20
	// nowhere is what a scratch server "replicates": a port without a service.
	// As a replica it keeps keys whose time is over while it loads, so what is
	// counted is what was saved.
	nowhere = "127.0.0.1 1"
)

// startScratch starts a server over the dump file in dir, with further lines
// of configuration. It loads while this returns.
func startScratch(binary, dir, dump string, databases int, lines ...string) (*scratch, error) {
	conf := append([]string{"port 0", "unixsocket " + scratchSocket, "unixsocketperm 700", "daemonize no", "logfile " + scratchLog, "pidfile \"\"",
		"save \"\"", "appendonly no", "dbfilename " + dump, "databases " + strconv.Itoa(max(16, databases)), "replicaof " + nowhere,
		"replica-serve-stale-data yes", "maxclients 32", "io-threads 1", "protected-mode yes"}, lines...)
	if err := identity.WriteFile(filepath.Join(dir, scratchConf), []byte(strings.Join(conf, "\n")+"\n"), 0o600); err != nil {
		return nil, err
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	s := &scratch{dir: d, ended: make(chan struct{}), log: filepath.Join(dir, scratchLog)}
	s.cmd = exec.Command(binary, scratchConf)
	s.cmd.Dir, s.cmd.Env = dir, []string{"PATH=/usr/bin:/bin"}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		// The kernel sends the signal when the thread ends that started the
		// server, so that thread stays.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := s.cmd.Start()
		started <- err
		if err == nil {
			s.err = s.cmd.Wait()
		}
		close(s.ended)
	}()
	if err := <-started; err != nil {
		d.Close()
		return nil, &engine.ActionError{Code: engine.CodeFailed, Detail: "a scratch server cannot be started", Err: err, Fix: "look at " + binary}
	}
	// Best effort: without the right to do it the server is merely less polite.
	_ = unix.Setpriority(unix.PRIO_PROCESS, s.cmd.Process.Pid, scratchNice)
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", s.cmd.Process.Pid), []byte("1000"), 0o600)
	return s, nil
}

// kill ends the server at once and waits for its end.
func (s *scratch) kill() {
	_ = s.cmd.Process.Kill()
	<-s.ended
	s.dir.Close()
}

// loaded waits until everything is loaded. The server ends by itself when the
// dump is bad; its log then says why.
func (s *scratch) loaded(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		text, err := s.do("INFO", "persistence")
		if err == nil && strings.Contains(text, "\nloading:0") {
			return nil
		}
		select {
		case <-s.ended:
			return &engine.ActionError{Code: engine.CodeFailed, Detail: "the scratch server did not load the dump: " + s.lastLine(), Err: s.err,
				Fix: "this backup cannot be restored with this version of the engine; take a new one"}
		case <-ctx.Done():
			return targetError(ctx.Err())
		case <-tick.C:
		}
	}
}

// lastLine of the server's log that says something.
func (s *scratch) lastLine() string {
	b, err := os.ReadFile(s.log)
	if err != nil {
		return "it left no log"
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if strings.Contains(lines[i], " # ") || i == 0 {
			_, text, ok := strings.Cut(lines[i], " # ")
			if !ok {
				text = lines[i]
			}
			return text[:min(len(text), 200)]
		}
	}
	return ""
}

// keys are the keys of each database.
func (s *scratch) keys() (map[string]int64, error) {
	text, err := s.do("INFO", "keyspace")
	if err != nil {
		return nil, fmt.Errorf("count the keys that were loaded: %w", err)
	}
	out := map[string]int64{}
	for line := range strings.Lines(text) {
		db, rest, ok := strings.Cut(strings.TrimSpace(line), ":keys=")
		if !ok || !strings.HasPrefix(db, "db") {
			continue
		}
		n, _, _ := strings.Cut(rest, ",")
		v, err := strconv.ParseInt(n, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("count the keys that were loaded: %w", err)
		}
		out[strings.TrimPrefix(db, "db")] = v
	}
	return out, nil
}

// end asks the server to end without saving.
func (s *scratch) end() {
	_, _ = s.do("SHUTDOWN", "NOSAVE") // it answers by ending
	t := time.NewTimer(scratchEnd)
	defer t.Stop()
	select {
	case <-s.ended:
		s.dir.Close()
	case <-t.C:
		s.kill()
	}
}

// do sends one command and returns the reply's text.
func (s *scratch) do(args ...string) (string, error) {
	// Through the open directory the path is short, however deep it lies.
	c, err := net.DialTimeout("unix", fmt.Sprintf("/proc/self/fd/%d/%s", s.dir.Fd(), scratchSocket), time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := io.WriteString(c, b.String()); err != nil {
		return "", err
	}
	return reply(bufio.NewReader(io.LimitReader(c, replyLimit)))
}

// reply reads a status, an integer, an error or a text.
func reply(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", errors.New("the server answered nothing")
	}
	switch line[0] {
	case '+', ':':
		return line[1:], nil
	case '-':
		return "", errors.New(line[1:])
	case '$':
		n, err := strconv.Atoi(line[1:])
		if err != nil || n < 0 || n > replyLimit {
			return "", fmt.Errorf("the server answered a text of %q bytes", line[1:])
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(r, b); err != nil {
			return "", err
		}
		return string(b), nil
	}
	return "", fmt.Errorf("the server answered %.40q", line)
}

// engineBinaries finds the server and its checker on this host: beside the
// program of the instance where the agent runs one, else where programs are.
// checker is "" where there is none.
func (a *Agent) engineBinaries(cluster string) (server, checker string, err error) {
	var dirs []string
	if w := a.find(cluster, ""); w != nil && w.in.Process != "" {
		if p, ok := a.super.Program(w.in.Process); ok {
			dirs = append(dirs, filepath.Dir(p))
		}
	}
	look := func(name string) string {
		for _, d := range dirs {
			p := filepath.Join(d, name)
			if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
				return p
			}
		}
		p, err := exec.LookPath(name)
		if err != nil {
			return ""
		}
		p, err = filepath.Abs(p)
		if err != nil {
			return ""
		}
		return p
	}
	for _, kind := range []string{"redis", "valkey"} {
		if server = look(kind + "-server"); server != "" {
			return server, look(kind + "-check-rdb"), nil
		}
	}
	return "", "", &engine.ActionError{Code: engine.CodeRefused, Detail: "this host has no redis-server or valkey-server to load the backup with",
		Fix: "install it on this host (Debian: apt-get install redis-server)"}
}
