package main

import (
	"context"
	"fmt"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// group is one measurement on one fresh cluster.
type group struct {
	name string
	run  func(*table, target, settings) error
}

var groups = []group{
	{"one", func(t *table, tg target, s settings) error {
		return appends(t, tg, s, "1 appender, one at a time", 1, 1)
	}},
	{"unary", func(t *table, tg target, s settings) error {
		return appends(t, tg, s, "64 appenders, expected revision", 64, 8)
	}},
	{"streams", pipelined},
	{"read", reads},
	{"failover", failover},
	{"promotion", promotion},
}

func groupNames() []string {
	var n []string
	for _, g := range groups {
		n = append(n, g.name)
	}
	return n
}

// sample is one run of an append or read measurement.
type sample struct {
	rate     float64 // events/s
	cpu      float64 // server CPU, us per event
	p50, p99 time.Duration
}

// timed runs work, which counts its events, and measures the servers' CPU beside it.
func timed(tg target, work func() (int, error)) (sample, error) {
	before, err := cpuTime(tg.pids())
	if err != nil {
		return sample{}, err
	}
	began := time.Now()
	n, err := work()
	took := time.Since(began)
	if err != nil {
		return sample{}, err
	}
	after, err := cpuTime(tg.pids())
	if err != nil {
		return sample{}, err
	}
	if n == 0 {
		return sample{}, fmt.Errorf("no event was acknowledged")
	}
	return sample{rate: float64(n) / took.Seconds(), cpu: float64((after - before).Microseconds()) / float64(n)}, nil
}

// appends measures clients that wait for each acknowledgement, spread over conns connections.
func appends(t *table, tg target, s settings, label string, clients, conns int) error {
	var samples []sample
	for run := range s.runs + 1 { // the first one warms up
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(s.seconds)*time.Second+s.settle)
		var all []appender
		for i := range clients {
			a, err := tg.appender(ctx, i%conns, fmt.Sprintf("bench-%d-%d-%d", clients, run, i))
			if err != nil {
				cancel()
				return err
			}
			all = append(all, a)
		}
		length := time.Duration(s.seconds) * time.Second
		if run == 0 {
			length = time.Second
		}
		var mu sync.Mutex
		var latencies []time.Duration
		sm, err := timed(tg, func() (int, error) {
			end := time.Now().Add(length)
			var wg sync.WaitGroup
			var firstErr error
			for _, a := range all {
				wg.Go(func() {
					var own []time.Duration
					var err error
					for err == nil {
						began := time.Now()
						if began.After(end) {
							break
						}
						if err = a.append(ctx, s.payload); err == nil {
							own = append(own, time.Since(began))
						}
					}
					mu.Lock()
					defer mu.Unlock()
					latencies = append(latencies, own...)
					if err != nil && firstErr == nil {
						firstErr = err
					}
				})
			}
			wg.Wait()
			return len(latencies), firstErr
		})
		cancel()
		if err != nil {
			return err
		}
		if run > 0 {
			sort.Slice(latencies, func(i, j int) bool { return latencies[i] < latencies[j] })
			sm.p50, sm.p99 = latencies[len(latencies)/2], latencies[len(latencies)*99/100]
			samples = append(samples, sm)
		}
	}
	t.rates(label, tg.name(), samples)
	return nil
}

// streamClients and streamWindow shape the pipelined measurement: connections, and events in flight on each.
const (
	streamClients = 8
	streamWindow  = 512
)

func pipelined(t *table, tg target, s settings) error {
	var samples []sample
	for run := range s.runs + 1 {
		length := time.Duration(s.seconds) * time.Second
		if run == 0 {
			length = time.Second
		}
		sm, err := timed(tg, func() (int, error) {
			ctx, cancel := context.WithTimeout(context.Background(), length)
			defer cancel()
			var n atomic.Int64
			errs := make(chan error, streamClients)
			for i := range streamClients {
				go func() {
					errs <- tg.pipeline(ctx, fmt.Sprintf("pipe-%d-%d", run, i), streamWindow, s.payload, func() { n.Add(1) })
				}()
			}
			var firstErr error
			for range streamClients {
				if err := <-errs; err != nil && firstErr == nil {
					firstErr = err
				}
			}
			return int(n.Load()), firstErr
		})
		if err != nil {
			return err
		}
		if run > 0 {
			samples = append(samples, sm)
		}
	}
	t.rates(fmt.Sprintf("%d streams, %d in flight each", streamClients, streamWindow), tg.name(), samples)
	return nil
}

func reads(t *table, tg target, s settings) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := tg.fill(ctx, s.events, s.payload); err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	if err := tg.settled(s.settle); err != nil {
		return err
	}
	var samples []sample
	for run := range s.runs + 1 {
		sm, err := timed(tg, func() (int, error) {
			n, err := tg.read(ctx, s.events)
			if err == nil && n < s.events {
				err = fmt.Errorf("read %d of %d events", n, s.events)
			}
			return n, err
		})
		if err != nil {
			return err
		}
		if run > 0 {
			samples = append(samples, sm)
		}
	}
	t.rates(fmt.Sprintf("read %dk events back", s.events/1000), tg.name(), samples)
	return nil
}

// failover and promotion measure the longest time without any acknowledgement, seen by all writers together.

func failover(t *table, tg target, s settings) error {
	g := startGapWriters(tg, 16, s)
	defer g.stop()
	var gaps []time.Duration
	for range s.kills {
		gap, err := g.around(s.settle, tg.killLeader)
		if err != nil {
			return err
		}
		gaps = append(gaps, gap)
		if err := tg.recover(s.settle); err != nil {
			return err
		}
	}
	t.gaps("kill -9 of the leader, 16 writers", tg.name(), gaps)
	return nil
}

func promotion(t *table, tg target, s settings) error {
	g := startGapWriters(tg, 64, s)
	defer g.stop()
	var gaps []time.Duration
	for range s.moves {
		gap, err := g.around(s.settle, func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			return tg.moveLeader(ctx)
		})
		if err != nil {
			return err
		}
		gaps = append(gaps, gap)
		if err := tg.settled(s.settle); err != nil {
			return err
		}
	}
	t.gaps("planned move of leadership, 64 writers", tg.name(), gaps)
	return nil
}
