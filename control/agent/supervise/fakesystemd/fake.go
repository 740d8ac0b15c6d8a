// Package fakesystemd stands in for systemd in tests on machines without it:
// a program to be called as systemctl. It is not systemd. It knows what this
// project's units use, keeps to the rules that matter for them (units count as
// loaded at the last daemon-reload, a failing ExecStartPre stops the start, what
// a unit leaves behind is killed with it) and refuses everything else.
package fakesystemd

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Systemd is how the fake is reached; it converts to supervise.Systemd.
type Systemd struct{ Systemctl, UnitDir string }

// state is what is kept of a unit.
type state struct {
	PID          int
	Ticks        string // start of the process
	Code, Status int    // as waitid tells
	Failed       bool
}

// Install makes a systemctl of the test's own, with no units. The test's
// TestMain must begin with Serve.
func Install(t testing.TB) Systemd {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "systemctl")
	// A test with the race detector would else wait a second at its end.
	script := fmt.Sprintf("#!/bin/sh\nGORACE=atexit_sleep_ms=0 %s='%s' exec '%s' \"$@\"\n", dirVariable, dir, self)
	if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"units", "loaded", "state"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { // nothing a test started outlives it, and nothing writes here any more
		f := &fake{dir: dir}
		locks, _ := filepath.Glob(f.state("*.lock"))
		for _, path := range locks {
			tick := time.NewTicker(2 * time.Millisecond)
			for limit := time.Now().Add(time.Minute); time.Now().Before(limit); <-tick.C {
				if s := f.read(strings.TrimSuffix(filepath.Base(path), ".lock")); s.active() {
					_ = syscall.Kill(-s.PID, syscall.SIGKILL)
				}
				if lock, err := hold(path, syscall.LOCK_NB); err == nil {
					lock.Close()
					break
				}
			}
			tick.Stop()
		}
	})
	return Systemd{Systemctl: program, UnitDir: filepath.Join(dir, "units")}
}

// Calls are the commands given so far, one a line.
func Calls(s Systemd) string {
	b, _ := os.ReadFile(filepath.Join(filepath.Dir(s.Systemctl), "calls"))
	return string(b)
}

// dirVariable tells the program that it is systemctl, and of which directory.
const dirVariable = "FAKE_SYSTEMD_DIR"

