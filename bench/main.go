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
	"strings"
	"time"
)

// settings of one run.
type settings struct {
	seconds int           // length of each append measurement, s
	runs    int           // repetitions of append and read measurements; the median counts
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
	flag.IntVar(&s.runs, "runs", 3, "repetitions; the median counts")
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
	t := newTable()
	for _, g := range groups {
		for _, mk := range makers {
			if err := measure(t, g, mk, filepath.Join(dir, g.name), s); err != nil {
				return err
			}
		}
	}
	text := t.markdown(s)
	fmt.Print(text)
	if *out != "" {
		return os.WriteFile(*out, []byte(text), 0o644)
	}
	return nil
}

// measure starts a fresh cluster of one target for one group and stops it again.
func measure(t *table, g group, mk func(string) target, dir string, s settings) error {
	tg := mk(dir)
	fmt.Fprintf(os.Stderr, "%-10s %s\n", g.name, tg.name())
	if err := os.MkdirAll(filepath.Join(dir, tg.name()), 0o755); err != nil {
		return err
	}
	defer tg.close()
	if err := tg.start(s.settle); err != nil {
		return fmt.Errorf("%s: start: %w", tg.name(), err)
	}
	if err := g.run(t, tg, s); err != nil {
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
