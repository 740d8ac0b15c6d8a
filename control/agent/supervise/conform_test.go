package supervise

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"baton/control/agent/supervise/fakesystemd"
)

// testAFencedPrimaryStaysDown: what a hard fence ended is not started by
// anything but an order, over a restart of the supervisor too.
func testAFencedPrimaryStaysDown(t *testing.T, w world) {
	dir := t.TempDir()
	var fenced atomic.Bool
	gate := func(string) ([]string, bool, string) { return nil, !fenced.Load(), "it was the primary" }
	ended := make(chan string, 8)
	o := Options{Dir: dir, Gate: gate, OnEnd: func(name string) { ended <- name }}
	s := w.openWith(t, o)
	s.backoff = time.Millisecond
	pid := begin(t, s, sleeper(t, "primary"))
	fenced.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.Kill(ctx, "primary"); err != nil {
		t.Fatal(err)
	}
	if _, alive := startTicks(pid); alive {
		t.Fatal("it runs after Kill returned")
	}
	select {
	case <-ended:
	case <-ctx.Done():
		t.Fatal("nobody was told of its end")
	}
	down := func(s *Supervisor) func() bool {
		return func() bool {
			p := state(s, "primary")
			return p.State == StateStopped && p.PID == 0 && p.Exit == "it was the primary"
		}
	}
	poll(t, "the gate keeps it stopped", down(s))
	s.Close()
	s = w.openWith(t, o)
	poll(t, "the gate of the next supervisor keeps it stopped", down(s))
	pid, already, err := s.Resume("primary", nil)
	if err != nil || already {
		t.Fatalf("an order to start it: %v, %v", already, err)
	}
	t.Cleanup(func() { syscall.Kill(pid, syscall.SIGKILL) })
	if now, _, ok := s.Running("primary"); !ok || now != pid || pid < 2 {
		t.Errorf("running: %d, %v, started as %d", now, ok, pid)
	}
}

