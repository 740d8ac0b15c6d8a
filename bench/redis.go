package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// redisCommand compares planned moves of a Redis primary: `bench redis-failover`.
const redisCommand = "redis-failover"

// redisMover is one way to move the primary of a running site to another server.
type redisMover interface {
	name() string
	// start makes ready what the way needs beside the servers.
	start(s *redisSite) error
	stop()
	// address is where clients are to connect to; "" lets them find the primary among the servers.
	address() string
	// move moves the primary to a server and returns when the mover says it is done. A move that was taken back and
	// changed nothing is errTakenBack.
	move(ctx context.Context, s *redisSite, to *redisServer) error
}

var errTakenBack = errors.New("it was taken back")

// redisResult is what the moves of one way did.
type redisResult struct {
	moves, takenBack         int
	gaps                     []time.Duration
	acked, lost              int
	errs                     int // commands of the writer that were answered with an error, or not at all
	repointed, others        int // servers beside old and new primary that followed the new one in the end
	fulls, partials          int
	settled                  []time.Duration // from the order until every server follows the new primary, by itself
	firstError, whyTakenBack string
}

func runRedis(args []string) error {
	f := flag.NewFlagSet(redisCommand, flag.ExitOnError)
	binary := f.String("baton", "../bin/baton", "path of the binary under test")
	moves := f.Int("moves", 20, "moves by Baton, of each kind")
	slow := f.Int("native-moves", 10, "moves by FAILOVER and by SENTINEL FAILOVER, which take many seconds each")
	only := f.String("only", "", "comma list: failover, sentinel, baton, endpoint (empty: all)")
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
	ways := []struct {
		key   string
		mover redisMover
		moves int
	}{
		{"failover", &failoverMover{}, *slow},
		{"sentinel", &sentinelMover{}, *slow},
		{"baton", &batonMover{binary: bin}, *moves},
		{"endpoint", &batonMover{binary: bin, endpoint: true}, *moves},
	}
	var out strings.Builder
	fmt.Fprintf(&out, "Three Redis servers, one writer that writes once a millisecond; planned moves of the primary.\n\n"+
		"| way | moves | longest wait of the writer: median, longest | acknowledged, lost | errors of the writer | third server follows the new primary | full, partial resyncs | all follow after |\n|---|---|---|---|---|---|---|---|\n")
	for i, w := range ways {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), w.key) {
			continue
		}
		res, err := measureMoves(filepath.Join(dir, fmt.Sprint(i)), w.mover, w.moves)
		if err != nil {
			return fmt.Errorf("%s: %w", w.mover.name(), err)
		}
		out.WriteString(res.row(w.mover.name()))
		if res.firstError != "" {
			fmt.Fprintf(os.Stderr, "%s: the writer's first error: %s\n", w.mover.name(), res.firstError)
		}
		if res.whyTakenBack != "" {
			fmt.Fprintf(os.Stderr, "%s: %s\n", w.mover.name(), res.whyTakenBack)
		}
	}
	fmt.Print(out.String())
	return nil
}

func (r *redisResult) row(name string) string {
	at := func(d []time.Duration, q float64) string {
		if len(d) == 0 {
			return "-"
		}
		slices.Sort(d)
		return ms(d[min(len(d)-1, int(q*float64(len(d))))])
	}
	moves := fmt.Sprint(r.moves)
	if r.takenBack > 0 {
		moves += fmt.Sprintf(" (%d taken back)", r.takenBack)
	}
	return fmt.Sprintf("| %s | %s | %s, %s | %d, **%d** | %d | %d of %d | %d, %d | %s, %s |\n", name, moves, at(r.gaps, 0.5), at(r.gaps, 1),
		r.acked, r.lost, r.errs, r.repointed, r.others, r.fulls, r.partials, at(r.settled, 0.5), at(r.settled, 1))
}

const (
	moveTime = 2 * time.Minute
	// settleTime is how long servers may take to follow the new primary by themselves.
	settleTime = 20 * time.Second
)

// measureMoves moves the primary of a fresh site around.
func measureMoves(dir string, m redisMover, moves int) (res *redisResult, err error) {
	s, err := startRedisSite(dir)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	if err := m.start(s); err != nil {
		return nil, err
	}
	defer m.stop()
	w, err := s.write(m.address())
	if err != nil {
		return nil, err
	}
	defer w.end()
	res = &redisResult{}
	for i := range moves {
		from := s.primary()
		if from == nil {
			return res, fmt.Errorf("move %d: no primary", i+1)
		}
		to := s.servers[(slices.Index(s.servers, from)+1+i%2)%len(s.servers)]
		if err := w.flow(moveTime, 100); err != nil {
			return res, fmt.Errorf("before move %d: %w", i+1, err)
		}
		before := s.syncs()
		w.take()
		began := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), moveTime)
		err := m.move(ctx, s, to)
		cancel()
		if errors.Is(err, errTakenBack) {
			res.takenBack++
			res.whyTakenBack = err.Error()
			continue
		}
		if err != nil {
			return res, fmt.Errorf("move %d to %s: %w", i+1, to.name, err)
		}
		// Sentinel chooses by itself who follows.
		followers, now := s.settle(from, began.Add(settleTime))
		if now == nil {
			return res, fmt.Errorf("move %d: %s is primary still", i+1, from.name)
		}
		if len(followers) == len(s.servers)-1 {
			res.settled = append(res.settled, time.Since(began))
		}
		if err := w.flow(moveTime, 100); err != nil {
			return res, fmt.Errorf("after move %d: %w", i+1, err)
		}
		res.moves++
		t := w.take()
		res.gaps = append(res.gaps, t.gap)
		res.acked += len(t.acked)
		res.errs += t.errs
		if res.firstError == "" {
			res.firstError = t.firstErr
		}
		for _, o := range s.servers {
			if o != from && o != now {
				res.others++
				if slices.Contains(followers, o) {
					res.repointed++
				}
			}
		}
		after := s.syncs()
		res.fulls += after.full - before.full
		res.partials += after.partial - before.partial
		lost, err := s.missing(now, t.acked)
		if err != nil {
			return res, err
		}
		res.lost += lost
		fmt.Fprintf(os.Stderr, "%s: move %d of %d: waited %s, %d acknowledged, %d lost, %d errors\n", m.name(), i+1, moves, ms(t.gap), len(t.acked), lost, t.errs)
		if err := s.align(now); err != nil { // every move begins from the same
			return res, err
		}
	}
	return res, nil
}
