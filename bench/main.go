// Command bench measures this event store and NATS JetStream side by side, with one program, on one machine, in one run.
//
// Both are three server processes on loopback that sync every write before they acknowledge it to a quorum. A rate on
// shared cores is a statement about CPU per event, so both are printed, and each figure as a ratio to the peer's.
//
//	go run . -baton ../bin/baton                 everything
//	go run . -baton ../bin/baton -only append,read
//
// Groups: one, unary, streams, read, failover, promotion.
//
// Two more measure the control plane (-h tells their options):
//
//	go run . control             one control plane with the agents of 5,000 nodes
//	go run . redis-failover      planned moves of a Redis primary: Baton, FAILOVER, Sentinel
//
// And one what a node holds, over many events and over an hour:
//
//	go run . memory -events 10000000 -streams 1000000 -minutes 60
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"
)

// settings of one run.
type settings struct {
	seconds int           // length of each append measurement, s
	runs    int           // rounds of append and read measurements; the medians count
	events  int           // events read back in the read measurement
	kills   int           // leader deaths in the failover measurement
	moves   int           // planned moves in the promotion measurement
	payload []byte        // data of every event
	settle  time.Duration // deadline for a cluster to form or to recover
}

func main() {
	commands := map[string]func([]string) error{natsCommand: serveNATS, controlCommand: runControl, redisCommand: runRedis, memoryCommand: runMemory}
	if len(os.Args) > 1 && commands[os.Args[1]] != nil {
		if err := commands[os.Args[1]](os.Args[2:]); err != nil {
			fmt.Fprintf(os.Stderr, "bench %s: %v\n", os.Args[1], err)
			os.Exit(1)
		}
		return
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	binary := flag.String("baton", "../bin/baton", "path of the binary under test")
	only := flag.String("only", "", "comma list of groups: "+strings.Join(groupNames(), ", ")+" (append means one, unary and streams; empty: all)")
	out := flag.String("out", "", "file that also receives the table as Markdown")
	targets := flag.String("targets", "baton,nats", "which servers to measure")
	s := settings{settle: 30 * time.Second}
	flag.IntVar(&s.seconds, "seconds", 4, "length of each append measurement")
	flag.IntVar(&s.runs, "runs", 3, "rounds, each of which measures every target once; the medians count")
	flag.IntVar(&s.events, "events", 300_000, "events to read back")
	flag.IntVar(&s.kills, "kills", 5, "kill -9 of the leader, times")
	flag.IntVar(&s.moves, "moves", 10, "planned moves of leadership, times")
	size := flag.Int("payload", 256, "bytes of data in each event")
	flag.Parse()

	groups, err := pickGroups(*only)
	if err != nil {
		return err
	}
	bin, err := filepath.Abs(*binary)
	if err != nil {
		return err
	}
	if _, err := os.Stat(bin); err != nil && strings.Contains(*targets, "baton") {
		return fmt.Errorf("%w (make build makes it)", err)
	}
	s.payload = make([]byte, *size)
	for i := range s.payload {
		s.payload[i] = byte('a' + i%26)
	}
	dir, err := os.MkdirTemp("", "baton-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	var makers []func(string) target
	for _, name := range strings.Split(*targets, ",") {
		switch name {
		case "baton":
			makers = append(makers, func(d string) target { return newBaton(d, bin) })
		case "nats":
			makers = append(makers, newNATS)
		default:
			return fmt.Errorf("unknown target %q: baton or nats", name)
		}
	}
	// The load shares the cores with the servers; collecting its small heap over and over is not what is measured.
	debug.SetGCPercent(loadGCPercent)
	t := newTable()
	for _, g := range groups {
		if err := measure(t, &g, makers, filepath.Join(dir, g.name), s); err != nil {
			return err
		}
	}
	text := t.markdown(s)
	fmt.Print(text)
	if *out != "" {
		return os.WriteFile(*out, []byte(text), 0o644)
	}
	return nil
}

// loadGCPercent lets the load's heap grow to this many percent of what is reachable before it is collected.
const loadGCPercent = 800

// measure takes one group's figures on fresh clusters and stops them again.
func measure(t *table, g *group, makers []func(string) target, dir string, s settings) error {
	if g.gaps != nil {
		for _, mk := range makers {
			if err := begin(g, mk, dir, s, func(tg target) error {
				gaps, err := g.gaps(tg, s)
				t.gaps(g.label(s), tg.name(), gaps)
				return err
			}); err != nil {
				return err
			}
		}
		return nil
	}
	return side(t, g, makers, nil, dir, s)
}

// side starts one target more beside those that live, until all do, and then takes the rounds.
func side(t *table, g *group, makers []func(string) target, living []target, dir string, s settings) error {
	if len(living) < len(makers) {
		return begin(g, makers[len(living)], dir, s, func(tg target) error {
			if g.fill != nil {
				if err := g.fill(tg, s); err != nil {
					return err
				}
			}
			return side(t, g, makers, append(living, tg), dir, s)
		})
	}
	for round := range s.runs + 1 { // the first warms up
		for _, tg := range living {
			sm, err := g.round(tg, s, round)
			if err != nil {
				return fmt.Errorf("%s: %w\n%s", tg.name(), err, tg.logs())
			}
			if round > 0 {
				t.rate(g.label(s), tg.name(), sm)
			}
		}
	}
	return nil
}

// begin starts one cluster, does something with it and stops it.
func begin(g *group, mk func(string) target, dir string, s settings, do func(target) error) error {
	tg := mk(dir)
	fmt.Fprintf(os.Stderr, "%-10s %s\n", g.name, tg.name())
	if err := os.MkdirAll(filepath.Join(dir, tg.name()), 0o755); err != nil {
		return err
	}
	defer tg.close()
	if err := tg.start(s.settle); err != nil {
		return fmt.Errorf("%s: start: %w", tg.name(), err)
	}
	if err := do(tg); err != nil {
		return fmt.Errorf("%s: %s: %w\n%s", tg.name(), g.name, err, tg.logs())
	}
	return nil
}

func pickGroups(only string) ([]group, error) {
	if only == "" {
		return groups, nil
	}
	want := map[string]bool{}
	for _, n := range strings.Split(only, ",") {
		if n == "append" {
			want["one"], want["unary"], want["streams"] = true, true, true
			continue
		}
		want[n] = true
	}
	var picked []group
	for _, g := range groups {
		if want[g.name] {
			picked = append(picked, g)
			delete(want, g.name)
		}
	}
	for n := range want {
		return nil, fmt.Errorf("unknown group %q: %s", n, strings.Join(groupNames(), ", "))
	}
	return picked, nil
}
