package guard

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"baton/control/agent/supervise"
)

// TestMain is the guardian where the test binary is started as one.
func TestMain(m *testing.M) {
	if dir := os.Getenv("BATON_TEST_GUARDIAN"); dir != "" {
		if err := Run(context.Background(), dir, slog.New(slog.DiscardHandler)); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// guardian starts one in a process of its own and waits until it watches.
func guardian(t *testing.T, dir string) (ended <-chan struct{}) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{"BATON_TEST_GUARDIAN=" + dir}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
	})
	eventually(t, "the guardian watches", func() bool { return Alive(dir) })
	return done
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(time.Minute); !ok(); <-tick.C {
		if time.Now().After(limit) {
			t.Fatal("waited in vain: " + what)
		}
	}
}

// engine is a process that stands for one, with a lease that ends at deadline.
func engine(t *testing.T, dir string, deadline time.Duration) (*exec.Cmd, *os.File) {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if err := os.MkdirAll(Dir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(File(dir, "c", "n"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	ticks, _ := supervise.StartedAt(cmd.Process.Pid)
	if err := Write(f, State{Generation: 1, Deadline: deadline, PID: cmd.Process.Pid, Ticks: ticks}); err != nil {
		t.Fatal(err)
	}
	return cmd, f
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// Goal: a guardian without work ends when it is dismissed, one with an engine
// to guard stays and still ends that engine, and the next agent gets a new one.
func TestADismissedGuardianLeavesOnlyWhenNothingIsToBeGuarded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "agent")
	if gone, err := Dismiss(within(t), dir); err != nil || !gone {
		t.Fatalf("where there never was one: %v, %v", gone, err)
	}
	cmd, f := engine(t, dir, Now()+time.Hour)
	ended := guardian(t, dir)
	if gone, err := Dismiss(within(t), dir); err != nil || gone || dismissed(dir) {
		t.Fatalf("with an engine to guard: %v, %v, asked to leave %v", gone, err, dismissed(dir))
	}
	ticks, _ := supervise.StartedAt(cmd.Process.Pid)
	if err := Write(f, State{Generation: 1, Deadline: Now(), PID: cmd.Process.Pid, Ticks: ticks}); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the engine was not ended")
	}
	if gone, err := Dismiss(within(t), dir); err != nil || !gone {
		t.Fatalf("with nothing to guard: %v, %v", gone, err)
	}
	<-ended
	if Alive(dir) {
		t.Error("its sign of life outlived it")
	}
	if err := Start([]string{"/bin/true"}, dir); err != nil || dismissed(dir) {
		t.Errorf("the next agent's guardian is dismissed: %v", err)
	}
	guardian(t, dir)
}
