// Package guard ends a primary's engine when the agent beside it cannot: a
// small process of its own watches the deadlines that the agent keeps moving
// forward, and kills the engine whose deadline has passed.
//
// It covers an agent that was killed, froze or starved while the engine ran
// on. It cannot cover a machine that is frozen as a whole: see
// docs/guarantees.md.
//
// The agent writes one State file per lease with plain writes, so that they
// survive its own end but not the machine's, which ends the engine too.
package guard

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"baton/control/agent/supervise"
)

// Poll is how often the guardian looks.
const Poll = 50 * time.Millisecond

// freshBeat is the age up to which a guardian's sign of life counts.
const freshBeat = 2 * time.Second

// Now is the time since the machine was booted, also while it slept.
func Now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("the boot clock cannot be read: " + err.Error()) // every supported kernel has it
	}
	return time.Duration(ts.Nano())
}

// State is one lease as the agent left it. Moments are of Now.
type State struct {
	Generation uint64
	// Deadline is when the engine is to be ended; 0 never.
	Deadline time.Duration
	// Good is when the last granted renewal was sent; 0: none ever was.
	Good  time.Duration
	TTL   time.Duration
	PID   int
	Ticks uint64 // start of the process, see supervise.Alive
}

const stateBytes = 64

// Dir is where an agent's states are.
func Dir(agentDir string) string { return filepath.Join(agentDir, "leases") }

// File is the state file of an instance.
func File(agentDir, cluster, node string) string {
	return filepath.Join(Dir(agentDir), cluster+"."+node+".state")
}

// Write replaces the state in an open file with one write.
func Write(f *os.File, s State) error {
	var b [stateBytes]byte
	for i, v := range []uint64{s.Generation, uint64(s.Deadline), uint64(s.Good), uint64(s.TTL), uint64(s.PID), s.Ticks, boot()} {
		binary.LittleEndian.PutUint64(b[8+8*i:], v)
	}
	binary.LittleEndian.PutUint32(b[:], crc32.ChecksumIEEE(b[8:]))
	_, err := f.WriteAt(b[:], 0)
	return err
}

// Read returns the state in a file; ok is false when there is none of this
// boot of the machine.
func Read(path string) (s State, ok bool) {
	b, err := os.ReadFile(path)
	if err != nil || len(b) != stateBytes || binary.LittleEndian.Uint32(b) != crc32.ChecksumIEEE(b[8:]) {
		return s, false
	}
	v := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8+8*i:]) }
	if v(6) != boot() {
		return s, false
	}
	return State{Generation: v(0), Deadline: time.Duration(v(1)), Good: time.Duration(v(2)), TTL: time.Duration(v(3)), PID: int(v(4)), Ticks: v(5)}, true
}

// boot is a digest of the boot's id.
func boot() uint64 {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return 0
	}
	return uint64(crc32.ChecksumIEEE(bytes.TrimSpace(b)))
}

func lockFile(agentDir string) string { return filepath.Join(Dir(agentDir), "guardian.lock") }
func beatFile(agentDir string) string { return filepath.Join(Dir(agentDir), "guardian.beat") }

// Alive tells whether a guardian watches over the directory at this moment.
func Alive(agentDir string) bool {
	b, err := os.ReadFile(beatFile(agentDir))
	if err != nil || len(b) != 16 || binary.LittleEndian.Uint64(b[8:]) != boot() {
		return false
	}
	age := Now() - time.Duration(binary.LittleEndian.Uint64(b))
	return age >= 0 && age < freshBeat
}

// Start starts a guardian in a session of its own, so that it outlives the
// agent, unless one lives. command is the program and its arguments before the
// directory.
func Start(command []string, agentDir string) error {
	if len(command) == 0 {
		return nil
	}
	if err := os.Remove(dismissal(agentDir)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("keep the guardian of leases: %w", err)
	}
	if Alive(agentDir) {
		return nil
	}
	cmd := exec.Command(command[0], append(command[1:len(command):len(command)], agentDir)...)
	cmd.Env, cmd.Dir = []string{"PATH=/usr/bin:/bin"}, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the guardian of leases: %w", err)
	}
	go func() { _ = cmd.Wait() }()
	return nil
}

// idle is how long a guardian stays when there is nothing to guard.
const idle = 30 * time.Second

// Run watches until ctx ends, another guardian has the directory, or there is
// nothing to guard: for a while, or at once where it was dismissed.
func Run(ctx context.Context, agentDir string, log *slog.Logger) error {
	if err := os.MkdirAll(Dir(agentDir), 0o700); err != nil {
		return fmt.Errorf("make the directory of leases: %w", err)
	}
	lock, err := os.OpenFile(lockFile(agentDir), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("lock the directory of leases: %w", err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil // another one guards already
	}
	if err := lock.Truncate(0); err == nil { // for people who look, and for Dismiss
		ticks, _ := supervise.StartedAt(os.Getpid())
		_, _ = fmt.Fprintf(lock, "%d %d\n", os.Getpid(), ticks)
	}
	beat, err := os.OpenFile(beatFile(agentDir), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("open the sign of life: %w", err)
	}
	defer beat.Close()
	// An agent that begins anew must not take this one's last sign for life.
	defer func() { _ = beat.Truncate(0) }()
	// Ahead of the engine where the machine permits it: it has little to do.
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, -10)
	tick := time.NewTicker(Poll)
	defer tick.Stop()
	quiet := Now() // the last moment with something to guard
	for {
		now := Now()
		var b [16]byte
		binary.LittleEndian.PutUint64(b[:], uint64(now))
		binary.LittleEndian.PutUint64(b[8:], boot())
		if _, err := beat.WriteAt(b[:], 0); err != nil {
			return fmt.Errorf("write the sign of life: %w", err)
		}
		if look(agentDir, now, log) {
			quiet = now
		}
		if now != quiet && (now-quiet > idle || dismissed(agentDir)) {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look ends what has passed its deadline and tells whether anything is guarded.
func look(agentDir string, now time.Duration, log *slog.Logger) (guarded bool) {
	files, err := os.ReadDir(Dir(agentDir))
	if err != nil {
		return false
	}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".state") {
			continue
		}
		s, ok := Read(filepath.Join(Dir(agentDir), f.Name()))
		if !ok || s.Deadline == 0 || s.PID <= 1 || !supervise.Alive(s.PID, s.Ticks) {
			continue
		}
		guarded = true
		if now <= s.Deadline {
			continue
		}
		log.Warn("the lease was not renewed and the agent did not act: the engine is ended", "lease", f.Name(), "generation", s.Generation,
			"pid", s.PID, "overdue", now-s.Deadline)
		if err := syscall.Kill(s.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			log.Error("the engine could not be ended", "pid", s.PID, "err", err)
		}
	}
	return guarded
}
