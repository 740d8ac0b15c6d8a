package importer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"baton/gen/eventstore/streams"
)

// DefaultMaxGap is how many revisions that the source no longer has are filled
// in one stream.
const DefaultMaxGap = 1_000_000

const (
	// checkpointEvery and checkpointEvents bound what an interrupted import sends again.
	checkpointEvery  = 5 * time.Second
	checkpointEvents = 50_000
	progressEvery    = time.Second
	// checkpointPrefix begins the name of the target's stream with the checkpoints.
	checkpointPrefix = "$import-"
	checkpointType   = "$importCheckpoint"
)

// Options says what is imported from where.
type Options struct {
	Source, Target string   // connection strings
	Name           string   // of the import, for its checkpoints; the source's first host when empty
	Include        []string // prefixes of system streams to copy too
	MaxGap         int64    // DefaultMaxGap when 0
	Restart        bool     // from the start of the source, without regard to checkpoints
	Follow         bool     // go on with what is written at the source until the context ends
	// Progress is told about once a second, and at the end; nil tells nobody.
	Progress func(Progress)
}

// Progress says how far an import is.
type Progress struct {
	Events    uint64 // copied, also those that were there already
	Passed    uint64 // events of system streams, not copied
	Filled    uint64 // revisions filled
	Bytes     uint64 // of data and metadata copied
	NoCreated uint64 // events whose time could not be kept: their metadata is no JSON object
	Position  uint64 // at the source
	End       uint64 // the source's last position when the import began
	Elapsed   time.Duration
	Resumed   bool
}

// Run copies until the end of the source at its beginning, or until ctx ends with
// Follow. Whatever was acknowledged before an error stays; the next Run goes on
// from the last checkpoint. Errors: *ConflictError when the target holds other
// events; those of both servers.
func Run(ctx context.Context, o Options) (Progress, error) {
	i, closeAll, err := open(ctx, o)
	if err != nil {
		return Progress{}, err
	}
	defer closeAll()
	err = i.run(ctx)
	i.report(true)
	return i.progress, err
}

// importer is one running import.
type importer struct {
	o        Options
	source   streams.StreamsClient
	target   *target
	stream   string // with the checkpoints
	progress Progress
	began    time.Time
	reported time.Time
	saved    time.Time // when the last checkpoint was written
	unsaved  uint64    // events since then
	limited  bool      // of the checkpoints only the last is kept
	fresh    bool      // the target held nothing of clients when the import began
	live     bool      // caught up with a source that is followed
	joined   *batch    // events of one stream, not sent yet
	// next has the revision after the last one handed to the target, by stream.
	next map[string]int64
	// gaps has the first revision that the source still had, by stream; looked
	// says for which streams the target was asked, after a resumption.
	gaps   map[string]int64
	looked map[string]bool
}

func open(ctx context.Context, o Options) (*importer, func(), error) {
	if o.MaxGap == 0 {
		o.MaxGap = DefaultMaxGap
	}
	from, err := ParseConnection(o.Source)
	if err != nil {
		return nil, nil, fmt.Errorf("source: %w", err)
	}
	to, err := ParseConnection(o.Target)
	if err != nil {
		return nil, nil, fmt.Errorf("target: %w", err)
	}
	if o.Name == "" {
		o.Name = from.Hosts[0]
	}
	var conns []*grpc.ClientConn
	closeAll := func() {
		for _, c := range conns {
			c.Close()
		}
	}
	for _, c := range []struct {
		what string
		Connection
	}{{"source", from}, {"target", to}} {
		conn, err := c.dial(ctx)
		if err != nil {
			closeAll()
			return nil, nil, fmt.Errorf("%s: %w", c.what, err)
		}
		conns = append(conns, conn)
	}
	return &importer{o: o, source: streams.NewStreamsClient(conns[0]), target: newTarget(ctx, conns[1]), stream: checkpointPrefix + o.Name,
		next: map[string]int64{}, gaps: map[string]int64{}, looked: map[string]bool{}}, closeAll, nil
}