// Serve is systemctl and does not return where the program was called as that;
// else it does nothing.
func Serve() {
	dir := os.Getenv(dirVariable)
	if dir == "" {
		return
	}
	f := &fake{dir: dir}
	if err := f.main(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "fake systemctl:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

type fake struct{ dir string }

func (f *fake) main(args []string) error {
	var words []string
	properties := ""
	for _, a := range args {
		switch {
		case strings.HasPrefix(a, "--property="):
			properties = strings.TrimPrefix(a, "--property=")
		case strings.HasPrefix(a, "--"):
		default:
			words = append(words, a)
		}
	}
	if len(words) == 0 {
		return errors.New("no command")
	}
	if words[0] != "run-unit" && words[0] != "show" {
		if err := f.note(strings.Join(words, " ")); err != nil {
			return err
		}
	}
	switch {
	case words[0] == "daemon-reload" && len(words) == 1:
		return f.reload()
	case words[0] == "enable" || words[0] == "restart":
		return nil // of the agent's own unit: only noted
	case len(words) != 2:
		return fmt.Errorf("%q is not known to this fake", words)
	}
	name := words[1]
	switch words[0] {
	case "start":
		return f.start(name)
	case "run-unit":
		return f.run(name)
	case "stop":
		return f.stop(name)
	case "reset-failed":
		s := f.read(name)
		if !s.Failed {
			return nil
		}
		s.Failed = false
		return f.write(name, s)
	case "show":
		return f.show(name, properties)
	}
	return fmt.Errorf("%q is not known to this fake", words[0])
}

func (f *fake) note(line string) error {
	out, err := os.OpenFile(filepath.Join(f.dir, "calls"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	_, err = out.WriteString(line + "\n")
	return err
}

// hold takes a lock until its file is closed, or the process ends.
func hold(path string, how int) (*os.File, error) {
	lock, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|how); err != nil {
		lock.Close()
		return nil, err
	}
	return lock, nil
}

// reload makes units count as they are written now.
func (f *fake) reload() error {
	lock, err := hold(filepath.Join(f.dir, "reload.lock"), 0) // one at a time, as in systemd
	if err != nil {
		return err
	}
	defer lock.Close()
	old, _ := filepath.Glob(filepath.Join(f.dir, "loaded", "*.service"))
	for _, path := range old {
		if _, err := os.Stat(filepath.Join(f.dir, "units", filepath.Base(path))); err != nil {
			_ = os.Remove(path)
		}
	}
	units, _ := filepath.Glob(filepath.Join(f.dir, "units", "*.service"))
	for _, path := range units {
		b, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return err
		}
		if err := replace(filepath.Join(f.dir, "loaded", filepath.Base(path)), b); err != nil {
			return err
		}
	}
	return nil
}

func replace(path string, b []byte) error {
	tmp := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.WriteFile(tmp, b, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

func (f *fake) state(name string) string { return filepath.Join(f.dir, "state", name) }

func (f *fake) read(name string) (s state) {
	b, err := os.ReadFile(f.state(name))
	if err == nil {
		_ = json.Unmarshal(b, &s)
	}
	return s
}

func (f *fake) write(name string, s state) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return replace(f.state(name), b)
}

func (s state) active() bool {
	now, ok := startedAt(s.PID)
	return s.PID > 1 && ok && now == s.Ticks
}

// startedAt is when a living process began, as the kernel counts.
func startedAt(pid int) (string, bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if err != nil || len(fields) < 20 || fields[0] == "Z" {
		return "", false
	}
	return fields[19], true
}

// start has a process of its own stand for systemd's hold on the unit, and
// returns when the program was executed.
func (f *fake) start(name string) error {
	if f.read(name).active() {
		return nil
	}
	if _, err := os.Stat(filepath.Join(f.dir, "loaded", name)); err != nil {
		return fmt.Errorf("unit %s not found", name)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd := exec.Command(os.Args[0], "run-unit", name)
	cmd.ExtraFiles, cmd.SysProcAttr = []*os.File{w}, &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	w.Close()
	answer := make([]byte, 512)
	n, _ := r.Read(answer)
	if text := string(answer[:n]); text != "ok" {
		return fmt.Errorf("job for %s failed: %s", name, text)
	}
	return nil
}

// run is the unit's life.
func (f *fake) run(name string) error {
	answer := os.NewFile(3, "answer")
	fail := func(err error) error {
		_ = f.write(name, state{Failed: true})
		fmt.Fprint(answer, err)
		return err
	}
	// Held for the unit's life; the one before ends first.
	lock, err := hold(f.state(name)+".lock", 0)
	if err != nil {
		return fail(err)
	}
	defer lock.Close()
	u, err := f.load(name)
	if err != nil {
		return fail(err)
	}
	// systemd's own variables: a unit that wants none of them must see to it.
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "LANG=C.UTF-8", "INVOCATION_ID=0123456789abcdef"}
	for _, words := range u.pre {
		pre := exec.Command(words[0], words[1:]...)
		pre.Env = env
		if out, err := pre.CombinedOutput(); err != nil {
			return fail(fmt.Errorf("ExecStartPre: %w: %s", err, out))
		}
	}
	out, err := os.OpenFile(u.output, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fail(err)
	}
	cmd := exec.Command(u.start[0], u.start[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = u.dir, env, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fail(err)
	}
	pid := cmd.Process.Pid
	ticks, _ := startedAt(pid)
	if err := f.write(name, state{PID: pid, Ticks: ticks}); err != nil {
		return fail(err)
	}
	fmt.Fprint(answer, "ok")
	answer.Close()
	err = cmd.Wait()
	_ = syscall.Kill(-pid, syscall.SIGKILL) // KillMode=control-group
	s := state{Code: 1}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		s.Code, s.Status, s.Failed = 2, int(ws.Signal()), ws.Signal() != syscall.SIGTERM
	} else if err != nil {
		s.Status, s.Failed = cmd.ProcessState.ExitCode(), true
	}
	return f.write(name, s)
}

func (f *fake) stop(name string) error {
	s := f.read(name)
	if !s.active() {
		return nil
	}
	_ = syscall.Kill(s.PID, syscall.SIGTERM)
	lock, err := hold(f.state(name)+".lock", 0)
	if err != nil {
		return err
	}
	return lock.Close()
}

func (f *fake) show(name, properties string) error {
	s := f.read(name)
	v := map[string]string{"LoadState": "loaded", "ActiveState": "inactive", "MainPID": "0",
		"ExecMainCode": strconv.Itoa(s.Code), "ExecMainStatus": strconv.Itoa(s.Status)}
	if _, err := os.Stat(filepath.Join(f.dir, "loaded", name)); err != nil {
		v["LoadState"] = "not-found"
	}
	switch {
	case s.PID != 0:
		v["ActiveState"] = "deactivating" // its end is being written down
	case s.Failed:
		v["ActiveState"] = "failed"
	}
	if s.active() {
		v["ActiveState"], v["MainPID"] = "active", strconv.Itoa(s.PID)
	}
	for p := range strings.SplitSeq(properties, ",") {
		fmt.Printf("%s=%s\n", p, v[p])
	}
	return nil
}
