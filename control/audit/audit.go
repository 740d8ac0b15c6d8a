// Package audit keeps who did what to a cluster: one record per attempt,
// refused ones included, appended to a stream of its own and chained by hash,
// so that a record cannot be changed or taken out without breaking the chain.
//
// A promotion that begins is durable in the cluster's stream before anything
// is touched; its audit record closes it when it ends.
package audit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"baton/control/journal"
	"baton/control/operation"
	"baton/control/plan"
)

// EventType is the type of an audit event in the journal.
const EventType = "audit-recorded"

// System is the "cluster" of records that belong to no cluster: sign-ins,
// users, attempts on clusters that do not exist.
const System = "system"

// Stream returns the stream of a cluster's records.
func Stream(cluster string) string { return "audit-" + cluster }

// Outcomes of an attempt.
const (
	Done       = "done"
	Refused    = "refused"
	RolledBack = "rolled-back"
	Failed     = "failed"
	Cancelled  = "cancelled"
)

// Who made an attempt, and from where.
type Who struct {
	Name   string `json:"name"`
	Role   string `json:"role"`
	Source string `json:"source"` // ui, cli, api, auto
	IP     string `json:"ip"`
}

// Record is one attempt. Secrets are never in it.
type Record struct {
	ID string    `json:"id"`
	At time.Time `json:"at"`
	Who
	What    string `json:"what"` // a sentence
	Cluster string `json:"cluster"`
	Node    string `json:"node,omitempty"`
	Outcome string `json:"outcome"`
	Detail  string `json:"detail,omitempty"`
	// Kind is what the attempt was about ("sign-in", "people", "schedule"), ""
	// for operations, whose Change says it, and for records of older versions.
	Kind string `json:"kind,omitempty"`
	// Request is the id of the HTTP request, for logs.
	Request string `json:"request,omitempty"`
	// Change is set for attempts that became an operation.
	Change *Change `json:"change,omitempty"`
	// Prev is the hash of the record before, "" for the first; Hash covers
	// Prev and this record.
	Prev string `json:"prev"`
	Hash string `json:"hash"`
}

// Change is everything about a change of roles.
type Change struct {
	Operation        string                 `json:"operation"`
	Kind             string                 `json:"kind"`
	GenerationBefore uint64                 `json:"generationBefore,string"`
	GenerationAfter  uint64                 `json:"generationAfter,string"`
	From             string                 `json:"from"`
	To               string                 `json:"to"`
	Reason           string                 `json:"reason,omitempty"`
	Overrides        []string               `json:"overrides,omitempty"`
	Approver         string                 `json:"approver,omitempty"`
	Report           plan.Report            `json:"report"`
	Rejected         []operation.Role       `json:"rejected,omitempty"`
	Steps            []operation.StepRecord `json:"steps"`
	Stall            *operation.Stall       `json:"stall,omitempty"`
	Proof            *operation.Proof       `json:"proof,omitempty"`
	RolesBefore      []operation.Role       `json:"rolesBefore,omitempty"`
	RolesAfter       []operation.Role       `json:"rolesAfter,omitempty"`
	UndoUntil        *time.Time             `json:"undoUntil,omitempty"`
}

// hash of a record: over its JSON with Hash empty. Prev is part of it.
func (r Record) hash() string {
	r.Hash = ""
	b, err := json.Marshal(r)
	if err != nil {
		panic("audit: record cannot be encoded: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Log appends records. One Log may be used from many goroutines.
type Log struct {
	j  journal.Journal
	mu sync.Mutex
	// tails hold the end of each chain as last written or read.
	tails map[string]tail
}

type tail struct {
	revision int64
	hash     string
}

// NewLog returns a log over the journal.
func NewLog(j journal.Journal) *Log { return &Log{j: j, tails: map[string]tail{}} }

// attempts bounds how often an append is tried again after another writer was
// faster.
const attempts = 5

// Append chains the record to its cluster's stream and returns it with its
// hashes once it is durable.
func (l *Log) Append(ctx context.Context, r Record) (Record, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.Cluster == "" {
		r.Cluster = System
	}
	stream := Stream(r.Cluster)
	var err error
	for range attempts {
		t, ok := l.tails[stream]
		if !ok {
			if t, err = l.readTail(ctx, stream); err != nil {
				return r, fmt.Errorf("read the end of %s: %w", stream, err)
			}
		}
		r.Prev = t.hash
		r.Hash = r.hash()
		data, merr := json.Marshal(r)
		if merr != nil {
			return r, fmt.Errorf("encode audit record: %w", merr)
		}
		var rev int64
		rev, err = l.j.Append(ctx, stream, t.revision, journal.Event{Type: EventType, Data: data})
		if err == nil {
			l.tails[stream] = tail{rev, r.Hash}
			return r, nil
		}
		delete(l.tails, stream)
		var conflict *journal.ConflictError
		if !errors.As(err, &conflict) {
			break
		}
	}
	return r, fmt.Errorf("append to %s: %w", stream, err)
}

// Tail is the stream of a cluster's records and the revision of the last one
// this log wrote; ok is false while it has written none.
func (l *Log) Tail(cluster string) (stream string, revision int64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	stream = Stream(cluster)
	t, ok := l.tails[stream]
	return stream, t.revision, ok
}

func (l *Log) readTail(ctx context.Context, stream string) (tail, error) {
	t := tail{revision: journal.NoStream}
	for {
		page, err := l.j.Read(ctx, stream, t.revision+1, 512)
		if err != nil {
			return t, err
		}
		if len(page) == 0 {
			return t, nil
		}
		last := page[len(page)-1]
		var r Record
		if err := json.Unmarshal(last.Data, &r); err != nil {
			return t, fmt.Errorf("record %d: %w", last.Revision, err)
		}
		t = tail{last.Revision, r.Hash}
	}
}

// Verify checks a chain, oldest record first. It returns the index of the
// first record that does not fit, or -1.
func Verify(records []Record) int {
	prev := ""
	for i, r := range records {
		if r.Prev != prev || r.Hash != r.hash() {
			return i
		}
		prev = r.Hash
	}
	return -1
}