func (i *importer) run(ctx context.Context) error {
	i.began = time.Now()
	i.saved, i.reported = i.began, i.began
	if err := read(ctx, i.source, allEnd(), func(r record) error { i.progress.End = r.position; return nil }); err != nil {
		return fmt.Errorf("read the end of the source: %w", explained(err))
	}
	var from uint64
	if !i.o.Restart {
		var err error
		if from, err = i.checkpoint(ctx); err != nil {
			return err
		}
	}
	if err := i.lookForOthers(ctx); err != nil {
		return err
	}
	i.progress.Resumed = from > 0
	i.progress.Position = from
	err := follow(ctx, i.source, allFrom(from, i.o.Follow), func(r record) error {
		if r.position <= from {
			return nil // the last one of the run before
		}
		if !i.o.Follow && r.position > i.progress.End {
			return errEnd
		}
		if err := i.take(ctx, r); err != nil {
			return err
		}
		i.progress.Position = r.position
		i.report(false)
		if i.live {
			if err := i.flush(); err != nil {
				return err
			}
		}
		if i.unsaved >= checkpointEvents || time.Since(i.saved) > checkpointEvery {
			return i.save(ctx)
		}
		return nil
	}, func() error {
		i.live = true
		i.report(true)
		return i.save(ctx)
	})
	if err != nil && !errors.Is(err, errEnd) {
		if i.o.Follow && ctx.Err() != nil { // told to stop: keep what is on its way
			return nil
		}
		return explained(err)
	}
	return i.save(ctx)
}

// errEnd: everything that the source held at the beginning was read.
var errEnd = errors.New("end of the source")

// explained adds what to do to errors of the servers that users meet.
func explained(err error) error {
	switch status.Code(err) {
	case codes.PermissionDenied, codes.Unauthenticated:
		return fmt.Errorf("%w: reading all streams, and writing here, needs an administrator: name one in the connection string", err)
	case codes.InvalidArgument:
		return fmt.Errorf("%w: if the source no longer has the position of the last checkpoint, import with --restart; nothing is written twice", err)
	}
	return err
}

// take hands one event to the target.
func (i *importer) take(ctx context.Context, r record) error {
	if !wanted(r.stream, i.o.Include) {
		i.progress.Passed++
		return nil
	}
	i.progress.Events++
	i.progress.Bytes += uint64(len(r.data) + len(r.metadata))
	i.unsaved++
	if r.kind == tombstoneType {
		if err := i.flush(); err != nil {
			return err
		}
		return i.target.tombstone(ctx, r.stream)
	}
	if isMeta(r.stream) {
		return i.metadata(ctx, r)
	}
	if next, seen := i.next[r.stream]; r.revision > next || !seen && r.revision > 0 {
		if err := i.fill(ctx, r, next, seen); err != nil {
			return err
		}
	}
	i.next[r.stream] = r.revision + 1
	return i.join(r.stream, r.revision-1, i.propose(r))
}

func (i *importer) propose(r record) *streams.BatchAppendReq_ProposedMessage {
	metadata, kept := withCreated(r.metadata, r.created)
	if !kept {
		i.progress.NoCreated++
	}
	return proposed(r.id, r.kind, r.json, metadata, r.data)
}

// join adds an event to the append that gathers, or begins the next one.
func (i *importer) join(stream string, expected int64, m *streams.BatchAppendReq_ProposedMessage) error {
	size := len(m.GetData()) + len(m.GetCustomMetadata()) + 100
	b := i.joined
	fits := b != nil && b.stream == stream && expected != anyRevision && b.expected+int64(len(b.events)) == expected &&
		len(b.events) < maxBatchEvents && b.bytes+size <= maxBatchBytes
	if !fits {
		if err := i.flush(); err != nil {
			return err
		}
		b = &batch{stream: stream, expected: expected}
		i.joined = b
	}
	b.events = append(b.events, m)
	b.bytes += size
	return nil
}

func (i *importer) flush() error {
	b := i.joined
	i.joined = nil
	if b == nil {
		return nil
	}
	return i.target.append(b)
}

// metadata copies an event of a metadata stream. Such streams are not numbered
// as at the source: of them only the last event counts.
func (i *importer) metadata(ctx context.Context, r record) error {
	of := strings.TrimPrefix(r.stream, metaPrefix)
	if i.progress.Resumed && !i.looked[of] {
		i.looked[of] = true
		if err := i.flushAll(); err != nil {
			return err
		}
		document, err := i.document(ctx, of)
		if err != nil {
			return err
		}
		if _, first := withoutGap(document); first > 0 {
			i.gaps[of] = first
		}
	}
	m := i.propose(r)
	if first := i.gaps[of]; first > 0 && r.kind == metadataType {
		m.Data = withGap(r.data, first)
	}
	return i.join(r.stream, anyRevision, m)
}

