package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"baton/test/swarm"
)

// controlCommand measures one control plane with the agents of many hosts: `bench control`.
const controlCommand = "control"

// controlRun is one measurement: a real `baton control` process, a swarm of simulated agents over real links, people
// who watch, and requests.
type controlRun struct {
	*controlProcess
	agents, clusters, nodes int
	watchers                int
	seconds                 time.Duration // length of each phase
	settle                  time.Duration
	swarm                   *swarm.Swarm
}

func runControl(args []string) error {
	f := flag.NewFlagSet(controlCommand, flag.ExitOnError)
	r := controlRun{settle: 5 * time.Minute}
	binary := f.String("baton", "../bin/baton", "path of the binary under test")
	f.IntVar(&r.agents, "agents", 500, "simulated hosts, each with an agent")
	f.IntVar(&r.clusters, "clusters", 1000, "clusters")
	f.IntVar(&r.nodes, "nodes", 5, "nodes of each cluster")
	f.IntVar(&r.watchers, "watchers", 20, "open event streams: half on the list, half on a cluster's page")
	f.DurationVar(&r.seconds, "length", 20*time.Second, "length of each phase")
	nice := f.Bool("nice", false, "run the control plane at nice -20, so that the load beside it is not measured (needs root)")
	_ = f.Parse(args)
	bin, err := filepath.Abs(*binary)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "baton-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r.controlProcess = newControlProcess(bin, dir)
	r.nice = *nice
	text, err := r.run()
	fmt.Print(text)
	return err
}

func (r *controlRun) run() (string, error) {
	if err := r.start(); err != nil {
		return "", err
	}
	defer r.stop()
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), r.settle)
	defer cancel()
	var err error
	r.swarm, err = swarm.Start(ctx, swarm.Options{Token: r.joinToken, Agents: r.agents, Clusters: r.clusters, Nodes: r.nodes})
	if err != nil {
		return "", err
	}
	defer r.swarm.Close()
	fmt.Fprintf(os.Stderr, "%d agents joined after %s\n", r.agents, time.Since(began).Round(100*time.Millisecond))
	if err := r.allHealthy(ctx); err != nil {
		return "", err
	}
	fmt.Fprintf(os.Stderr, "%d clusters are healthy after %s\n", r.clusters, time.Since(began).Round(100*time.Millisecond))

	var out strings.Builder
	fmt.Fprintf(&out, "One control plane, %d agents with %d nodes of %d clusters, which look each %s and report as often as they are asked to; %s a phase.\n\n| phase | cores | memory | reports |\n|---|---|---|---|\n",
		r.agents, r.clusters*r.nodes, r.clusters, swarm.ReportInterval, r.seconds)
	if err := r.phase(&out, "agents only", func(time.Duration) error { return nil }); err != nil {
		return out.String(), err
	}
	watchers, err := r.watch()
	if err != nil {
		return out.String(), err
	}
	defer watchers.close()
	if err := r.phase(&out, fmt.Sprintf("and %d watchers", r.watchers), func(time.Duration) error { return nil }); err != nil {
		return out.String(), err
	}
	watchers.reset()
	var load requests
	if err := r.phase(&out, "and requests", func(length time.Duration) error { return load.run(r, length) }); err != nil {
		return out.String(), err
	}
	out.WriteString("\n" + load.table() + "\n" + watchers.line() + "\n")
	if s := r.swarm.Stats(); s.Lost > 0 {
		fmt.Fprintf(&out, "%d links of agents ended meanwhile: %v\n", s.Lost, s.Err)
	}
	return out.String(), nil
}

// allHealthy waits until every cluster was registered by itself and is whole.
func (r *controlRun) allHealthy(ctx context.Context) error {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		var list struct {
			Clusters []struct {
				Verdict                 struct{ Level string }
				MembersUp, MembersTotal int
			}
		}
		_, err := r.call(ctx, "GET", "/clusters", nil, &list)
		whole := 0
		for _, c := range list.Clusters {
			if c.Verdict.Level == "healthy" && c.MembersUp == r.nodes && c.MembersTotal == r.nodes {
				whole++
			}
		}
		if whole == r.clusters {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d clusters are healthy: %v; links: %+v", whole, r.clusters, err, r.swarm.Stats())
		}
	}
}

