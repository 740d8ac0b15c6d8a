package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Prune implements Index. It hands Pebble a table of deletions, which merges
// take in later; the table is there as a whole after a crash, or not at all.
//
// A row is deleted only if Pebble itself, not just memory, has a later row of
// its stream. So whatever flush the index is found with after a crash, the last
// row of each stream as of that flush is in it, and a replay from there finds
// every head it needs.
func (p *Pebble) Prune(rows []Row) (int, error) {
	p.pruneMu.Lock()
	defer p.pruneMu.Unlock()
	keys, err := p.prunable(rows)
	if err != nil {
		return 0, fmt.Errorf("prune the index: %w", err)
	}
	if len(keys) == 0 {
		return 0, nil
	}
	p.pruned++
	name := filepath.Join(p.opts.Dir, fmt.Sprintf("%sprune-%d.sst", ingestPrefix, p.pruned))
	if err = p.writeDeletions(name, keys); err == nil {
		err = p.db.Ingest(context.Background(), []string{name})
	}
	if err != nil {
		return 0, fmt.Errorf("prune %d index rows: %w", len(keys), err)
	}
	return len(keys), nil
}

// prunable returns the keys of the rows that are stored and may go, ascending.
func (p *Pebble) prunable(rows []Row) (keys [][]byte, err error) {
	type hashed struct {
		hash uint64
		row  *Row
	}
	order := make([]hashed, len(rows))
	for i := range rows {
		order[i] = hashed{xxhash.Sum64String(rows[i].Stream), &rows[i]}
	}
	slices.SortFunc(order, func(a, b hashed) int { // the order of the keys
		switch {
		case a.hash != b.hash:
			if a.hash < b.hash {
				return -1
			}
			return 1
		case a.row.Stream != b.row.Stream:
			return strings.Compare(a.row.Stream, b.row.Stream)
		case a.row.First > b.row.First:
			return -1
		case a.row.First < b.row.First:
			return 1
		}
		return 0
	})
	it, err := p.db.NewIter(nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	last := int64(-1) // First of the last stored row of the stream, -1 if there is none
	for i, o := range order {
		if i == 0 || order[i-1].row.Stream != o.row.Stream {
			last = -1
			key := rowKey(o.row.Stream, math.MaxInt64)
			if it.SeekGE(key) && bytes.Equal(it.Key()[:len(it.Key())-suffixLen], key[:len(key)-suffixLen]) {
				stored, err := decodeRow(o.row.Stream, it.Key(), it.Value())
				if err != nil {
					return nil, err
				}
				last = stored.First
			}
		}
		if o.row.First >= last || i > 0 && order[i-1].row.Stream == o.row.Stream && order[i-1].row.First == o.row.First {
			continue
		}
		key := rowKey(o.row.Stream, o.row.First)
		if it.SeekGE(key) && bytes.Equal(it.Key(), key) {
			keys = append(keys, key)
		}
	}
	return keys, it.Error()
}

// writeDeletions writes a synced table file that deletes keys.
func (p *Pebble) writeDeletions(name string, keys [][]byte) error {
	f, err := p.po.FS.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	w := sstable.NewWriter(objstorageprovider.NewFileWritable(f), p.po.MakeWriterOptions(0, p.db.TableFormat()))
	for _, k := range keys {
		if err := w.Delete(k); err != nil {
			return errors.Join(err, w.Close())
		}
	}
	return w.Close()
}
