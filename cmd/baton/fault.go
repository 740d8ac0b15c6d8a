package main

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// faultVariable is for tests of the control plane. It names a file, which names
// a moment and may name a process. Whenever an operation reaches a moment whose
// name stands in that file (package executor lists them), all names of the
// moment are written beside it, into the file with ".hit" added, the file is
// removed, and the process is killed as kill -9 would: the one that is named by
// its number, after which this one goes on, else this one itself. Where the
// variable is not set there is no such moment.
const faultVariable = "BATON_FAULT_FILE"

// faultPoint is executor's Options.Fault as the environment says; nil without.
func faultPoint() func(points []string) {
	path := os.Getenv(faultVariable)
	if path == "" {
		return nil
	}
	return func(points []string) {
		b, err := os.ReadFile(path)
		point, victim, named := strings.Cut(strings.TrimSpace(string(b)), " ")
		if err != nil || !slices.Contains(points, point) {
			return
		}
		_ = os.WriteFile(path+".hit", []byte(strings.Join(points, "\n")+"\n"), 0o600)
		_ = os.Remove(path)
		pid := os.Getpid()
		if named {
			if pid, err = strconv.Atoi(victim); err != nil || pid < 2 {
				return // not a process of the test's
			}
		}
		_ = syscall.Kill(pid, syscall.SIGKILL)
		if !named {
			select {} // the signal is on its way: nothing more is done
		}
	}
}