// document reads the metadata of a stream at the target.
func (i *importer) document(ctx context.Context, stream string) (document []byte, err error) {
	err = read(ctx, i.target.client, lastOf(metaPrefix+stream), func(r record) error {
		document = r.data
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the metadata of stream %q at the target: %w", stream, err)
	}
	return document, nil
}

// fill writes events for the revisions before r that the source no longer has.
// When this run has not seen the stream before, the target may have them.
func (i *importer) fill(ctx context.Context, r record, next int64, seen bool) error {
	if !seen && (i.progress.Resumed || i.o.Restart) {
		if err := i.flushAll(); err != nil {
			return err
		}
		err := read(ctx, i.target.client, lastOf(r.stream), func(last record) error {
			next = min(last.revision+1, r.revision)
			return nil
		})
		switch {
		case status.Code(err) == codes.FailedPrecondition: // tombstoned: the import was here
			return nil
		case err != nil:
			return fmt.Errorf("read the end of stream %q at the target: %w", r.stream, err)
		}
	}
	missing := r.revision - next
	if missing == 0 {
		return nil
	}
	if missing > i.o.MaxGap {
		return fmt.Errorf("stream %q: the source no longer has the revisions %d to %d, more than the %d that are filled so that numbers stay; allow it with --max-gap %d",
			r.stream, next, r.revision-1, i.o.MaxGap, missing)
	}
	for revision := next; revision < r.revision; revision++ {
		// The same id each time, so that a repeated import recognizes it.
		id := uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "%d@%s", revision, r.stream))
		if err := i.join(r.stream, revision-1, proposed(id, gapType, false, nil, nil)); err != nil {
			return err
		}
		i.progress.Filled++
	}
	i.gaps[r.stream] = r.revision
	if err := i.flushAll(); err != nil {
		return err
	}
	document, err := i.document(ctx, r.stream)
	if err != nil {
		return err
	}
	return i.join(metaPrefix+r.stream, anyRevision, proposed(uuid.New(), metadataType, true, nil, withGap(document, r.revision)))
}

// flushAll waits until the target has acknowledged everything.
func (i *importer) flushAll() error {
	if err := i.flush(); err != nil {
		return err
	}
	return i.target.drain()
}

// lookForOthers finds out whether the target holds events of clients that no
// import of this name began with.
func (i *importer) lookForOthers(ctx context.Context) error {
	if i.fresh {
		return nil
	}
	i.fresh = true
	err := read(ctx, i.target.client, firstOfClients(), func(record) error {
		i.fresh = false
		return nil
	})
	if err != nil {
		return fmt.Errorf("look for events at the target: %w", explained(err))
	}
	i.target.careful = !i.fresh
	return nil
}

// checkpointRecord is the data of a checkpoint event.
type checkpointRecord struct {
	Position uint64 `json:"position"`
	Events   uint64 `json:"events"`
	Fresh    bool   `json:"fresh"` // the target was empty when the import began
}

// checkpoint returns the position after which the import goes on, 0 for the start.
func (i *importer) checkpoint(ctx context.Context) (uint64, error) {
	var c checkpointRecord
	err := read(ctx, i.target.client, lastOf(i.stream), func(r record) error { return json.Unmarshal(r.data, &c) })
	if err != nil {
		return 0, fmt.Errorf("read the checkpoint at the target: %w", explained(err))
	}
	i.fresh = c.Fresh
	return c.Position, nil
}

// save notes in the target that everything up to the present position is there.
func (i *importer) save(ctx context.Context) error {
	if err := i.flushAll(); err != nil {
		return err
	}
	if i.unsaved == 0 && i.progress.Position == 0 {
		return nil
	}
	data, err := json.Marshal(checkpointRecord{Position: i.progress.Position, Events: i.progress.Events, Fresh: i.fresh})
	if err != nil {
		return fmt.Errorf("encode checkpoint: %w", err)
	}
	b := &batch{stream: i.stream, expected: anyRevision, events: []*streams.BatchAppendReq_ProposedMessage{proposed(uuid.New(), checkpointType, true, nil, data)}}
	if err := i.target.repair(b, errEnd); err != nil {
		return fmt.Errorf("write the checkpoint at the target: %w", explained(err))
	}
	if !i.limited {
		limit := &batch{stream: metaPrefix + i.stream, expected: anyRevision,
			events: []*streams.BatchAppendReq_ProposedMessage{proposed(uuid.New(), metadataType, true, nil, []byte(`{"$maxCount":1}`))}}
		if err := i.target.repair(limit, errEnd); err != nil {
			return fmt.Errorf("limit the checkpoints at the target: %w", explained(err))
		}
		i.limited = true
	}
	i.saved, i.unsaved = time.Now(), 0
	return nil
}

func (i *importer) report(last bool) {
	if i.o.Progress == nil || !last && time.Since(i.reported) < progressEvery {
		return
	}
	i.reported = time.Now()
	i.progress.Elapsed = time.Since(i.began)
	i.o.Progress(i.progress)
}
