package stream

import (
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// DefaultRecentIDs is how many event ids a Sequencer remembers by default.
const DefaultRecentIDs = 128 << 10

// SequencerOptions tunes a Sequencer. Zero fields mean defaults.
type SequencerOptions struct {
	// RecentIDs is how many event ids are remembered to recognize repeats whose
	// expectation is Any or Exists, rounded up to a power of two. About 36
	// bytes each, and 120 bytes for each write.
	RecentIDs int
}

// Sequencer is the leader's view: applied heads, everything in flight, and the
// ids of recent events. It predicts the verdict of [Applier.Apply] exactly, so
// that a command is never refused merely because another is in flight, and it
// recognizes repeated commands.
//
// It belongs to one goroutine, the consensus loop. It asks its HeadSource only
// for streams without anything in flight, so the source must show a record's
// changes before Applied is called for it.
type Sequencer struct {
	src     HeadSource
	overlay map[string]predicted
	recent  *recent
	flights []*flight // in order of id; flights[done:] are pending
	done    int
	free    []*flight
	nextID  uint64
	reset   uint64 // commands up to this number are forgotten
	stamper Applier
	names   Interner
	writes  []*recentWrite // scratch, by place in the table of writes
}

// predicted is the head of a stream after everything in flight.
type predicted struct {
	head Head
	last uint64 // the newest command in flight that touches the stream
}

// flight is one admitted command.
type flight struct {
	id      uint64
	streams []string
	writes  []*recentWrite
}

// VerdictKind says what the leader does with a command.
type VerdictKind uint8

const (
	// Admit: propose Verdict.Record.
	Admit VerdictKind = iota + 1
	// Answer: nothing is to be written. Answer Verdict.Outcome once command
	// Verdict.After is applied (at once if 0). The outcome speaks of the state
	// that this leader knows: before it goes to the client the caller confirms
	// that this node still leads (a read index), as for any read.
	Answer
	// Attach: the events are those of command Verdict.InFlight, in flight.
	// When that is applied, answer Verdict.Attached of its outcome.
	Attach
	// CheckStored: whether this is a repeat cannot be told from memory. Away
	// from the loop call Verdict.Stored.Resolve and do what it says.
	CheckStored
)

// Verdict is what Sequence decides.
type Verdict struct {
	Kind     VerdictKind
	ID       uint64       // Admit: the command's number in flight, > 0, growing
	Record   []byte       // Admit: bytes for the entry; valid until the command is used again
	Outcome  Outcome      // Answer
	After    uint64       // Answer, CheckStored: command to await first, 0 = none
	InFlight uint64       // Attach
	Stored   *StoredCheck // CheckStored

	offset uint32 // Attach: of the last event in the record in flight
}

// Attached turns the outcome of the command in flight into that of its repeat.
func (v *Verdict) Attached(original Outcome) Outcome {
	if original.Kind != Done {
		return original
	}
	o := v.Outcome
	o.Record = original.Record
	o.Position, o.HasPosition = original.Record+uint64(v.offset), true
	return o
}

// NewSequencer returns a sequencer with nothing in flight.
func NewSequencer(src HeadSource, opts SequencerOptions) *Sequencer {
	if opts.RecentIDs <= 0 {
		opts.RecentIDs = DefaultRecentIDs
	}
	return &Sequencer{src: src, overlay: make(map[string]predicted), recent: newRecent(opts.RecentIDs)}
}

// InFlight is the number of admitted commands not yet applied.
func (s *Sequencer) InFlight() int { return len(s.flights) - s.done }

// Head is the head of a stream after everything in flight. It implements
// HeadSource for streams that are not metadata streams.
func (s *Sequencer) Head(stream string) (Head, error) {
	if p, ok := s.overlay[stream]; ok {
		return p.head, nil
	}
	return s.src.Head(stream)
}

// predict is Head and the newest command in flight that touches the stream.
func (s *Sequencer) predict(stream string) (Head, uint64, error) {
	if p, ok := s.overlay[stream]; ok {
		return p.head, p.last, nil
	}
	h, err := s.src.Head(stream)
	return h, 0, err
}

// Sequence judges a command. created is the leader's time in 100 ns ticks since
// the Unix epoch. An error is that of the HeadSource; nothing is in flight then.
func (s *Sequencer) Sequence(c *Command, created int64) (Verdict, error) {
	var v Verdict
	var err error
	switch c.Kind() {
	case KindAdmin:
		return s.admit(c, created)
	case KindDelete:
		v, err = s.judgeDelete(c)
	case KindTombstone:
		v, err = s.judgeTombstone(c)
	default:
		v, err = s.judgeWrites(c)
	}
	if err != nil || v.Kind != Admit {
		return v, err
	}
	return s.admit(c, created)
}

func answer(kind OutcomeKind, after uint64, writes ...WriteOutcome) Verdict {
	return Verdict{Kind: Answer, After: after, Outcome: Outcome{Kind: kind, Writes: writes}}
}

func unchanged(stream string, e Expected, last int64) WriteOutcome {
	return WriteOutcome{Stream: stream, Expected: e, First: last + 1, Last: last, Actual: last}
}

func (s *Sequencer) judgeDelete(c *Command) (Verdict, error) {
	name, e := c.checks[0], c.rec.Check(0).Expected
	h, after, err := s.predict(name)
	if err != nil {
		return Verdict{}, err
	}
	v := viewOf(h, false)
	w := unchanged(name, e, v.last)
	if v.tombstoned {
		return answer(StreamDeleted, after, w), nil
	}
	if ok, _ := v.meets(e, true); !ok || !v.known {
		return answer(Conflict, after, w), nil
	}
	return Verdict{Kind: Admit}, nil
}

func (s *Sequencer) judgeTombstone(c *Command) (Verdict, error) {
	name, e := c.names[0], c.rec.Write(0).Expected
	h, after, err := s.predict(name)
	if err != nil {
		return Verdict{}, err
	}
	v := viewOf(h, false)
	w := unchanged(name, e, v.last)
	if v.tombstoned {
		return answer(StreamDeleted, after, w), nil
	}
	if ok, _ := v.meets(e, true); !ok {
		return answer(Conflict, after, w), nil
	}
	return Verdict{Kind: Admit}, nil
}

// judged is what judgeWrites finds about one write.
type judged struct {
	view        view
	after       uint64
	expected    Expected
	count       uint32
	ok          bool  // expectation met
	actual      int64 // else this is the state
	match       match
	first, last ref
}

// judgeWrites decides on KindAppend and KindMulti.
func (s *Sequencer) judgeWrites(c *Command) (Verdict, error) {
	var one [1]judged
	js := one[:]
	if n := len(c.names); n > 1 {
		js = make([]judged, n)
	}
	after := uint64(0)
	// What repeats what: all, none, or (worst) some of the writes.
	repeats, unknown, others := 0, 0, 0
	for i := range js {
		j := &js[i]
		if err := s.judgeWrite(c, i, j); err != nil {
			return Verdict{}, err
		}
		after = max(after, j.after)
		switch {
		case j.count == 0:
		case j.match == matchAll:
			repeats++
		case j.match == matchUnknown:
			unknown++
		default:
			others++
		}
	}
	if repeats > 0 && unknown == 0 && others == 0 {
		return s.repeated(c, js), nil
	}
	fine := true
	for i := range js {
		j := &js[i]
		if j.match == matchAll || j.match == matchPart {
			j.ok = false
		}
		fine = fine && j.ok
	}
	for i := range c.checks {
		h, a, err := s.predict(OriginalOf(c.checks[i]))
		if err != nil {
			return Verdict{}, err
		}
		after = max(after, a)
		ok, _ := viewOf(h, IsMetaStream(c.checks[i])).meets(c.rec.Check(i).Expected, false)
		fine = fine && ok
	}
	if unknown > 0 && others == 0 {
		if v, ok := s.checkStored(c, js, after); ok {
			return v, nil
		}
	}
	if fine {
		return Verdict{Kind: Admit}, nil
	}
	return s.refuse(c, js, after), nil
}

func (s *Sequencer) judgeWrite(c *Command, i int, j *judged) error {
	w := c.rec.Write(i)
	name := c.names[i]
	meta := IsMetaStream(name)
	h, after, err := s.predict(OriginalOf(name))
	if err != nil {
		return err
	}
	j.view, j.after = viewOf(h, meta), after
	j.expected, j.count = w.Expected, w.Count
	j.ok, j.actual = j.view.meets(j.expected, true)
	if j.count == 0 || j.view.tombstoned || j.view.last < 0 {
		return nil
	}
	switch {
	case j.expected == Any || j.expected == Exists:
		j.match, j.first, j.last = s.recent.byIDs(c, i)
	case int64(j.expected) < j.view.last: // also NoStream
		j.match, j.first, j.last = s.recent.byRevision(c, i, int64(j.expected)+1, j.view.last)
		if j.match == matchUnknown && c.fresh {
			j.match = matchNone
		}
	}
	return nil
}

// violates lists the unmet expectations of a KindMulti command.
func (c *Command) violates(s *Sequencer, js []judged) []Violation {
	if c.Kind() != KindMulti {
		return nil
	}
	var out []Violation
	written := make(map[string]int, len(js))
	for i, n := range c.names {
		written[n] = i
	}
	for i, name := range c.checks {
		h, _, err := s.predict(OriginalOf(name))
		if err != nil {
			continue // the same question was answered a moment ago
		}
		e := c.rec.Check(i).Expected
		w, isWritten := written[name]
		ok, actual := viewOf(h, IsMetaStream(name)).meets(e, isWritten)
		if ok && isWritten && !js[w].ok {
			ok, e, actual = false, js[w].expected, js[w].actual
		}
		delete(written, name)
		if !ok {
			out = append(out, Violation{i, name, e, actual})
		}
	}
	index := len(c.checks)
	for i, name := range c.names {
		if _, unchecked := written[name]; !unchecked {
			continue
		}
		if !js[i].ok {
			out = append(out, Violation{index, name, js[i].expected, js[i].actual})
		}
		index++
	}
	return out
}

// refuse is the answer to a command that does not fit.
func (s *Sequencer) refuse(c *Command, js []judged, after uint64) Verdict {
	v := Verdict{Kind: Answer, After: after, Outcome: Outcome{Kind: Conflict, Violations: c.violates(s, js)}}
	for i := range js {
		v.Outcome.Writes = append(v.Outcome.Writes, unchanged(c.names[i], js[i].expected, js[i].view.last))
	}
	if vs := v.Outcome.Violations; len(vs) > 0 && vs[0].Actual == ActualTombstoned || c.Kind() == KindAppend && js[0].view.tombstoned {
		v.Outcome.Kind = StreamDeleted
	}
	return v
}

// repeated is the answer to a command whose events are all there already.
func (s *Sequencer) repeated(c *Command, js []judged) Verdict {
	v := Verdict{Kind: Answer, Outcome: Outcome{Kind: Done, Repeated: true, HasPosition: true}}
	for i := range js {
		j := &js[i]
		w := unchanged(c.names[i], j.expected, j.view.last)
		if j.count > 0 {
			w.First, w.Last = j.first.revision(), j.last.revision()
			f := j.last
			if id := f.w.inflight; id == 0 {
				v.Outcome.Position = max(v.Outcome.Position, f.w.pos+uint64(f.offset))
				v.Outcome.Record = max(v.Outcome.Record, f.w.pos)
			} else if id > v.InFlight {
				v.Kind, v.InFlight, v.offset = Attach, id, f.offset
			} else if id == v.InFlight {
				v.offset = max(v.offset, f.offset)
			}
		}
		v.Outcome.Writes = append(v.Outcome.Writes, w)
	}
	return v
}

// admit stamps the command, takes it in flight and returns its bytes.
func (s *Sequencer) admit(c *Command, created int64) (Verdict, error) {
	rec := c.rec
	kind := rec.Kind()
	if kind == KindAppend || kind == KindMulti {
		var err error
		if rec, err = s.withRevivals(c); err != nil {
			return Verdict{}, err
		}
	}
	putI64(rec.b, offCreated, created)
	s.nextID++
	f := s.newFlight(s.nextID)
	if kind != KindAdmin {
		docs := c.docs
		if rec.NumWrites() != len(c.names) {
			docs = nil
		}
		_, changes, err := s.stamper.run(rec, s, true, docs)
		if err != nil {
			s.nextID--
			s.free = append(s.free, f)
			return Verdict{}, err
		}
		if kind == KindDelete || kind == KindTombstone {
			stampID(rec)
			sealBody(rec.b)
		}
		for _, ch := range changes {
			s.overlay[ch.Stream] = predicted{ch.Head, f.id}
			f.streams = append(f.streams, ch.Stream)
		}
		s.remember(rec, f)
	}
	sealHead(rec.b)
	s.flights = append(s.flights, f)
	return Verdict{Kind: Admit, ID: f.id, Record: rec.b}, nil
}

func (s *Sequencer) newFlight(id uint64) *flight {
	if n := len(s.free); n > 0 {
		f := s.free[n-1]
		s.free = s.free[:n-1]
		clear(f.writes)
		*f = flight{id: id, streams: f.streams[:0], writes: f.writes[:0]}
		return f
	}
	return &flight{id: id}
}

// remember adds a record's ids to the window; f is nil for one applied already.
func (s *Sequencer) remember(r Record, f *flight) {
	if k := r.Kind(); k != KindAppend && k != KindMulti || r.NumEvents() == 0 || f == nil && r.scavenged() {
		return
	}
	s.writes = s.writes[:0]
	id := uint64(0)
	if f != nil {
		id = f.id
	}
	for i := range r.NumWrites() {
		w := r.Write(i)
		var rw *recentWrite
		if w.Count > 0 && !w.System {
			if rw = s.recent.begin(s.names.String(w.Stream), w.First, w.Count, r.Pos(), id); rw != nil && f != nil {
				f.writes = append(f.writes, rw)
			}
		}
		s.writes = append(s.writes, rw)
	}
	it := r.Events()
	for it.Next() {
		e := it.Event()
		if w := s.writes[e.Write()]; w != nil {
			s.recent.put(w, e.Ordinal(), e.ID(), e.Offset())
		}
	}
}

// Applied must be called, in log order, for every record applied on this node,
// with its outcome; id is the Verdict.ID if this sequencer admitted the record
// since the last Reset, else 0. After a start call it for the records at the
// log's end, so that repeats of them are recognized.
func (s *Sequencer) Applied(id uint64, r Record, o Outcome) {
	if id <= s.reset { // also 0
		if o.Kind == Done {
			s.remember(r, nil)
		}
		return
	}
	if s.done == len(s.flights) || s.flights[s.done].id != id {
		panic(fmt.Sprintf("sequencer: command %d applied, not the next one in flight", id))
	}
	f := s.flights[s.done]
	if o.Kind != Done {
		// Something unforeseen stands in the log before this record: every
		// prediction made since is worthless. Apply judges what is in flight.
		s.Reset()
		return
	}
	s.flights[s.done] = nil
	s.done++
	if s.done == len(s.flights) {
		s.flights, s.done = s.flights[:0], 0
	} else if s.done >= 1024 && s.done*2 >= len(s.flights) {
		n := copy(s.flights, s.flights[s.done:])
		clear(s.flights[n:])
		s.flights, s.done = s.flights[:n], 0
	}
	for _, name := range f.streams {
		if s.overlay[name].last == id {
			delete(s.overlay, name)
		}
	}
	for _, w := range f.writes {
		w.pos, w.inflight = r.Pos(), 0
	}
	s.free = append(s.free, f)
}

// Reset forgets everything in flight: call it when leadership is gained or
// lost, and when a proposal was dropped. After gaining leadership call it, and
// Sequence, only once every earlier entry of the log is applied: from then on
// nothing can come between the applied state and what this sequencer admits.
// Commands get new numbers; an Applied of an older one counts as not admitted.
func (s *Sequencer) Reset() {
	for i := len(s.flights) - 1; i >= s.done; i-- {
		for _, w := range s.flights[i].writes {
			s.recent.forget(w)
		}
	}
	clear(s.flights)
	s.flights, s.done = s.flights[:0], 0
	s.reset = s.nextID
	clear(s.overlay)
}

// stampID gives the event of a delete or tombstone its id. It is made from what
// makes the event unique, because nothing random may enter here.
func stampID(r Record) {
	var seed [24]byte
	w := r.Write(0)
	binary.LittleEndian.PutUint64(seed[0:], uint64(r.Created()))
	binary.LittleEndian.PutUint64(seed[8:], uint64(w.First))
	binary.LittleEndian.PutUint64(seed[16:], xxhash.Sum64(w.Stream))
	id := derivedID(seed[:])
	copy(r.b[int(u32(r.b, offHeadSize))+offEventID:], id[:])
}

// derivedID hashes seed to a UUID of version 8 (made by rules of its own).
func derivedID(seed []byte) (id [16]byte) {
	h := xxhash.Sum64(seed)
	binary.BigEndian.PutUint64(id[:8], h)
	var again [8]byte
	binary.LittleEndian.PutUint64(again[:], h)
	d := xxhash.New()
	d.Write(again[:])
	d.Write(seed)
	binary.BigEndian.PutUint64(id[8:], d.Sum64())
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}