// testKillTakesWhatWasStarted: no child of a server outlives the fence.
func testKillTakesWhatWasStarted(t *testing.T, w world) {
	s := w.open(t, t.TempDir())
	spec := Spec{Name: "family", Path: "/bin/sh", Args: []string{"-c", `sleep 300 & echo $! > child; wait`}, Dir: t.TempDir(), Env: []string{"PATH=/usr/bin:/bin"}, Restart: RestartNever}
	pid := begin(t, s, spec)
	t.Cleanup(func() { syscall.Kill(-pid, syscall.SIGKILL) })
	poll(t, "its child runs", func() bool {
		b, err := os.ReadFile(filepath.Join(spec.Dir, "child"))
		return err == nil && strings.HasSuffix(string(b), "\n")
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.Kill(ctx, "family"); err != nil {
		t.Fatal(err)
	}
	poll(t, "the whole group is gone", func() bool { return errors.Is(syscall.Kill(-pid, 0), syscall.ESRCH) })
	poll(t, "its state says so", func() bool { return state(s, "family").State == StateStopped })
}

// testArgumentsOfOneRunAreGoneWithIt: what Resume adds is not there at the next
// start, and every argument arrives as it was given.
func testArgumentsOfOneRunAreGoneWithIt(t *testing.T, w world) {
	s := w.open(t, t.TempDir())
	s.backoff = time.Millisecond
	dir := t.TempDir()
	odd := []string{"a b", `"quoted"`, `back\slash`, "100% $HOME ${PATH}", "semi;colon", "", "'"}
	script := `printf '%s\n' "$@" > new; mv new out.$(ls out.* 2>/dev/null | wc -l); exec sleep 300`
	begin(t, s, Spec{Name: "args", Path: "/bin/sh", Args: append([]string{"-c", script, "sh"}, odd...), Dir: dir, Env: []string{"PATH=/usr/bin:/bin"}})
	read := func(n string) string {
		poll(t, "run "+n+" wrote its arguments", func() bool { _, err := os.Stat(filepath.Join(dir, "out."+n)); return err == nil })
		b, _ := os.ReadFile(filepath.Join(dir, "out."+n))
		return string(b)
	}
	if want := strings.Join(odd, "\n") + "\n"; read("0") != want {
		t.Errorf("arguments arrive as\n%swant\n%s", read("0"), want)
	}
	if err := s.Stop(context.Background(), "args", 0, false); err != nil {
		t.Fatal(err)
	}
	pid, _, err := s.Resume("args", []string{"--replicaof", "10.0.0.1", "6379"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Kill(pid, syscall.SIGKILL) })
	if got := read("1"); !strings.HasSuffix(got, "--replicaof\n10.0.0.1\n6379\n") {
		t.Errorf("with further arguments: %s", got)
	}
	syscall.Kill(pid, syscall.SIGKILL)
	if got := read("2"); strings.Contains(got, "--replicaof") {
		t.Errorf("the next run has them again: %s", got)
	}
	if err := s.Stop(context.Background(), "args", 0, true); err != nil {
		t.Fatal(err)
	}
}

func testWhatCannotStartIsToldAtOnce(t *testing.T, w world) {
	s := w.open(t, t.TempDir())
	for what, spec := range map[string]Spec{
		"no such program": {Name: "a", Path: "/no/such/program", Dir: t.TempDir()},
		"not a program":   {Name: "b", Path: "/etc/passwd", Dir: t.TempDir()},
	} {
		if _, _, err := s.Start(spec); err == nil || !strings.Contains(err.Error(), spec.Path) {
			t.Errorf("%s: %v", what, err)
		}
		if p := state(s, spec.Name); p.State != StateFailed {
			t.Errorf("%s: %+v", what, p)
		}
	}
}

// TestOnlyTheSupervisorStartsAUnit: neither a person nor systemd brings an
// engine back; the supervisor that asked its gate does.
func TestOnlyTheSupervisorStartsAUnit(t *testing.T) {
	w := world{kind: KindSystemd, systemd: Systemd(fakesystemd.Install(t))}
	s := w.open(t, t.TempDir())
	begin(t, s, sleeper(t, "primary"))
	if err := s.Stop(context.Background(), "primary", 0, false); err != nil {
		t.Fatal(err)
	}
	u := s.by.(*units)
	poll(t, "the unit is inactive", func() bool { return u.running("primary") == 0 })
	if _, err := u.call("start", u.unit("primary")); err == nil || !strings.Contains(err.Error(), "ExecStartPre") {
		t.Errorf("somebody else started it: %v", err)
	}
	b, err := os.ReadFile(u.path("primary"))
	if err != nil || !strings.Contains(string(b), "\nRestart=no\n") {
		t.Errorf("the unit: %s, %v", b, err)
	}
	if err := s.Stop(context.Background(), "primary", 0, true); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(u.path("primary")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the unit of a process that is forgotten stays: %v", err)
	}
}

// TestTheKindMayChangeWhileServersRun: each kind adopts what the other began.
func TestTheKindMayChangeWhileServersRun(t *testing.T) {
	systemd := world{kind: KindSystemd, systemd: Systemd(fakesystemd.Install(t))}
	child := world{kind: KindChild}
	dir := t.TempDir()
	s := child.open(t, dir)
	a := begin(t, s, sleeper(t, "a"))
	s.Close()
	s = systemd.open(t, dir)
	b := begin(t, s, sleeper(t, "b"))
	s.Close()
	// The record of b is lost: its unit still names it.
	if err := os.Remove(filepath.Join(dir, "processes", "b.pid.json")); err != nil {
		t.Fatal(err)
	}
	for _, w := range []world{systemd, child} {
		s = w.open(t, dir)
		if p, q := state(s, "a"), state(s, "b"); p.PID != a || q.PID != b || !p.Adopted || !q.Adopted || s.Kind() != w.kind {
			t.Errorf("under %s: %+v, %+v", w.kind, p, q)
		}
		s.Close()
	}
	s = child.open(t, dir)
	if err := s.Stop(context.Background(), "b", 0, true); err != nil {
		t.Errorf("end what a unit carries: %v", err)
	}
}

func TestTheKindIsChosenWithAReason(t *testing.T) {
	fake := Systemd(fakesystemd.Install(t))
	t.Setenv(underSystemd, "")
	s, err := OpenWith(Options{Dir: t.TempDir(), Log: quiet(), Kind: KindAuto, Systemd: fake})
	if err != nil || s.Kind() != KindChild {
		t.Errorf("started by hand: %v, %v", s, err)
	}
	t.Setenv(underSystemd, "0123456789abcdef")
	for _, c := range []struct {
		kind    string
		systemd Systemd
		want    string
	}{{"", fake, KindChild}, {KindChild, fake, KindChild}, {KindAuto, fake, KindSystemd}, {KindAuto, Systemd{Systemctl: "/no/systemctl"}, KindChild}} {
		s, err := OpenWith(Options{Dir: t.TempDir(), Log: quiet(), Kind: c.kind, Systemd: c.systemd})
		if err != nil || s.Kind() != c.want {
			t.Errorf("%q: %v, %v", c.kind, s, err)
			continue
		}
		s.Close()
	}
	for _, kind := range []string{KindSystemd, "openrc"} {
		if _, err := OpenWith(Options{Dir: t.TempDir(), Log: quiet(), Kind: kind, Systemd: Systemd{Systemctl: "/no/systemctl"}}); err == nil {
			t.Errorf("%s is taken", kind)
		}
	}
}
