package main

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
)

// failure is one failed test and the end of what it printed.
type failure struct {
	Package string   `json:"package,omitempty"`
	Test    string   `json:"test"`
	Output  []string `json:"output,omitempty"` // its last lines, oldest first, at most tailLines
}

const (
	// tailLines are kept of each failure.
	tailLines = 12
	// maxLineBytes cuts longer lines: a log record, not a dump.
	maxLineBytes = 300
	// digestLines bounds the digest of all failures. With more failures each is told in fewer lines, the names always.
	digestLines = 120
)

// lastLines are the last n lines that say something, each cut to maxLineBytes.
func lastLines(output []string, n int) []string {
	var out []string
	for _, chunk := range output {
		for _, l := range strings.Split(chunk, "\n") {
			l = strings.TrimRight(l, " \t\r")
			if strings.TrimSpace(l) == "" || strings.HasPrefix(l, "=== ") || strings.Contains(l, "=> ") {
				continue
			}
			if len(l) > maxLineBytes {
				l = strings.ToValidUTF8(l[:maxLineBytes], "") + " ..."
			}
			out = append(out, l)
		}
	}
	return out[max(0, len(out)-n):]
}

// told picks the lines of a test's output that tell why it failed: beside the last ones the first it reported itself,
// because servers' logs often follow.
func told(output []string) []string {
	all := lastLines(output, 1<<20)
	if len(all) <= tailLines {
		return all
	}
	for i, l := range all {
		if said := strings.TrimSpace(l); strings.Contains(said, "_test.go:") || strings.HasPrefix(said, "panic:") {
			if i < len(all)-tailLines {
				head := all[i:min(i+4, len(all))]
				return append(append([]string{}, head...), all[len(all)-(tailLines-len(head)):]...)
			}
			break
		}
	}
	return all[len(all)-tailLines:]
}

// digest tells all failures again, in at most digestLines lines as far as names alone do not take more.
func digest(all []counts) []string {
	n := 0
	for _, c := range all {
		n += len(c.Failures)
	}
	if n == 0 {
		return nil
	}
	each := max(0, min(tailLines, digestLines/n-1))
	var out []string
	for _, c := range all {
		for _, f := range c.Failures {
			out = append(out, fmt.Sprintf("FAILED   %s: %s", c.Ring, strings.TrimSpace(f.Package+" "+f.Test)))
			lines := f.Output
			if len(lines) > each {
				// The first lines are what the test itself said.
				head := min(4, (each+1)/2)
				lines = append(append([]string{}, lines[:head]...), lines[len(lines)-(each-head):]...)
			}
			for _, l := range lines {
				out = append(out, "         "+l)
			}
		}
	}
	return out
}

// tail is a writer that remembers the last lines. Two streams may share it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

// maxTailBytes bounds what tail remembers.
const maxTailBytes = 64 << 10

// Write implements io.Writer.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if over := len(t.buf) - maxTailBytes; over > 0 {
		t.buf = bytes.Clone(t.buf[over:])
	}
	return len(b), nil
}

func (t *tail) lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return lastLines([]string{string(t.buf)}, tailLines)
}

// vitestReport is the part of vitest's JSON report that is read.
type vitestReport struct {
	NumPassedTests  int
	NumFailedTests  int
	NumPendingTests int
	TestResults     []struct {
		Name, Status, Message string
		AssertionResults      []struct {
			FullName, Status string
			FailureMessages  []string
		}
	}
}

func (r *vitestReport) failures() (out []failure) {
	for _, file := range r.TestResults {
		name := file.Name
		if i := strings.LastIndex(name, "/src/"); i >= 0 {
			name = name[i+1:]
		}
		failed := false
		for _, a := range file.AssertionResults {
			if a.Status == "failed" {
				failed = true
				out = append(out, failure{Package: name, Test: a.FullName, Output: first(a.FailureMessages)})
			}
		}
		if file.Status == "failed" && !failed {
			out = append(out, failure{Package: name, Output: first([]string{file.Message})})
		}
	}
	return out
}

// first are the first lines: an assertion's message comes before its stack.
func first(messages []string) []string {
	all := lastLines(messages, 1<<20)
	return all[:min(len(all), tailLines)]
}
