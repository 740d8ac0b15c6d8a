package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"baton/control/agent/supervise/fakesystemd"
	"baton/control/engine"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// world is one kind of supervision under the conformance suite.
type world struct {
	kind    string
	systemd Systemd
}

func (w world) open(t *testing.T, dir string) *Supervisor {
	t.Helper()
	return w.openWith(t, Options{Dir: dir})
}

func (w world) openWith(t *testing.T, o Options) *Supervisor {
	t.Helper()
	o.Log, o.Kind, o.Systemd = quiet(), w.kind, w.systemd
	s, err := OpenWith(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestMain(m *testing.M) {
	fakesystemd.Serve()
	os.Setenv("CANARY", "secret") // no process may see it
	os.Exit(m.Run())
}

// TestConformance: whatever carries the processes, the same holds. systemd is
// the real one where it runs and takes our commands, else a fake of ours.
func TestConformance(t *testing.T) {
	worlds := []world{{kind: KindChild}, {kind: KindSystemd, systemd: Systemd(fakesystemd.Install(t))}}
	names := []string{"children", "fake-systemd"}
	if err := (Systemd{}).Usable(); err == nil {
		worlds, names = append(worlds, world{kind: KindSystemd}), append(names, "systemd")
	} else {
		t.Logf("without the real systemd: %v", err)
	}
	for i, w := range worlds {
		for name, test := range map[string]func(*testing.T, world){
			"NextSupervisorAdoptsByRecordOrByMark":                    testNextSupervisorAdoptsByRecordOrByMark,
			"AReusedPidIsNotAdoptedNorKilled":                         testAReusedPidIsNotAdoptedNorKilled,
			"StopInsistsAndStaysStopped":                              testStopInsistsAndStaysStopped,
			"AStopThatWasCutShortIsFinished":                          testAStopThatWasCutShortIsFinished,
			"AProcessSeesOnlyItsOwnEnvironmentAndFilesAreWrittenOnce": testAProcessSeesOnlyItsOwnEnvironmentAndFilesAreWrittenOnce,
			"ACrashedProcessIsStartedAgain":                           testACrashedProcessIsStartedAgain,
			"AProcessThatCannotStayUpStaysDownAndSaysWhy":             testAProcessThatCannotStayUpStaysDownAndSaysWhy,
			"AFencedPrimaryStaysDown":                                 testAFencedPrimaryStaysDown,
			"KillTakesWhatWasStarted":                                 testKillTakesWhatWasStarted,
			"ArgumentsOfOneRunAreGoneWithIt":                          testArgumentsOfOneRunAreGoneWithIt,
			"WhatCannotStartIsToldAtOnce":                             testWhatCannotStartIsToldAtOnce,
		} {
			t.Run(names[i]+"/"+name, func(t *testing.T) { t.Parallel(); test(t, w) })
		}
	}
}

// sleeper is a process that does nothing until it is told to end.
func sleeper(t *testing.T, name string) Spec {
	t.Helper()
	return Spec{Name: name, Path: "/bin/sleep", Args: []string{"300"}, Dir: filepath.Join(t.TempDir(), name), StopGrace: 2 * time.Second}
}

func begin(t *testing.T, s *Supervisor, spec Spec) int {
	t.Helper()
	pid, _, err := s.Start(spec)
	if err != nil {
		t.Fatal(err)
	}
	if pid > 1 { // else it has ended already
		t.Cleanup(func() { syscall.Kill(pid, syscall.SIGKILL) })
	}
	return pid
}

func state(s *Supervisor, name string) engine.ProcessState {
	for _, p := range s.States() {
		if p.Name == name {
			return p
		}
	}
	return engine.ProcessState{}
}

func poll(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline, tick := time.Now().Add(time.Minute), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain: " + what)
		}
		<-tick.C
	}
}

