package node

import (
	"github.com/prometheus/client_golang/prometheus"

	"baton/eventstore/scavenge"
)

// openScavenger prepares scavenges of this node's log.
func (n *Node) openScavenger() (err error) {
	n.scavenger, err = scavenge.New(n.ctx, scavenge.Config{
		Log: n.storage.Log, Index: n.index, Heads: n.machine.Heads(), Mark: n.machine.Watermark(), Reader: n.reader, Append: n.Append,
		FS: n.fs, Dir: n.cfg.Dir, Name: n.cfg.Name, Clock: n.clock, Logger: n.cfg.Logger, Go: n.goRun,
	})
	return err
}

// Scavenger takes out of this node's log what nobody can read any more.
func (n *Node) Scavenger() *scavenge.Scavenger { return n.scavenger }

// scavengeFigures tells a registry of metrics how the running or last scavenge stands.
type scavengeFigures struct{ n *Node }

var (
	scavengeRunning  = prometheus.NewDesc("baton_scavenge_running", "1 while the log is being scavenged.", nil, nil)
	scavengeSegments = prometheus.NewDesc("baton_scavenge_segments", "Segments of the running or last scavenge: looked at, of them rewritten, and all.", []string{"which"}, nil)
	scavengeEvents   = prometheus.NewDesc("baton_scavenge_removed_events", "Events that the running or last scavenge removed.", nil, nil)
	scavengeSaved    = prometheus.NewDesc("baton_scavenge_saved_bytes", "Bytes of log files that the running or last scavenge saved.", nil, nil)
	logFileBytes     = prometheus.NewDesc("baton_log_file_bytes", "Bytes of header and frames in the files of the log.", nil, nil)
)

// Describe implements prometheus.Collector.
func (scavengeFigures) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{scavengeRunning, scavengeSegments, scavengeEvents, scavengeSaved, logFileBytes} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (f scavengeFigures) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	status, _ := f.n.scavenger.Status()
	running := 0.0
	if status.Running() {
		running = 1
	}
	gauge(scavengeRunning, running)
	gauge(scavengeSegments, float64(status.Segments), "looked-at")
	gauge(scavengeSegments, float64(status.Rewritten), "rewritten")
	gauge(scavengeSegments, float64(status.Total), "all")
	gauge(scavengeEvents, float64(status.Events))
	gauge(scavengeSaved, float64(status.Saved))
	bytes := int64(0)
	for _, s := range f.n.Segments() {
		bytes += s.FileBytes
	}
	gauge(logFileBytes, float64(bytes))
}
