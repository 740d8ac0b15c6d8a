package stream

import "errors"

// ErrMalformed: bytes are not a well-formed record.
var ErrMalformed = errors.New("malformed record")

// Limits bounds what a builder accepts. Zero fields mean the defaults.
type Limits struct {
	MaxEventBytes  int // data + metadata + type of one event
	MaxAppendBytes int // sum over one command
}

// Command is one encoded request.
type Command struct{ buf []byte }

func NewAppend(lim Limits, w Write) (*Command, error)                             { panic("soon") }
func NewMultiAppend(lim Limits, writes []Write, checks []Check) (*Command, error) { panic("soon") }
func NewDelete(stream string, e Expected) (*Command, error)                       { panic("soon") }
func NewTombstone(stream string, e Expected) (*Command, error)                    { panic("soon") }
func NewAdmin(kind uint8, payload []byte) (*Command, error)                       { panic("soon") }
func ParseCommand(b []byte) (*Command, error)                                     { panic("soon") }

// Bytes is the encoded form, for sending to the leader.
func (c *Command) Bytes() []byte { return c.buf }

// Streams calls f for each stream whose head the sequencer will ask for.
func (c *Command) Streams(f func(stream string)) {}

// Kind of a record.
type Kind uint8

const (
	KindAppend Kind = iota + 1
	KindMulti
	KindDelete
	KindTombstone
	KindAdmin
)

// Records walks the records in one entry's data. base is the log position of
// data[0] (frame position + frame header).
type Records struct{}

func NewRecords(data []byte, base uint64) Records { panic("soon") }
func (it *Records) Next() bool                    { return false }
func (it *Records) Record() Record                { return Record{} }
func (it *Records) Err() error                    { return nil }

// Record is one record in the log; it aliases the memory it was read from.
type Record struct {
	b   []byte
	pos uint64
}

// ParseRecord checks both checksums; b begins with the record at position pos.
func ParseRecord(b []byte, pos uint64) (Record, error) { panic("soon") }
func (r Record) Kind() Kind                            { return 0 }
func (r Record) Pos() uint64                           { return r.pos }
func (r Record) Size() int                             { return 0 }
func (r Record) Created() int64                        { return 0 }
func (r Record) Admin() (kind uint8, payload []byte)   { return 0, nil }

// Applier runs Apply with reused memory: results are valid until the next call.
type Applier struct{}

func (a *Applier) Apply(r Record, heads HeadSource) (Outcome, []HeadChange, error) { panic("soon") }

// VerdictKind says what the leader does with a command.
type VerdictKind uint8

const (
	Admit       VerdictKind = iota + 1 // propose Verdict.Record
	Answer                             // answer Verdict.Outcome once in-flight command After was applied (0: nothing to await) and leadership was confirmed
	Attach                             // a repeat of in-flight command InFlight: answer Attached(outcome of that) when it is applied
	CheckStored                        // off the loop: compare stored ids with Verdict.Stored.Resolve, then answer (After as above)
)

// Verdict on one command.
type Verdict struct {
	Kind     VerdictKind
	ID       uint64 // Admit: the number of the command in flight, > 0
	Record   []byte // Admit: bytes for the entry, valid until the command is used again
	Outcome  Outcome
	After    uint64
	InFlight uint64
	Stored   *StoredCheck
}

// Attached turns the outcome of the in-flight original into that of the repeat.
func (v *Verdict) Attached(original Outcome) Outcome { panic("soon") }

// IDSource reads the ids (and log positions) of stored events; reader implements it.
type IDSource interface {
	// EventIDs calls f for up to n events of stream from revision on, until f says false.
	EventIDs(stream string, from int64, n int, f func(rev int64, id [16]byte, pos uint64) bool) error
}

// StoredCheck compares a command's ids with stored events.
type StoredCheck struct{}

func (c *StoredCheck) Resolve(src IDSource) (Outcome, error) { panic("soon") }

type SequencerOptions struct {
	RecentIDs int // default 128 Ki
}

type Sequencer struct{}

func NewSequencer(src HeadSource, opts SequencerOptions) *Sequencer { panic("soon") }

// Sequence judges c; created is in 100 ns ticks since the Unix epoch.
func (s *Sequencer) Sequence(c *Command, created int64) (Verdict, error) { panic("soon") }

// Applied must be called, in log order, for every record applied on this node;
// id is the Verdict.ID if this sequencer admitted it in this term, else 0.
func (s *Sequencer) Applied(id uint64, r Record, o Outcome) {}

// Reset forgets everything in flight (leadership gained or lost, proposal dropped).
// After gaining leadership call it only when all earlier entries are applied.
func (s *Sequencer) Reset() {}
