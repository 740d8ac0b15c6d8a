package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"baton/eventstore/log"
	"baton/eventstore/peer"
	"baton/eventstore/scrub"
)

const (
	// framesBytes is how much of the log one answer to requestFrames holds at most,
	// unless one frame is longer.
	framesBytes = 1 << 20
	// mendPatience is how long a node that does not start for its damage looks for
	// another node that gives it what is missing.
	mendPatience = 30 * time.Second
	mendPause    = 200 * time.Millisecond
	mendAsk      = 3 * time.Second
	// maxStopped bounds the files mended one after the other before a start: more
	// are damaged than another copy is worth.
	maxStopped = 1000
)

// Scrubber looks after the bytes of this node's log.
func (n *Node) Scrubber() *scrub.Scrubber { return n.scrubber }

func (n *Node) openScrubber() {
	every := n.cfg.ScrubEvery
	if every < 0 {
		every = 0
	}
	n.scrubber = scrub.New(scrub.Config{
		Log: n.storage.Log, Committed: n.machine.Watermark().Applied, Fetch: n.fetchFrames, Every: every,
		Failed: n.stopWith,
		Changed: func() {
			n.pokeGossip()
			n.notify()
		},
		Clock: n.clock, Logger: n.cfg.Logger,
	})
	n.suspected.Store(n.scrubber)
}

// suspect is told of damage by readers of the log, the first before there is a scrubber.
func (n *Node) suspect(damage *log.CorruptionError) {
	if s := n.suspected.Load(); s != nil {
		s.Suspect(damage)
	}
}

// fetchFrames asks the members that are linked, in any order, for frames of the log.
func (n *Node) fetchFrames(ctx context.Context, pos uint64) (frames []byte, from string, err error) {
	members := n.machine.Roster().Members
	err = errors.New("no other node is linked")
	for _, i := range rand.Perm(len(members)) {
		member := members[i]
		if member.ID == n.identity.ID || !n.network.Up(member.ID) {
			continue
		}
		frames, answer := n.network.Request(ctx, member.ID, requestFrames, binary.LittleEndian.AppendUint64(nil, pos))
		if answer == nil {
			return frames, member.Label(), nil
		}
		err = fmt.Errorf("%s: %w", member.Label(), answer)
	}
	return nil, "", err
}

// framesHere answers requestFrames: verified frames of what this node has applied.
func (n *Node) framesHere(payload []byte) ([]byte, error) {
	if len(payload) != 8 {
		return nil, fmt.Errorf("a position of %d bytes", len(payload))
	}
	return n.storage.Log.Frames(binary.LittleEndian.Uint64(payload), n.machine.Watermark().Applied(), framesBytes)
}

// openOrMend opens the data directory. A log that does not open for damage in one of
// its files is mended with the frames of the nodes that the seeds name.
func (n *Node) openOrMend() error {
	for range maxStopped {
		err := n.openStorage()
		if err == nil {
			err = n.verifyUnapplied()
		}
		damage, ok := errors.AsType[*log.CorruptionError](err)
		if !ok {
			return err
		}
		n.closeStorage()
		n.storage, n.index, n.machine, n.reader = nil, nil, nil, nil
		if trouble := n.mendStopped(damage); trouble != nil {
			return fmt.Errorf("%w; it cannot be mended from another node: %w", err, trouble)
		}
	}
	return errors.New("the log has more damaged files than can be mended: wipe the data directory and let the node join again")
}

// verifyUnapplied reads the segments that hold what is to be applied again: raft
// ends the node where that is damaged. The last was read when the log was opened.
func (n *Node) verifyUnapplied() error {
	applied := n.machine.Watermark().Applied()
	for _, s := range n.storage.Log.Segments() {
		if !s.Closed || s.End <= applied {
			continue
		}
		if err := n.storage.Log.Verify(s.Base, s.End, nil); err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
	}
	return nil
}

