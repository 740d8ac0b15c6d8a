package redis

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"baton/control/engine"
	"baton/control/engine/prober"

	goredis "github.com/redis/go-redis/v9"
)

const (
	// probeKeyTTL removes a probe's key when its agent died.
	probeKeyTTL = 20 * time.Minute
	// probeReadChunk is how many numbers one read-back command asks for.
	probeReadChunk = 500
)

// probe writes fields of one private hash: the same number twice is one field.
type probe struct {
	key     string
	targets []*probeTarget
	writer  *prober.Writer
}

type probeTarget struct {
	addr   string
	key    string
	client *goredis.Client
}

// Probe opens a synthetic writer over the instance and its peers.
func (d *Driver) Probe(in engine.Instance) (engine.Probe, error) {
	if _, err := d.node(in); err != nil {
		return nil, err
	}
	var id [6]byte
	rand.Read(id[:])
	p := &probe{key: "__baton:probe:" + hex.EncodeToString(id[:])}
	addrs := []string{in.Address()}
	for _, peer := range in.Peers {
		if peer.Address() != in.Address() {
			addrs = append(addrs, peer.Address())
		}
	}
	var ts []prober.Target
	for _, a := range addrs {
		t := &probeTarget{addr: a, key: p.key, client: newClient(a, in.Auth, probeClientName, 1)}
		p.targets = append(p.targets, t)
		ts = append(ts, t)
	}
	p.writer = prober.New(ts, 0)
	return p, nil
}

func (t *probeTarget) Address() string { return t.addr }

func (t *probeTarget) Write(ctx context.Context, seq int64) error {
	field := strconv.FormatInt(seq, 10)
	var err error
	if seq%64 == 1 {
		pipe := t.client.Pipeline()
		set := pipe.HSet(ctx, t.key, field, 1)
		pipe.PExpire(ctx, t.key, probeKeyTTL)
		_, _ = pipe.Exec(ctx)
		err = set.Err()
	} else {
		err = t.client.HSet(ctx, t.key, field, 1).Err()
	}
	var op *net.OpError
	if err != nil && !isReply(err) && !(errors.As(err, &op) && op.Op == "dial") {
		return fmt.Errorf("%w: %w", prober.ErrUnknown, err)
	}
	return err
}

// Run writes until ctx ends.
func (p *probe) Run(ctx context.Context, started func()) error { return p.writer.Run(ctx, started) }

// Acked is the number of writes acknowledged so far.
func (p *probe) Acked() int64 { return p.writer.Acked() }

// Finish reads back, removes the key and closes the connections.
func (p *probe) Finish(ctx context.Context) (engine.ProbeReport, error) {
	r := p.writer.Report()
	defer func() {
		for _, t := range p.targets {
			t.client.Close()
		}
	}()
	t, err := p.primary(ctx)
	if err != nil {
		return r, err
	}
	r.ReadFrom = t.addr
	for from := int64(1); from <= r.Acked; from += probeReadChunk {
		var fields []string
		for seq := from; seq <= min(r.Acked, from+probeReadChunk-1); seq++ {
			fields = append(fields, strconv.FormatInt(seq, 10))
		}
		vals, err := t.client.HMGet(ctx, p.key, fields...).Result()
		if err != nil {
			return r, fmt.Errorf("read the probe's writes back from %s: %w", t.addr, err)
		}
		for _, v := range vals {
			if v != nil {
				r.ReadBack++
			}
		}
	}
	r.Lost, r.Complete = r.Acked-r.ReadBack, true
	if err := t.client.Unlink(ctx, p.key).Err(); err != nil {
		return r, fmt.Errorf("remove the probe's key on %s (it expires by itself): %w", t.addr, err)
	}
	return r, nil
}

// primary is the one target that says it is a primary; the last one that
// acknowledged is asked first.
func (p *probe) primary(ctx context.Context) (*probeTarget, error) {
	order := append([]*probeTarget{p.targets[p.writer.Preferred()]}, p.targets...)
	for {
		for _, t := range order {
			cctx, cancel := context.WithTimeout(ctx, dialTimeout)
			text, err := t.client.Info(cctx, "replication").Result()
			cancel()
			if err == nil && parseInfo(text).isPrimary() {
				return t, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("read the probe's writes back: no member says that it is the primary: %w", ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}
