package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// event is one line of `go test -json` (see `go doc test2json`).
type event struct {
	Action      string
	Package     string
	ImportPath  string // on build-output
	Test        string
	Elapsed     float64
	Output      string
	FailedBuild string
}

// testKey names one test of one package; Test "" is the package itself.
type testKey struct{ pkg, test string }

// goTally turns a stream of events into counts.
type goTally struct {
	c       counts
	output  map[testKey][]string
	result  map[testKey]string   // pass, fail, skip
	failed  map[testKey][]string // output of what failed
	order   []testKey            // in order of their end
	parents map[testKey]bool
	build   []string // what the compiler said
	show    func(string)
}

func newGoTally(ring string, show func(string)) *goTally {
	return &goTally{
		c:       counts{Ring: ring, Packages: map[string]float64{}},
		output:  map[testKey][]string{},
		result:  map[testKey]string{},
		parents: map[testKey]bool{},
		failed:  map[testKey][]string{},
		show:    show,
	}
}

func (g *goTally) add(e event) {
	k := testKey{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		g.show(e.Output)
		g.build = append(g.build, e.Output)
	case "run":
		for i := strings.LastIndex(e.Test, "/"); i > 0; i = strings.LastIndex(e.Test[:i], "/") {
			g.parents[testKey{e.Package, e.Test[:i]}] = true
		}
	case "output":
		if i := strings.Index(e.Output, "=> "); i >= 0 {
			g.show(e.Output[i:])
		}
		g.output[k] = append(g.output[k], e.Output)
	case "pass", "fail", "skip":
		g.result[k] = e.Action
		g.order = append(g.order, k)
		if e.Action == "fail" {
			for _, l := range g.output[k] {
				g.show(l)
			}
			g.failed[k] = g.output[k]
			if e.FailedBuild != "" {
				g.failed[k] = append(g.build, g.failed[k]...)
			}
		}
		if e.Test == "" {
			g.show(fmt.Sprintf("%-5s %s %.1fs\n", e.Action, e.Package, e.Elapsed))
			g.c.Packages[e.Package] = e.Elapsed
		}
		if e.Action != "skip" {
			delete(g.output, k)
		}
	}
}

// total counts leaves; a failed parent or package none of whose leaves failed counts too, else
// a panic or a build error would go unseen.
func (g *goTally) total() counts {
	blamed := map[testKey]bool{} // parents and packages whose failure a failed child explains
	for i := range g.order {
		k := g.order[i]
		if g.result[k] == "fail" && k.test != "" {
			blamed[testKey{k.pkg, ""}] = true
			for j := strings.LastIndex(k.test, "/"); j > 0; j = strings.LastIndex(k.test[:j], "/") {
				blamed[testKey{k.pkg, k.test[:j]}] = true
			}
		}
	}
	for _, k := range g.order {
		leaf := k.test != "" && !g.parents[k]
		switch g.result[k] {
		case "fail":
			if leaf || !blamed[k] {
				g.c.Failed++
				g.c.Names = append(g.c.Names, strings.TrimSpace(k.pkg+" "+k.test))
				g.c.Failures = append(g.c.Failures, failure{Package: k.pkg, Test: k.test, Output: told(g.failed[k])})
			}
		case "pass":
			if leaf {
				g.c.Passed++
			}
		case "skip":
			if leaf {
				g.c.Skipped++
				g.c.Reasons = append(g.c.Reasons, k.test+": "+reason(g.output[k]))
			}
		}
	}
	return g.c
}

// reason picks the line that t.Skip printed.
func reason(lines []string) string {
	for _, l := range lines {
		l = strings.TrimSpace(l)
		if l != "" && !strings.HasPrefix(l, "===") && !strings.HasPrefix(l, "---") {
			return l
		}
	}
	return "no reason given"
}

func runGo(ring string, command []string) error {
	started := time.Now()
	cmd := exec.Command(command[0], command[1:]...)
	var end tail
	cmd.Stderr = io.MultiWriter(os.Stderr, &end)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	g := newGoTally(ring, func(s string) {
		if !strings.HasSuffix(s, "\n") {
			s += "\n"
		}
		fmt.Print(s)
	})
	r := bufio.NewReaderSize(out, 1<<20)
	for {
		l, err := r.ReadString('\n')
		if l != "" {
			var e event
			if json.Unmarshal([]byte(l), &e) == nil && e.Action != "" {
				g.add(e)
			} else {
				fmt.Print(l) // not part of the stream: show it as it is
			}
		}
		if err != nil {
			break
		}
	}
	runErr := cmd.Wait()
	c := g.total()
	if runErr != nil && c.Failed == 0 {
		c.Failed++
		c.Names = append(c.Names, strings.Join(command, " ")+": "+runErr.Error())
		c.Failures = append(c.Failures, failure{Test: ring, Output: append(end.lines(), runErr.Error())})
	}
	return finish(c, started)
}
