// Command tally runs one ring of the test suite, shows what failed, and keeps
// its counts, so that `make test` can close with one line for all rings.
//
//	tally check   RING -- COMMAND...          the command is one test: exit 0 passes
//	tally go      RING -- go test -json ...   counts the tests of a `go test -json` stream
//	tally vitest  RING FILE -- COMMAND...     counts the tests of vitest's JSON report FILE
//	tally skip    RING REASON                 one skipped test, with the reason
//	tally report                              table of all rings, closing line, exit 1 if any failed
//	tally reset                               forgets earlier counts
//
// A test is a leaf: a Go test that has subtests is not counted beside them. Counts stand
// in artifacts/tally/RING.json (directory: $TEST_ARTIFACTS, default artifacts).
// The report tells every failure again with the end of its output, then each ring, then the total: whoever sees only
// the last lines of a log knows what failed.
// A line of test output that holds "=> " is always shown: that is how a passing test prints
// the figures it measured.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"time"
)

// counts is what one ring adds to the total.
type counts struct {
	Ring    string   `json:"ring"`
	Passed  int      `json:"passed"`
	Failed  int      `json:"failed"`
	Skipped int      `json:"skipped"`
	Seconds float64  `json:"seconds"`
	Names   []string `json:"failedTests,omitempty"` // what failed, in order of appearance
	Reasons []string `json:"skipReasons,omitempty"` // why something was skipped
	Order   int64    `json:"order"`                 // unix nanoseconds at the end, to list rings as they ran
	// Failures are told again at the end of the report, in order of appearance.
	Failures []failure `json:"failures,omitempty"`
	// Packages are how long each package took, for those who want it shorter.
	Packages map[string]float64 `json:"packages,omitempty"`
}

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	args := os.Args[2:]
	var err error
	switch os.Args[1] {
	case "check":
		ring, command := split(args, 1)
		err = runCheck(ring[0], command)
	case "go":
		ring, command := split(args, 1)
		err = runGo(ring[0], command)
	case "vitest":
		ring, command := split(args, 2)
		err = runVitest(ring[0], ring[1], command)
	case "skip":
		if len(args) < 2 {
			usage()
		}
		reason := strings.Join(args[1:], " ")
		fmt.Printf("-- %s: skipped: %s\n", args[0], reason)
		err = save(counts{Ring: args[0], Skipped: 1, Reasons: []string{reason}})
	case "report":
		err = report()
	case "reset":
		err = os.RemoveAll(dir())
	default:
		usage()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tally:", err)
		os.Exit(1)
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: tally check|go|vitest RING [FILE] -- COMMAND... | skip RING REASON | report | reset")
	os.Exit(2)
}

// split cuts args into n words and the command behind "--".
func split(args []string, n int) (words, command []string) {
	if len(args) < n+2 || args[n] != "--" {
		usage()
	}
	return args[:n], args[n+1:]
}

var errFailed = errors.New("not all passed")

func dir() string {
	base := os.Getenv("TEST_ARTIFACTS")
	if base == "" {
		base = "artifacts"
	}
	return filepath.Join(base, "tally")
}

func save(c counts) error {
	c.Order = time.Now().UnixNano()
	if err := os.MkdirAll(dir(), 0o755); err != nil {
		return err
	}
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir(), c.Ring+".json"), b, 0o644)
}

// finish prints and keeps a ring's counts; its error says that something failed.
func finish(c counts, started time.Time) error {
	c.Seconds = time.Since(started).Seconds()
	fmt.Printf("-- %s: %s in %.0f s\n", c.Ring, line(c), c.Seconds)
	if err := save(c); err != nil {
		return err
	}
	if c.Failed > 0 {
		return fmt.Errorf("%s: %w", c.Ring, errFailed)
	}
	return nil
}

func line(c counts) string {
	s := fmt.Sprintf("%d passed, %d failed", c.Passed, c.Failed)
	if c.Skipped > 0 {
		s += fmt.Sprintf(", %d skipped", c.Skipped)
	}
	return s
}

func runCheck(ring string, command []string) error {
	started := time.Now()
	cmd := exec.Command(command[0], command[1:]...)
	var end tail
	cmd.Stdout, cmd.Stderr = io.MultiWriter(os.Stdout, &end), io.MultiWriter(os.Stderr, &end)
	c := counts{Ring: ring, Passed: 1}
	if err := cmd.Run(); err != nil {
		fmt.Printf("%s: %s: %v\n", ring, strings.Join(command, " "), err)
		c = counts{Ring: ring, Failed: 1, Names: []string{ring}, Failures: []failure{{Test: ring, Output: append(end.lines(), err.Error())}}}
	}
	return finish(c, started)
}

// runVitest counts by the report file, which vitest writes also when tests fail.
func runVitest(ring, file string, command []string) error {
	started := time.Now()
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	cmd := exec.Command(command[0], command[1:]...)
	var end tail
	cmd.Stdout, cmd.Stderr = io.MultiWriter(os.Stdout, &end), io.MultiWriter(os.Stderr, &end)
	runErr := cmd.Run()
	var rep vitestReport
	b, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(b, &rep)
	}
	if err != nil {
		fmt.Printf("%s: no report: %v\n", ring, err)
		return finish(counts{Ring: ring, Failed: 1, Names: []string{ring + " (no report)"}, Failures: []failure{{Test: ring, Output: end.lines()}}}, started)
	}
	c := counts{Ring: ring, Passed: rep.NumPassedTests, Failed: rep.NumFailedTests, Skipped: rep.NumPendingTests}
	c.Failures = rep.failures()
	for _, f := range c.Failures {
		c.Names = append(c.Names, strings.TrimSpace(f.Package+" "+f.Test))
	}
	if runErr != nil && c.Failed == 0 {
		c.Failed, c.Names, c.Failures = 1, []string{ring + ": " + runErr.Error()}, []failure{{Test: ring, Output: end.lines()}}
	}
	return finish(c, started)
}

// report prints all rings and the closing line.
func report() error {
	paths, err := filepath.Glob(filepath.Join(dir(), "*.json"))
	if err != nil {
		return err
	}
	var all []counts
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		var c counts
		if err := json.Unmarshal(b, &c); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		all = append(all, c)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Order < all[j].Order })
	for _, c := range all {
		for _, r := range c.Reasons {
			fmt.Printf("skipped  %s: %s\n", c.Ring, r)
		}
	}
	if lines := digest(all); len(lines) > 0 {
		fmt.Printf("\nWhat failed, each with the end of its output (all of it is above):\n%s\n", strings.Join(lines, "\n"))
	}
	var total counts
	fmt.Printf("\n%-14s %7s %7s %8s %8s\n", "ring", "passed", "failed", "skipped", "seconds")
	for _, c := range all {
		fmt.Printf("%-14s %7d %7d %8d %8.0f\n", c.Ring, c.Passed, c.Failed, c.Skipped, c.Seconds)
		total.Passed += c.Passed
		total.Failed += c.Failed
		total.Skipped += c.Skipped
	}
	fmt.Println()
	if len(all) == 0 {
		fmt.Println("0 passed, 1 failed")
		return errors.New("no ring has run")
	}
	fmt.Println(line(total))
	if total.Failed > 0 {
		os.Exit(1) // the line above is the last one
	}
	return nil
}
