package main

import (
	"os"
	"slices"
	"strings"
	"syscall"
)

// faultVariable is for tests of the control plane. It names a file. Whenever
// an operation reaches a moment whose name stands in that file (package
// executor lists them), all names of the moment are written beside it, into
// the file with ".hit" added, the file is removed, and the process kills
// itself as kill -9 would. Where the variable is not set there is no such
// moment.
const faultVariable = "BATON_FAULT_FILE"

// faultPoint is executor's Options.Fault as the environment says; nil without.
func faultPoint() func(points []string) {
	path := os.Getenv(faultVariable)
	if path == "" {
		return nil
	}
	return func(points []string) {
		b, err := os.ReadFile(path)
		if err != nil || !slices.Contains(points, strings.TrimSpace(string(b))) {
			return
		}
		_ = os.WriteFile(path+".hit", []byte(strings.Join(points, "\n")+"\n"), 0o600)
		_ = os.Remove(path)
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // the signal is on its way: nothing more is done
	}
}
