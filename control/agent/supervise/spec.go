// Package supervise keeps processes running that must outlive their
// supervisor: each is started in a session of its own, recorded with its pid
// and start time, and adopted by the next supervisor of the same directory.
//
// A process is started by an argument vector with exactly the environment of
// its Spec, no shell, its output in a log file. What is stored is 0600.
// A Supervisor may be used from many goroutines.
package supervise

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"baton/platform/identity"
)

// Restart policies.
const (
	RestartAlways = "always" // whenever it ends without having been told to
	RestartNever  = "never"
)

// Spec is what the supervisor needs to know of a process. It is stored, so
// secrets belong into Files, which are written 0600, never into Args.
type Spec struct {
	Name string `json:"name"` // ^[a-z][a-z0-9-]{0,62}$
	// Path is the program, absolute. Args are its arguments without the
	// program's own name.
	Path string   `json:"path"`
	Args []string `json:"args"`
	// Env is the whole environment, "NAME=value".
	Env []string `json:"env,omitempty"`
	// Dir is the working directory, absolute; made 0700 when missing.
	Dir string `json:"dir"`
	// Files are written below Dir before the first start, and never again when
	// they exist: programs rewrite their own files.
	Files []File `json:"files,omitempty"`
	// Restart is a policy; empty means RestartAlways.
	Restart string `json:"restart,omitempty"`
	// StopGrace is the time between the request to end and the kill; 0 means 10 s.
	StopGrace time.Duration `json:"stopGraceNs,omitempty"`
}

// File is one file of a process.
type File struct {
	Name string `json:"name"` // relative to Spec.Dir, stays inside it
	Data []byte `json:"data"`
}

var namePattern = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// Check refuses a spec that could not be started as it says.
func (s Spec) Check() error {
	switch {
	case !namePattern.MatchString(s.Name):
		return fmt.Errorf("process name %q is not of the form %s", s.Name, namePattern)
	case !filepath.IsAbs(s.Path):
		return fmt.Errorf("program %q of process %s is not an absolute path", s.Path, s.Name)
	case !filepath.IsAbs(s.Dir):
		return fmt.Errorf("directory %q of process %s is not an absolute path", s.Dir, s.Name)
	case s.Restart != "" && s.Restart != RestartAlways && s.Restart != RestartNever:
		return fmt.Errorf("restart policy %q of process %s is not known", s.Restart, s.Name)
	case s.StopGrace < 0:
		return fmt.Errorf("grace time of process %s is negative", s.Name)
	}
	for _, a := range append(append([]string{s.Path}, s.Args...), s.Env...) {
		if strings.ContainsRune(a, 0) {
			return fmt.Errorf("an argument of process %s holds a NUL", s.Name)
		}
	}
	for _, f := range s.Files {
		if !filepath.IsLocal(f.Name) {
			return fmt.Errorf("file %q of process %s is outside its directory", f.Name, s.Name)
		}
	}
	return nil
}

func (s Spec) grace() time.Duration {
	if s.StopGrace == 0 {
		return 10 * time.Second
	}
	return s.StopGrace
}

// prepare makes the directory and the files that do not exist yet.
func (s Spec) prepare() error {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return fmt.Errorf("make directory of process %s: %w", s.Name, err)
	}
	root, err := os.OpenRoot(s.Dir)
	if err != nil {
		return fmt.Errorf("open directory of process %s: %w", s.Name, err)
	}
	defer root.Close()
	for _, f := range s.Files {
		if err := createFile(root, f); err != nil {
			return fmt.Errorf("write file %s of process %s: %w", f.Name, s.Name, err)
		}
	}
	return nil
}

// createFile writes f whole or not at all; an existing file stays.
func createFile(root *os.Root, f File) error {
	if _, err := root.Lstat(f.Name); err == nil {
		return nil
	}
	if dir := filepath.Dir(f.Name); dir != "." {
		if err := root.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	tmp := f.Name + ".new"
	_ = root.Remove(tmp) // of an earlier attempt that was cut short
	out, err := root.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = out.Write(f.Data)
	if err == nil {
		err = out.Sync()
	}
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = root.Rename(tmp, f.Name)
	}
	return err
}

// record is what is stored of a process: its spec, what is wanted, and the
// process last started.
type record struct {
	Spec    Spec `json:"spec"`
	Stopped bool `json:"stopped"` // wanted stopped
}

// running identifies a process beyond reuse of its pid.
type running struct {
	PID       int       `json:"pid"`
	Ticks     uint64    `json:"startTicks"` // field 22 of /proc/PID/stat
	BootID    string    `json:"bootId"`
	StartedAt time.Time `json:"startedAt"`
}

func readJSON(path string, into any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return identity.WriteFile(path, b, 0o600)
}

func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
