package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"baton/control/api"
)

// progress says what long work is doing: on a terminal in one line that is
// written over, elsewhere in a line now and then.
type progress struct {
	out      io.Writer
	terminal bool
	stop     chan struct{}
	done     sync.WaitGroup

	mu    sync.Mutex
	line  string // what runs, "" when nothing does
	since time.Time
	said  time.Time
	width int // of what stands on the terminal's line
}

// Rhythm of progress.
const (
	progressEvery = 500 * time.Millisecond
	// progressAfter is how long a step must run before it is mentioned.
	progressAfter = 2 * time.Second
	// progressLines is how often a line is written where none can be written over.
	progressLines = 15 * time.Second
)

func startProgress(out io.Writer) *progress {
	p := &progress{out: out, stop: make(chan struct{})}
	if f, ok := out.(*os.File); ok {
		info, err := f.Stat()
		p.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	p.done.Go(func() {
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-p.stop:
				return
			case <-tick.C:
				p.tick(time.Now())
			}
		}
	})
	return p
}

func (p *progress) end() {
	close(p.stop)
	p.done.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wipe()
}

// show takes an operation's state in.
func (p *progress) show(o *api.Operation) {
	line, since := "", time.Now()
	for i, st := range o.Steps {
		if st.State != "running" {
			continue
		}
		line = fmt.Sprintf("%2d of %d  %s", i+1, len(o.Steps), st.Title)
		if st.Node != "" {
			line += " on " + st.Node
		}
		if st.Detail != "" {
			line += ": " + st.Detail
		}
		if st.StartedAt != nil {
			since = *st.StartedAt
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.line, p.since = line, since
}

// say writes a line for good.
func (p *progress) say(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wipe()
	fmt.Fprintln(p.out, line)
}

// wipe clears the line that is written over. The caller holds mu.
func (p *progress) wipe() {
	if p.width > 0 {
		fmt.Fprintf(p.out, "\r%s\r", strings.Repeat(" ", p.width))
		p.width = 0
	}
}

func (p *progress) tick(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	running := now.Sub(p.since)
	switch {
	case p.line == "" || running < progressAfter:
	case p.terminal:
		p.wipe()
		text := fmt.Sprintf("  ... %s, %.0f s", p.line, running.Seconds())
		if r := []rune(text); len(r) > 78 {
			text = string(r[:75]) + "..."
		}
		fmt.Fprint(p.out, text)
		p.width = len([]rune(text))
	case now.Sub(p.said) >= progressLines:
		p.said = now
		fmt.Fprintf(p.out, "  ... %s, %.0f s\n", p.line, running.Seconds())
	}
}
