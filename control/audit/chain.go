package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"baton/control/journal"
)

// Bad is the first record of a chain that does not fit.
type Bad struct {
	Cluster string
	Index   int    // place in the chain, from 1
	ID      string // the record's own id, "" when it cannot be read
	Why     string // a sentence
}

// Chain checks the records of one cluster as they stand in the journal, oldest
// first. It looks at the stored bytes and not at a decoded copy: what a later
// version decodes or encodes otherwise changes nothing. The zero value, with
// its cluster set, has read nothing.
type Chain struct {
	Cluster string
	Records int    // read so far
	Hash    string // of the last record
	Bad     *Bad   // the first that does not fit, nil while all do
	Last    time.Time
}

// Add reads the next record. After the first bad one it only counts.
func (c *Chain) Add(raw []byte) {
	c.Records++
	var r struct {
		ID, Cluster, Prev, Hash string
		At                      time.Time
	}
	bad := func(why string, args ...any) {
		if c.Bad == nil {
			c.Bad = &Bad{Cluster: c.Cluster, Index: c.Records, ID: r.ID, Why: fmt.Sprintf(why, args...)}
		}
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		bad("it cannot be read: %v", err)
		c.Hash = ""
		return
	}
	switch {
	case r.Hash == "" || storedHash(raw, r.Hash) != r.Hash:
		bad("its hash does not cover what it says: it was changed after it was written")
	case r.Prev != c.Hash && c.Records == 1:
		bad("it names a record before it, and there is none: the beginning of the chain was taken out")
	case r.Prev != c.Hash:
		bad("it was chained to another record than the one before it: record %d was replaced, or records between were taken out or put in", c.Records-1)
	case r.Cluster != c.Cluster:
		bad("it belongs to %q: it was moved here from another chain", r.Cluster)
	}
	c.Hash, c.Last = r.Hash, r.At
}

// storedHash is the hash of a stored record: over its bytes with the value of
// its last member, hash, left out.
func storedHash(raw []byte, hash string) string {
	tail := []byte(`"hash":"` + hash + `"}`)
	if !bytes.HasSuffix(raw, tail) {
		return ""
	}
	h := sha256.New()
	h.Write(raw[:len(raw)-len(tail)])
	h.Write([]byte(`"hash":""}`))
	return hex.EncodeToString(h.Sum(nil))
}

// HeadsStream holds, chained by itself, how far each chain had come at some
// moments: without it the newest records of a chain, or all of them, could be
// taken out and the rest would still fit.
const HeadsStream = "audit-heads"

// HeadsType is the type of its events.
const HeadsType = "audit-heads-noted"

// Heads says how far the chains had come. Only those that grew since the
// record before are in it.
type Heads struct {
	At     time.Time       `json:"at"`
	Chains map[string]Head `json:"chains"`
	Prev   string          `json:"prev"`
	Hash   string          `json:"hash"`
}

// Head is the end of a chain: so many records, the last with this hash.
type Head struct {
	Records int    `json:"records"`
	Hash    string `json:"hash"`
}

func (h Heads) hash() string {
	h.Hash = ""
	b, err := json.Marshal(h)
	if err != nil {
		panic("audit: heads cannot be encoded: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Verification is the result of reading every chain from the journal.
type Verification struct {
	Records int
	Chains  int
	Bad     *Bad // nil when everything fits
}

// pageSize is how many events are read from the journal at once; a record of
// an operation has some 30 KiB.
const pageSize = 64

// VerifyAll reads the chains of the clusters, and the record of their heads, from
// the journal and returns the first entry that does not fit: by cluster in the
// order given, by place within it.
func VerifyAll(ctx context.Context, j journal.Journal, clusters []string) (Verification, error) {
	var v Verification
	ends := map[string]map[int]string{} // by cluster: hash of the record at a place that heads name
	heads, bad, err := readHeads(ctx, j)
	if err != nil {
		return v, err
	}
	for _, h := range heads {
		for c, e := range h.Chains {
			if ends[c] == nil {
				ends[c] = map[int]string{}
			}
			ends[c][e.Records] = e.Hash
		}
	}
	seen := map[string]bool{}
	note := func(b *Bad) {
		if v.Bad == nil {
			v.Bad = b
		}
	}
	one := func(cluster string) error {
		if seen[cluster] {
			return nil
		}
		seen[cluster] = true
		c := Chain{Cluster: cluster}
		err := each(ctx, j, Stream(cluster), func(r journal.Recorded) error {
			c.Add(r.Data)
			if want, ok := ends[cluster][c.Records]; ok && want != c.Hash && c.Bad == nil {
				c.Bad = &Bad{Cluster: cluster, Index: c.Records, Why: "it is not the record that was noted at this place: the chain was written anew"}
			}
			return nil
		})
		if err != nil {
			return err
		}
		v.Records += c.Records
		v.Chains++
		note(c.Bad)
		for n := range ends[cluster] {
			if n > c.Records {
				note(&Bad{Cluster: cluster, Index: c.Records + 1, Why: fmt.Sprintf("it is missing: %d records were noted and %d are there, the newest were taken out", n, c.Records)})
			}
		}
		return nil
	}
	for _, c := range clusters {
		if err := one(c); err != nil {
			return v, err
		}
	}
	for _, c := range sortedKeys(ends) { // chains that are gone as a whole
		if err := one(c); err != nil {
			return v, err
		}
	}
	note(bad)
	return v, nil
}

func readHeads(ctx context.Context, j journal.Journal) (all []Heads, bad *Bad, err error) {
	prev := ""
	err = each(ctx, j, HeadsStream, func(r journal.Recorded) error {
		if bad != nil {
			return nil // what follows proves nothing
		}
		var h Heads
		if err := json.Unmarshal(r.Data, &h); err != nil || h.Hash == "" || storedHash(r.Data, h.Hash) != h.Hash || h.Prev != prev {
			bad = &Bad{Cluster: HeadsStream, Index: len(all) + 1, Why: "the record of how far the chains had come was changed, or one before it was taken out"}
			return nil
		}
		prev = h.Hash
		all = append(all, h)
		return nil
	})
	return all, bad, err
}

// each reads a stream from its beginning.
func each(ctx context.Context, j journal.Journal, stream string, on func(journal.Recorded) error) error {
	for from := int64(0); ; {
		page, err := j.Read(ctx, stream, from, pageSize)
		if err != nil {
			return fmt.Errorf("read %s: %w", stream, err)
		}
		if len(page) == 0 {
			return nil
		}
		for _, r := range page {
			if err := on(r); err != nil {
				return err
			}
			from = r.Revision + 1
		}
	}
}

// Each delivers the stored records of a cluster, oldest first: decoded and as
// they stand in the journal. It returns on's error.
func Each(ctx context.Context, j journal.Journal, cluster string, on func(r Record, raw []byte) error) error {
	return each(ctx, j, Stream(cluster), func(e journal.Recorded) error {
		var r Record
		if err := json.Unmarshal(e.Data, &r); err != nil {
			r = Record{Cluster: cluster, At: e.At, What: "a record that cannot be read", Outcome: Failed}
		}
		return on(r, e.Data)
	})
}