// phase runs work for the length of a phase and writes what the process used meanwhile.
func (r *controlRun) phase(out *strings.Builder, name string, work func(time.Duration) error) error {
	fmt.Fprintln(os.Stderr, "phase:", name)
	time.Sleep(2 * time.Second) // what began with the phase is over
	before, err := cpuTime([]int{r.pid})
	if err != nil {
		return err
	}
	began, sent := time.Now(), r.swarm.Stats()
	done := make(chan error, 1)
	go func() { done <- work(r.seconds) }()
	time.Sleep(r.seconds)
	if err := <-done; err != nil {
		return err
	}
	took := time.Since(began)
	after, err := cpuTime([]int{r.pid})
	if err != nil {
		return err
	}
	now := r.swarm.Stats()
	fmt.Fprintf(out, "| %s | %.2f | %d MiB | %.0f/s, %.1f MB/s |\n", name, (after-before).Seconds()/took.Seconds(), residentMiB(r.pid),
		float64(now.Reports-sent.Reports)/took.Seconds(), float64(now.Bytes-sent.Bytes)/1e6/took.Seconds())
	return nil
}

// residentMiB is the process's resident memory.
func residentMiB(pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, _ := strconv.Atoi(strings.Fields(rest)[0])
			return kb >> 10
		}
	}
	return 0
}

// requests are the kinds of requests of the last phase with their latencies: each is sent at its own pace whether or
// not the one before was answered, and counts from the moment it was due.
type requests struct {
	mu    sync.Mutex
	kinds []*requestKind
}

type requestKind struct {
	name, path string // %d is a random cluster
	perSecond  float64
	took       []time.Duration
	bytes      int
}

func (q *requests) run(r *controlRun, length time.Duration) error {
	q.kinds = []*requestKind{
		{name: "GET /clusters", path: "/clusters", perSecond: 2},
		{name: "GET /clusters/{id} with its nodes", path: "/clusters/%s", perSecond: 20},
		{name: "GET /clusters/{id}/nodes/{node}/report", path: "/clusters/%s/nodes/%s/report", perSecond: 10},
		{name: "GET /clusters/{id}/audit", path: "/clusters/%s/audit", perSecond: 5},
		{name: "GET /activity", path: "/activity", perSecond: 5},
		{name: "GET /alerts", path: "/alerts", perSecond: 5},
		{name: "GET /hosts", path: "/hosts", perSecond: 2},
	}
	ctx, cancel := context.WithTimeout(context.Background(), length+r.settle)
	defer cancel()
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	for i, k := range q.kinds {
		all.Go(func() {
			gap := time.Duration(float64(time.Second) / k.perSecond)
			began := time.Now().Add(gap * time.Duration(i) / time.Duration(len(q.kinds)))
			for n := 0; ; n++ {
				due := began.Add(gap * time.Duration(n))
				if due.Sub(began) >= length {
					return
				}
				time.Sleep(time.Until(due))
				path := k.path
				c := (n*7919 + i*131) % r.clusters
				switch strings.Count(path, "%s") {
				case 1:
					path = fmt.Sprintf(path, swarm.Cluster(c))
				case 2:
					path = fmt.Sprintf(path, swarm.Cluster(c), swarm.Node(c, 1%r.nodes))
				}
				all.Go(func() {
					size, err := r.call(ctx, "GET", path, nil, nil)
					took := time.Since(due)
					if err != nil {
						failed.Store(&err)
						return
					}
					q.mu.Lock()
					k.took, k.bytes = append(k.took, took), size
					q.mu.Unlock()
				})
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (q *requests) table() string {
	var b strings.Builder
	b.WriteString("| request | a second | bytes | p50 | p99 | max |\n|---|---|---|---|---|---|\n")
	var every []time.Duration
	row := func(name string, perSecond float64, size string, took []time.Duration) {
		sort.Slice(took, func(i, j int) bool { return took[i] < took[j] })
		if n := len(took); n > 0 {
			fmt.Fprintf(&b, "| %s | %.0f | %s | %s | %s | %s |\n", name, perSecond, size, ms(took[n/2]), ms(took[n*99/100]), ms(took[n-1]))
		}
	}
	sum := 0.0
	for _, k := range q.kinds {
		every, sum = append(every, k.took...), sum+k.perSecond
		row(k.name, k.perSecond, strconv.Itoa(k.bytes), k.took)
	}
	row("all", sum, "", every)
	return b.String()
}
