package index

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Defaults of PebbleOptions.
const (
	defaultFlushRows  = 200_000  // about a second at full load of single appends
	defaultFlushBytes = 24 << 20 // twice as much is in memory while a flush runs
	defaultCacheBytes = 32 << 20
)

// PebbleOptions says how to open a Pebble index. Zero fields mean defaults.
type PebbleOptions struct {
	Dir        string
	Logger     *slog.Logger // of errors in the background; nil = none
	FlushRows  int          // rows in memory that ask for a flush
	FlushBytes int64        // approximate memory of rows that asks for a flush
	CacheBytes int64        // block cache
}

// Pebble is an Index on disk. New rows gather in memory; a flush writes them
// sorted into one table file and hands that to Pebble, whose own memtable and
// write-ahead log stay unused: a row costs a map insertion now and a share of a
// sequential write later.
//
// A row's key is 0x01, the xxhash of the stream's name (8 bytes), the name, and
// First with all bits inverted (8 bytes), numbers big-endian: the rows of one
// stream stand together, highest revision first, so that looking up the last
// row is one seek that a Bloom filter on the stream cuts short when there is
// none. The value is Pos, Len and Count as varints.
type Pebble struct {
	opts PebbleOptions
	db   *pebble.DB
	po   *pebble.Options

	mu     sync.RWMutex // guards the two pointers and the rows within
	active *run
	frozen *run // being flushed; nil when none is

	pruneMu sync.Mutex // held by a Prune
	pruned  int

	// The writer's own:
	flushing chan struct{} // closed when the running flush is over; nil when none ran
	seq      int
	failMu   sync.Mutex
	failed   error // of a flush in the background; permanent
}

var _ Index = (*Pebble)(nil)

const (
	keyMeta   = 0x00
	keyRow    = 0x01
	suffixLen = 8
	// ingestPrefix begins the names of table files not yet handed over.
	ingestPrefix = "ingest-"
)

// metaKey sorts before all rows.
var metaKey = make([]byte, 1+suffixLen)

// comparer orders keys by prefix (the stream), then by suffix. It never
// shortens keys, so that every key it sees has a whole suffix.
var comparer = (&pebble.Comparer{
	Name:                 "baton.index.1",
	AbbreviatedKey:       pebble.DefaultComparer.AbbreviatedKey,
	Separator:            func(dst, a, _ []byte) []byte { return append(dst, a...) },
	Successor:            func(dst, a []byte) []byte { return append(dst, a...) },
	ComparePointSuffixes: bytes.Compare,
	CompareRangeSuffixes: bytes.Compare,
	Split: func(k []byte) int {
		if len(k) < 1+suffixLen {
			return len(k)
		}
		return len(k) - suffixLen
	},
}).EnsureDefaults()

