package node

import (
	"crypto/tls"
	"log/slog"
	"time"

	"baton/eventstore/scrub"
	"baton/platform/tracing"
	"baton/platform/vfs"
)

// Defaults of Config. A zero field takes its default.
const (
	DefaultWriteTimeout    = 2 * time.Second
	DefaultReplaceAfter    = 30 * time.Second
	DefaultPriorityHoldOff = 5 * time.Second
	DefaultStickyFor       = 10 * time.Minute
	DefaultResignHoldOff   = 30 * time.Second
	DefaultTickEvery       = 50 * time.Millisecond
	DefaultSettle          = 2 * time.Second
	DefaultMaxAppendBytes  = 256 << 20
	DefaultMaxEventBytes   = 16 << 20
)

// Config is all a node needs to run.
type Config struct {
	Dir      string // data directory: identity, founding, term and vote, log
	IndexDir string // derived index; Dir/index when empty
	FS       vfs.FS // the operating system when nil

	Name            string // shown to people; unique in the cluster; advertised host:port when empty
	ClusterName     string // shown to people; the founders' choice wins
	ClusterSize     int    // voters wanted, 1 or odd; used only while the cluster is founded
	Priority        int
	ReadOnlyReplica bool
	// JoinOnly: without a cluster this node waits for one to join and takes part in
	// no founding, unless it began one before it was told so.
	JoinOnly bool

	PeerListen    string // host:port to bind for other nodes, for example 127.0.0.1:1112; port 0 picks one
	PeerAdvertise string // host:port other nodes dial; the bound address when empty
	ClientHost    string // host clients dial
	ClientPort    int

	// Seeds are other nodes' client addresses (host:port). Each is asked over
	// HTTP for its peer address at HelloPath.
	Seeds []string
	// PeerSeeds are other nodes' peer addresses, used without asking.
	PeerSeeds []string

	// TLS is the certificates of a secure node; it wins over the three below.
	TLS *TLS

	// PeerTLS secures node-to-node links in both directions (mutual TLS); nil means plain TCP.
	PeerServerTLS *tls.Config
	PeerClientTLS *tls.Config
	// SeedTLS is used for asking seeds over HTTPS; nil means plain HTTP.
	SeedTLS *tls.Config

	WriteTimeout    time.Duration
	ReplaceAfter    time.Duration // a voter silent for so long is replaced by a clone
	CatchUpFor      time.Duration // a clone must have been caught up for so long before it is promoted; 2 s when zero
	PriorityHoldOff time.Duration // the leader must have led, and the successor been fit, for so long
	StickyFor       time.Duration // a promotion by name is not undone by priority for so long
	ResignHoldOff   time.Duration // a resigned leader is not chosen by priority for so long
	TickEvery       time.Duration // raft tick; heartbeats every 2, elections after 8 to 16 ticks
	Settle          time.Duration // how long a founding waits for the rest of the founders

	MaxAppendBytes int
	MaxEventBytes  int
	CacheBytes     int64 // log tail cache
	SegmentBytes   int64

	// ScrubEvery is the time from one reading of the whole log for damage to the
	// next; negative: only by request.
	ScrubEvery time.Duration

	// Tracer records the steps of traced appends; nil: none.
	Tracer *tracing.Tracer

	Version string
	Logger  *slog.Logger
}

func (c *Config) setDefaults() {
	setDuration := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	setDuration(&c.WriteTimeout, DefaultWriteTimeout)
	setDuration(&c.ReplaceAfter, DefaultReplaceAfter)
	setDuration(&c.PriorityHoldOff, DefaultPriorityHoldOff)
	setDuration(&c.StickyFor, DefaultStickyFor)
	setDuration(&c.ResignHoldOff, DefaultResignHoldOff)
	setDuration(&c.TickEvery, DefaultTickEvery)
	setDuration(&c.Settle, DefaultSettle)
	setDuration(&c.ScrubEvery, scrub.DefaultEvery)
	if c.MaxAppendBytes == 0 {
		c.MaxAppendBytes = DefaultMaxAppendBytes
	}
	if c.MaxEventBytes == 0 {
		c.MaxEventBytes = DefaultMaxEventBytes
	}
	if c.ClusterSize == 0 {
		c.ClusterSize = 1
	}
	if c.FS == nil {
		c.FS = vfs.OS()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}
