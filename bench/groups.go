package main

import (
	"context"
	"fmt"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// group is one measurement. Rates are taken in rounds on clusters that live side by side: each round measures every
// target once, so that a machine whose speed changes by the minute changes it for both. Gaps are taken on one
// cluster at a time.
type group struct {
	name string
	// label is the row; fill prepares a target, nil when nothing has to be there; round is one run of rates, of which
	// number 0 warms up.
	label func(settings) string
	fill  func(target, settings) error
	round func(tg target, s settings, number int) (sample, error)
	// gaps measures interruptions.
	gaps func(target, settings) ([]time.Duration, error)
}

var groups = []group{
	{name: "one", label: named("1 appender, one at a time"), round: appends(1, 1)},
	{name: "unary", label: named("64 appenders, expected revision"), round: appends(64, 8)},
	{name: "streams", label: named(fmt.Sprintf("%d streams, %d in flight each", streamClients, streamWindow)), round: pipelined},
	{name: "read", label: func(s settings) string { return fmt.Sprintf("read %dk events back", s.events/1000) }, fill: fillToRead, round: read},
	{name: "failover", label: named("kill -9 of the leader, 16 writers"), gaps: failover},
	{name: "promotion", label: named("planned move of leadership, 64 writers"), gaps: promotion},
}

func named(label string) func(settings) string { return func(settings) string { return label } }

// length is how long a round lasts.
func (s *settings) length(round int) time.Duration {
	if round == 0 {
		return time.Second
	}
	return time.Duration(s.seconds) * time.Second
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
func appends(clients, conns int) func(target, settings, int) (sample, error) {
	return func(tg target, s settings, round int) (sample, error) {
		length := s.length(round)
		ctx, cancel := context.WithTimeout(context.Background(), length+s.settle)
		defer cancel()
		var all []appender
		for i := range clients {
			a, err := tg.appender(ctx, i%conns, fmt.Sprintf("bench-%d-%d-%d", clients, round, i))
			if err != nil {
				return sample{}, err
			}
			all = append(all, a)
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
		if err != nil {
			return sample{}, err
		}
		sort.Slice(latencies, func(i, j int) bool { return latencies[i] < latencies[j] })
		sm.p50, sm.p99 = latencies[len(latencies)/2], latencies[len(latencies)*99/100]
		return sm, nil
	}
}

// streamClients and streamWindow shape the pipelined measurement: connections, and events in flight on each.
const (
	streamClients = 8
	streamWindow  = 512
)

func pipelined(tg target, s settings, round int) (sample, error) {
	return timed(tg, func() (int, error) {
		ctx, cancel := context.WithTimeout(context.Background(), s.length(round))
		defer cancel()
		var n atomic.Int64
		errs := make(chan error, streamClients)
		for i := range streamClients {
			go func() {
				errs <- tg.pipeline(ctx, fmt.Sprintf("pipe-%d-%d", round, i), streamWindow, s.payload, func() { n.Add(1) })
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
}

// readTime bounds writing or reading what is read back.
const readTime = 5 * time.Minute

func fillToRead(tg target, s settings) error {
	ctx, cancel := context.WithTimeout(context.Background(), readTime)
	defer cancel()
	if err := tg.fill(ctx, s.events, s.payload); err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	return tg.settled(s.settle)
}

func read(tg target, s settings, _ int) (sample, error) {
	ctx, cancel := context.WithTimeout(context.Background(), readTime)
	defer cancel()
	return timed(tg, func() (int, error) {
		n, err := tg.read(ctx, s.events)
		if err == nil && n < s.events {
			err = fmt.Errorf("read %d of %d events", n, s.events)
		}
		return n, err
	})
}

// failover and promotion measure the longest time without any acknowledgement, seen by all writers together.

func failover(tg target, s settings) ([]time.Duration, error) {
	g := startGapWriters(tg, 16, s)
	defer g.stop()
	var gaps []time.Duration
	for range s.kills {
		gap, err := g.around(s.settle, tg.killLeader)
		if err != nil {
			return nil, err
		}
		gaps = append(gaps, gap)
		if err := tg.recover(s.settle); err != nil {
			return nil, err
		}
	}
	return gaps, nil
}

func promotion(tg target, s settings) ([]time.Duration, error) {
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
			return nil, err
		}
		gaps = append(gaps, gap)
		if err := tg.settled(s.settle); err != nil {
			return nil, err
		}
	}
	return gaps, nil
}