func (n *Node) mendStopped(damage *log.CorruptionError) error {
	var id identity
	if found, err := readJSON(n.fs, path.Join(n.cfg.Dir, identityFile), &id); err != nil {
		return err
	} else if !found || id.ClusterID == "" {
		return errors.New("this node belongs to no cluster")
	}
	if len(n.cfg.Seeds)+len(n.cfg.PeerSeeds) == 0 {
		return errors.New("no seeds are configured, so no other node is known")
	}
	if err := n.cfg.TLS.identify(id.ID); err != nil {
		return err
	}
	links := peer.Options{ClientTLS: n.cfg.PeerClientTLS, Logger: n.cfg.Logger, Handler: peer.Handler{
		Hello: func() peer.Hello {
			return peer.Hello{ClusterID: id.ClusterID, From: id.ID, FromAddr: n.peerAddr}
		},
	}}
	if n.cfg.TLS != nil {
		links.ClientTLSNow, links.Identify = n.cfg.TLS.peerClient, n.identifyPeer
	}
	network := peer.New(links)
	defer network.Close()
	n.cfg.Logger.Error("the log is damaged and does not open; the nodes that the seeds name are asked for what is missing",
		"file", damage.File, "position", damage.Pos, "reason", damage.Reason)
	ctx, cancel := context.WithTimeout(n.ctx, mendPatience)
	defer cancel()
	for {
		mended, err := log.MendStopped(n.logOptions(), damage, func(pos uint64) ([]byte, error) { return n.askForFrames(ctx, network, pos) })
		if err == nil && mended == (log.Mended{}) {
			return errors.New("what is damaged cannot be told apart from what is not")
		}
		if err == nil {
			n.cfg.Logger.Warn("a damaged file of the log is whole again", "file", damage.File, "frames", mended.Frames, "bytes", mended.Bytes)
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-n.clock.NewTimer(mendPause).C():
		}
	}
}

// askForFrames asks every node that the seeds name until one has the frames.
func (n *Node) askForFrames(ctx context.Context, network *peer.Network, pos uint64) ([]byte, error) {
	addresses := append([]string(nil), n.cfg.PeerSeeds...)
	err := errors.New("no seed answers")
	for _, seed := range n.cfg.Seeds {
		asked, cancel := context.WithTimeout(ctx, seedTimeout)
		answer, trouble := n.askSeed(asked, seed)
		cancel()
		if trouble != nil {
			err = trouble
		} else if answer.PeerAddress != "" {
			addresses = append(addresses, answer.PeerAddress)
		}
	}
	for _, address := range addresses {
		if address == n.peerAddr {
			continue
		}
		asked, cancel := context.WithTimeout(ctx, mendAsk)
		frames, trouble := network.RequestAddress(asked, address, requestFrames, binary.LittleEndian.AppendUint64(nil, pos))
		cancel()
		if trouble == nil {
			return frames, nil
		}
		err = fmt.Errorf("%s: %w", address, trouble)
	}
	return nil, err
}

// scrubFigures tells a registry of metrics how the log's bytes are.
type scrubFigures struct{ n *Node }

var (
	scrubRunning = prometheus.NewDesc("baton_scrub_running", "1 while the log is being read through for damage.", nil, nil)
	scrubEnded   = prometheus.NewDesc("baton_scrub_last_ended_seconds", "Unix time at which the last complete reading of the log ended; 0: none since the start.", nil, nil)
	scrubDamaged = prometheus.NewDesc("baton_log_damaged_segments", "Segments of the log that are damaged and not mended.", nil, nil)
	scrubFound   = prometheus.NewDesc("baton_log_damaged_segments_total", "Segments of the log found to be damaged since the start.", nil, nil)
	scrubFrames  = prometheus.NewDesc("baton_log_mended_frames_total", "Frames of the log replaced by those of other nodes since the start.", nil, nil)
)

// Describe implements prometheus.Collector.
func (scrubFigures) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{scrubRunning, scrubEnded, scrubDamaged, scrubFound, scrubFrames} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (f scrubFigures) Collect(out chan<- prometheus.Metric) {
	s := f.n.scrubber.Status()
	running, ended := 0.0, 0.0
	if s.Running {
		running = 1
	}
	if !s.Ended.IsZero() {
		ended = float64(s.Ended.UnixMilli()) / 1000
	}
	out <- prometheus.MustNewConstMetric(scrubRunning, prometheus.GaugeValue, running)
	out <- prometheus.MustNewConstMetric(scrubEnded, prometheus.GaugeValue, ended)
	out <- prometheus.MustNewConstMetric(scrubDamaged, prometheus.GaugeValue, float64(len(s.Damaged)))
	out <- prometheus.MustNewConstMetric(scrubFound, prometheus.CounterValue, float64(s.Found))
	out <- prometheus.MustNewConstMetric(scrubFrames, prometheus.CounterValue, float64(s.Frames))
}