// OpenPebble opens or creates the index in opts.Dir.
func OpenPebble(opts PebbleOptions) (*Pebble, error) {
	if opts.FlushRows <= 0 {
		opts.FlushRows = defaultFlushRows
	}
	if opts.FlushBytes <= 0 {
		opts.FlushBytes = defaultFlushBytes
	}
	if opts.CacheBytes <= 0 {
		opts.CacheBytes = defaultCacheBytes
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	cache := pebble.NewCache(opts.CacheBytes)
	defer cache.Unref()
	po := &pebble.Options{
		Cache:              cache,
		Comparer:           comparer,
		DisableWAL:         true,
		FormatMajorVersion: pebble.FormatNewest,
		FS:                 vfs.Default,
		Logger:             pebbleLogger{opts.Logger},
		MaxOpenFiles:       500,
		// The memtable is never written; this is its smallest useful size.
		MemTableSize:                256 << 10,
		MemTableStopWritesThreshold: 2,
		// Every flush is one file over the whole key range. Merging eight at a
		// time halves the rewriting of four at a time.
		L0CompactionThreshold:     8,
		L0CompactionFileThreshold: 8,
		L0StopWritesThreshold:     1000,
		LBaseMaxBytes:             256 << 20,
	}
	for i := range po.Levels {
		po.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		po.Levels[i].FilterType = pebble.TableFilter
		po.Levels[i].BlockSize = 16 << 10
	}
	po.EnsureDefaults()
	db, err := pebble.Open(opts.Dir, po)
	if err != nil {
		return nil, fmt.Errorf("open index %s: %w", opts.Dir, err)
	}
	p := &Pebble{opts: opts, db: db, po: po, active: newRun(0)}
	if err := p.removeLeftovers(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return p, nil
}

// removeLeftovers deletes table files of a flush that a crash interrupted.
func (p *Pebble) removeLeftovers() error {
	names, err := os.ReadDir(p.opts.Dir)
	if err != nil {
		return fmt.Errorf("list index: %w", err)
	}
	for _, n := range names {
		if strings.HasPrefix(n.Name(), ingestPrefix) {
			if err := os.Remove(filepath.Join(p.opts.Dir, n.Name())); err != nil {
				return fmt.Errorf("remove unfinished flush: %w", err)
			}
		}
	}
	return nil
}

// Add implements Index.
func (p *Pebble) Add(rows []Row) {
	p.mu.Lock()
	p.active.add(rows)
	p.mu.Unlock()
}

// ShouldFlush implements Index.
func (p *Pebble) ShouldFlush() bool {
	// Only the writer changes the run, and the writer asks.
	return p.active.count >= p.opts.FlushRows || p.active.bytes >= p.opts.FlushBytes
}

func (p *Pebble) layers(stream string) layers {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return layers{p.frozen.rows(stream), p.active.rows(stream)}
}

// FlushBehind implements Index.
func (p *Pebble) FlushBehind(meta []byte) error {
	if err := p.await(); err != nil {
		return err
	}
	p.mu.Lock()
	p.frozen, p.active = p.active, newRun(len(p.active.streams))
	p.mu.Unlock()
	done := make(chan struct{})
	p.flushing = done
	p.seq++
	name := fmt.Sprintf("%s%d.sst", ingestPrefix, p.seq)
	go p.flush(done, p.frozen, bytes.Clone(meta), filepath.Join(p.opts.Dir, name))
	return nil
}

// Flush implements Index.
func (p *Pebble) Flush(meta []byte) error {
	if err := p.FlushBehind(meta); err != nil {
		return err
	}
	return p.await()
}

// await waits for the running flush.
func (p *Pebble) await() error {
	if p.flushing != nil {
		<-p.flushing
	}
	p.failMu.Lock()
	defer p.failMu.Unlock()
	return p.failed
}

func (p *Pebble) flush(done chan struct{}, r *run, meta []byte, path string) {
	defer close(done)
	err := p.writeTable(r, meta, path)
	if err == nil {
		err = p.db.Ingest(context.Background(), []string{path})
	}
	if err != nil {
		err = fmt.Errorf("flush %d index rows: %w", r.count, err)
		p.opts.Logger.Error("index flush failed", "error", err)
		p.failMu.Lock()
		p.failed = err
		p.failMu.Unlock()
		return // the frozen rows stay readable
	}
	p.mu.Lock()
	p.frozen = nil
	p.mu.Unlock()
}

// writeTable writes meta and the run's rows into a synced table file.
func (p *Pebble) writeTable(r *run, meta []byte, path string) error {
	type entry struct {
		hash uint64
		list *rowList
	}
	entries := make([]entry, 0, len(r.streams))
	for name, l := range r.streams {
		entries = append(entries, entry{xxhash.Sum64String(name), l})
	}
	slices.SortFunc(entries, func(a, b entry) int {
		if a.hash == b.hash {
			return strings.Compare(a.list.stream, b.list.stream)
		}
		if a.hash < b.hash {
			return -1
		}
		return 1
	})
	f, err := p.po.FS.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	w := sstable.NewWriter(objstorageprovider.NewFileWritable(f), p.po.MakeWriterOptions(0, p.db.TableFormat()))
	if err := w.Set(metaKey, meta); err != nil {
		return errors.Join(err, w.Close())
	}
	var key, value []byte
	for _, e := range entries {
		key = append(key[:0], keyRow)
		key = binary.BigEndian.AppendUint64(key, e.hash)
		key = append(key, e.list.stream...)
		n := len(key)
		for i := len(e.list.rows) - 1; i >= 0; i-- {
			m := e.list.rows[i]
			key = binary.BigEndian.AppendUint64(key[:n], ^uint64(m.first))
			value = appendValue(value[:0], m)
			if err := w.Set(key, value); err != nil {
				return errors.Join(err, w.Close())
			}
		}
	}
	return w.Close()
}

func appendValue(b []byte, m memRow) []byte {
	b = binary.AppendUvarint(b, m.pos)
	b = binary.AppendUvarint(b, uint64(m.len))
	return binary.AppendUvarint(b, uint64(m.count))
}

var errBadRow = errors.New("index row is damaged; remove the index directory to rebuild it from the log")

// decode reads the row at the iterator; key and value are those of a row.
func decodeRow(stream string, key, value []byte) (Row, error) {
	r := Row{Stream: stream, First: int64(^binary.BigEndian.Uint64(key[len(key)-suffixLen:]))}
	pos, n := binary.Uvarint(value)
	if n <= 0 {
		return r, errBadRow
	}
	length, k := binary.Uvarint(value[n:])
	if k <= 0 {
		return r, errBadRow
	}
	count, m := binary.Uvarint(value[n+k:])
	if m <= 0 || count == 0 || n+k+m != len(value) || count > math.MaxUint32 || length > math.MaxUint32 || r.First < 0 {
		return r, errBadRow
	}
	r.Pos, r.Len, r.Count = pos, uint32(length), uint32(count)
	return r, nil
}

// rowKey is the key of the row of a stream with the given First.
func rowKey(stream string, first int64) []byte {
	key := make([]byte, 0, 1+8+len(stream)+suffixLen+1)
	key = append(key, keyRow)
	key = binary.BigEndian.AppendUint64(key, xxhash.Sum64String(stream))
	key = append(key, stream...)
	return binary.BigEndian.AppendUint64(key, ^uint64(first))
}

// Last implements Index.
func (p *Pebble) Last(stream string) (Row, bool, error) {
	ls := p.layers(stream)
	if m, ok := ls.newest(); ok {
		return m.row(stream), true, nil
	}
	it, err := p.db.NewIter(&pebble.IterOptions{UseL6Filters: true})
	if err != nil {
		return Row{}, false, fmt.Errorf("read index: %w", err)
	}
	if !it.SeekPrefixGE(rowKey(stream, 1<<63-1)) {
		return Row{}, false, it.Close()
	}
	r, err := decodeRow(stream, it.Key(), it.Value())
	return r, err == nil, errors.Join(err, it.Close())
}

// At implements Index.
func (p *Pebble) At(stream string, rev int64) (Row, bool, error) { return at(p, stream, rev) }

// Next implements Index.
func (p *Pebble) Next(stream string, rev int64) (Row, bool, error) { return next(p, stream, rev) }

// Prev implements Index.
func (p *Pebble) Prev(stream string, rev int64) (Row, bool, error) { return prev(p, stream, rev) }

// bounds limits an iterator to one stream.
func bounds(key []byte) *pebble.IterOptions {
	n := len(key) - suffixLen
	lower := append(slices.Clone(key[:n]), make([]byte, suffixLen)...)
	// The first prefix after the stream's; First = 0 has the highest suffix.
	upper := append(slices.Clone(key[:n]), make([]byte, 1+suffixLen)...)
	return &pebble.IterOptions{LowerBound: lower, UpperBound: upper}
}

// Forward implements Index.
func (p *Pebble) Forward(dst []Row, stream string, rev int64, max int) ([]Row, error) {
	rev = atLeastZero(rev)
	limit := len(dst) + max
	// The layers first: rows that a flush moves to disk meanwhile are then seen
	// twice rather than never.
	ls := p.layers(stream)
	if ls.covers(rev) {
		return ls.forward(dst, stream, rev, limit), nil
	}
	key := rowKey(stream, rev)
	it, err := p.db.NewIter(bounds(key))
	if err != nil {
		return dst, fmt.Errorf("read index: %w", err)
	}
	defer it.Close()
	ok := it.SeekGE(key) || it.Last()
	for ; ok && len(dst) < limit; ok = it.Prev() {
		r, err := decodeRow(stream, it.Key(), it.Value())
		if err != nil {
			return dst, err
		}
		if r.Last() >= rev {
			dst = append(dst, r)
			rev = r.Last() + 1
			if rev < 0 { // that was the tombstone
				return dst, it.Error()
			}
		}
	}
	if err := it.Error(); err != nil {
		return dst, fmt.Errorf("read index: %w", err)
	}
	return ls.forward(dst, stream, rev, limit), nil
}

// Backward implements Index.
func (p *Pebble) Backward(dst []Row, stream string, rev int64, max int) ([]Row, error) {
	limit := len(dst) + max
	ls := p.layers(stream)
	dst = ls.backward(dst, stream, rev, limit)
	if len(dst) == limit || rev < 0 {
		return dst, nil
	}
	if n := len(dst); n > limit-max {
		if rev = dst[n-1].First - 1; rev < 0 {
			return dst, nil
		}
	}
	key := rowKey(stream, rev)
	it, err := p.db.NewIter(bounds(key))
	if err != nil {
		return dst, fmt.Errorf("read index: %w", err)
	}
	defer it.Close()
	for ok := it.SeekGE(key); ok && len(dst) < limit; ok = it.Next() {
		r, err := decodeRow(stream, it.Key(), it.Value())
		if err != nil {
			return dst, err
		}
		dst = append(dst, r)
	}
	if err := it.Error(); err != nil {
		return dst, fmt.Errorf("read index: %w", err)
	}
	return dst, nil
}

func atLeastZero(rev int64) int64 { return max(rev, 0) }

// Meta implements Index.
func (p *Pebble) Meta() ([]byte, error) {
	v, closer, err := p.db.Get(metaKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read index meta: %w", err)
	}
	return bytes.Clone(v), closer.Close()
}

// Close implements Index.
func (p *Pebble) Close() error {
	err := p.await()
	if cerr := p.db.Close(); cerr != nil {
		err = errors.Join(err, fmt.Errorf("close index: %w", cerr))
	}
	return err
}

// pebbleLogger passes on errors only: Pebble reports every compaction.
type pebbleLogger struct{ l *slog.Logger }

func (l pebbleLogger) Infof(string, ...any)         {}
func (l pebbleLogger) Errorf(f string, args ...any) { l.l.Error(fmt.Sprintf(f, args...)) }
func (l pebbleLogger) Fatalf(f string, args ...any) { panic(fmt.Sprintf("index: "+f, args...)) }