func testNextSupervisorAdoptsByRecordOrByMark(t *testing.T, w world) {
	dir := t.TempDir()
	s := w.open(t, dir)
	recorded, marked := begin(t, s, sleeper(t, "recorded")), begin(t, s, sleeper(t, "marked"))
	s.Close()
	// As if the supervisor had died between starting it and recording it.
	if err := os.Remove(filepath.Join(dir, "processes", "marked.pid.json")); err != nil {
		t.Fatal(err)
	}
	s = w.open(t, dir)
	for name, pid := range map[string]int{"recorded": recorded, "marked": marked} {
		if p := state(s, name); p.PID != pid || !p.Adopted || p.State != StateRunning {
			t.Errorf("%s (pid %d): %+v", name, pid, p)
		}
	}
}

func testAReusedPidIsNotAdoptedNorKilled(t *testing.T, w world) {
	dir := t.TempDir()
	s := w.open(t, dir)
	pid := begin(t, s, sleeper(t, "a"))
	if err := s.Stop(context.Background(), "a", 0, false); err != nil {
		t.Fatal(err)
	}
	s.Close()
	// The record now names this very test, with another start time.
	ticks, _ := startTicks(os.Getpid())
	record := fmt.Sprintf(`{"pid":%d,"startTicks":%d,"bootId":%q}`, os.Getpid(), ticks+1, bootID())
	if err := os.WriteFile(filepath.Join(dir, "processes", "a.pid.json"), []byte(record), 0o600); err != nil {
		t.Fatal(err)
	}
	s = w.open(t, dir)
	if p := state(s, "a"); p.State != StateStopped || p.PID != 0 || p.Adopted {
		t.Errorf("a foreign process was taken: %+v (was %d)", p, pid)
	}
	if err := s.Stop(context.Background(), "a", 0, false); err != nil {
		t.Error(err)
	}
}

func testStopInsistsAndStaysStopped(t *testing.T, w world) {
	dir := t.TempDir()
	s := w.open(t, dir)
	spec := Spec{Name: "stubborn", Path: "/bin/sh", Args: []string{"-c", `trap "" TERM; echo ready > ready; while :; do sleep 1; done`},
		Dir: t.TempDir(), Env: []string{"PATH=/usr/bin:/bin"}, StopGrace: 200 * time.Millisecond}
	pid := begin(t, s, spec)
	t.Cleanup(func() { syscall.Kill(-pid, syscall.SIGKILL) })
	poll(t, "it ignores TERM", func() bool {
		_, err := os.Stat(filepath.Join(spec.Dir, "ready"))
		return err == nil
	})
	if err := s.Stop(context.Background(), "stubborn", 0, false); err != nil {
		t.Fatal(err)
	}
	if _, alive := startTicks(pid); alive {
		t.Error("it still runs")
	}
	poll(t, "what it started has ended with it", func() bool { return errors.Is(syscall.Kill(-pid, 0), syscall.ESRCH) })
	if err := s.Stop(context.Background(), "nobody", 0, false); !errors.Is(err, ErrUnknown) {
		t.Errorf("unknown process: %v", err)
	}
	s.Close()
	s = w.open(t, dir)
	if p := state(s, "stubborn"); p.State != StateStopped {
		t.Errorf("after the next start: %+v", p)
	}
	if err := s.Stop(context.Background(), "stubborn", 0, true); err != nil {
		t.Fatal(err)
	}
	if len(s.States()) != 0 {
		t.Errorf("forgotten, and yet %+v", s.States())
	}
}

func testAStopThatWasCutShortIsFinished(t *testing.T, w world) {
	dir := t.TempDir()
	s := w.open(t, dir)
	pid := begin(t, s, sleeper(t, "a"))
	s.Close()
	// As if the supervisor had died after it wrote down what it was about to do.
	path := filepath.Join(dir, "processes", "a.spec.json")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(b), `"stopped": false`, `"stopped": true`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	s = w.open(t, dir)
	poll(t, "it is stopped", func() bool {
		_, alive := startTicks(pid)
		return !alive && state(s, "a").State == StateStopped
	})
}

func testAProcessSeesOnlyItsOwnEnvironmentAndFilesAreWrittenOnce(t *testing.T, w world) {
	s := w.open(t, t.TempDir())
	spec := Spec{Name: "env", Path: "/usr/bin/env", Dir: filepath.Join(t.TempDir(), "d"), Env: []string{"ONLY=this"}, Restart: RestartNever,
		Files: []File{{Name: "conf/a", Data: []byte("first")}}}
	begin(t, s, spec)
	poll(t, "it ended", func() bool { return state(s, "env").State == StateStopped && state(s, "env").Exit != "" })
	out, err := os.ReadFile(state(s, "env").LogFile)
	if err != nil || !strings.Contains(string(out), "ONLY=this") || strings.Contains(string(out), "CANARY") || strings.Contains(string(out), "PATH") {
		t.Errorf("environment: %s, %v", out, err)
	}
	file := filepath.Join(spec.Dir, "conf/a")
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("file: %v, %v", st, err)
	}
	if err := os.WriteFile(file, []byte("the program's own"), 0o600); err != nil {
		t.Fatal(err)
	}
	begin(t, s, spec)
	if b, _ := os.ReadFile(file); string(b) != "the program's own" {
		t.Errorf("a program's file was overwritten: %s", b)
	}
}

func testACrashedProcessIsStartedAgain(t *testing.T, w world) {
	s := w.open(t, t.TempDir())
	pid := begin(t, s, sleeper(t, "a"))
	syscall.Kill(pid, syscall.SIGKILL)
	poll(t, "a new process", func() bool {
		p := state(s, "a")
		return p.State == StateRunning && p.PID != pid && p.Restarts == 1
	})
	now := state(s, "a").PID
	t.Cleanup(func() { syscall.Kill(now, syscall.SIGKILL) })
	if p := state(s, "a"); !strings.Contains(p.Exit, "killed") && (w.kind == KindChild || p.Exit != unknownEnd) { // systemd may tell too late
		t.Errorf("its last exit is told as %q", p.Exit)
	}
	if again, already, err := s.Start(sleeper(t, "a")); err != nil || !already || again != now {
		t.Errorf("start while it runs: %d, %v, %v", again, already, err)
	}
}

func testAProcessThatCannotStayUpStaysDownAndSaysWhy(t *testing.T, w world) {
	s := w.open(t, t.TempDir())
	s.backoff = time.Millisecond
	begin(t, s, Spec{Name: "broken", Path: "/bin/false", Dir: t.TempDir()})
	poll(t, "it stays down", func() bool { return state(s, "broken").State == StateFailed })
	if p := state(s, "broken"); p.Restarts != maxShortRuns || !strings.Contains(p.Exit, "in a row") || !strings.Contains(p.Exit, p.LogFile) {
		t.Errorf("state %+v", p)
	}
	// A person's start gives it a new chance.
	begin(t, s, Spec{Name: "broken", Path: "/bin/sleep", Args: []string{"300"}, Dir: t.TempDir()})
	if p := state(s, "broken"); p.State != StateRunning {
		t.Errorf("after a start by hand: %+v", p)
	}
}

func TestSpecsThatCannotBeMeantAreRefused(t *testing.T) {
	good := Spec{Name: "a", Path: "/bin/true", Dir: "/tmp/x"}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*Spec){
		"name with a slash":  func(s *Spec) { s.Name = "../a" },
		"relative program":   func(s *Spec) { s.Path = "true" },
		"relative directory": func(s *Spec) { s.Dir = "x" },
		"NUL in an argument": func(s *Spec) { s.Args = []string{"a\x00b"} },
		"file outside":       func(s *Spec) { s.Files = []File{{Name: "../../etc/passwd"}} },
		"absolute file":      func(s *Spec) { s.Files = []File{{Name: "/etc/passwd"}} },
		"unknown policy":     func(s *Spec) { s.Restart = "sometimes" },
		"negative grace":     func(s *Spec) { s.StopGrace = -1 },
	} {
		bad := good
		change(&bad)
		if err := bad.Check(); err == nil {
			t.Errorf("%s was accepted", what)
		}
	}
	// A link inside the directory does not lead a file out of it.
	w := world{kind: KindChild}
	dir, outside := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	s := w.open(t, t.TempDir())
	if _, _, err := s.Start(Spec{Name: "b", Path: "/bin/true", Dir: dir, Files: []File{{Name: "link/f", Data: []byte("x")}}}); err == nil {
		t.Error("a file was written through a link to the outside")
	}
	if _, err := os.Stat(filepath.Join(outside, "f")); err == nil {
		t.Error("the file is outside")
	}
}
