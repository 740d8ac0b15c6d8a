package history

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"
	"time"
)

// magic begins every file; the digit is the version of the layout.
const magic = "BTNHIS1\n"

// Sizes in bytes. docs/formats.md draws them.
const (
	headerBytes = 64
	recordBytes = 32
)

// tier is one ring of a file: slots intervals of step each.
type tier struct {
	step  int64 // seconds
	slots int64
}

// tiers from fine to coarse: 2 hours, 2 days, 90 days. Each step divides the
// next.
var tiers = [...]tier{{10, 720}, {60, 2880}, {900, 8640}}

// fileBytes is the size of a whole file; slots never written take no space.
var fileBytes = func() int64 {
	n := int64(headerBytes)
	for _, t := range tiers {
		n += t.slots * recordBytes
	}
	return n
}()

// offset of the slot of an interval that begins at second.
func offset(tierIndex int, second int64) int64 {
	at := int64(headerBytes)
	for _, t := range tiers[:tierIndex] {
		at += t.slots * recordBytes
	}
	t := tiers[tierIndex]
	return at + (second/t.step)%t.slots*recordBytes
}

// record is one interval of one series. A NaN was not known.
type record struct {
	second  int64 // beginning of the interval, Unix
	lag     float64
	lagMax  float64
	writes  float64
	memory  float64
	free    float64
	samples int // looks that found out how it was
	up      int // of those, how often it was up
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (r *record) encode(b []byte) {
	le := binary.LittleEndian
	le.PutUint32(b[4:], uint32(r.second))
	for i, v := range []float64{r.lag, r.lagMax, r.writes, r.memory, r.free} {
		le.PutUint32(b[8+4*i:], math.Float32bits(float32(v)))
	}
	le.PutUint16(b[28:], uint16(min(r.samples, math.MaxUint16)))
	le.PutUint16(b[30:], uint16(min(r.up, math.MaxUint16)))
	le.PutUint32(b, crc32.Checksum(b[4:recordBytes], castagnoli))
}

// decode tells whether the bytes are a whole record of the interval: a slot
// never written, one of an older round, and one torn by a crash are not.
func (r *record) decode(b []byte, second int64) bool {
	le := binary.LittleEndian
	if le.Uint32(b) != crc32.Checksum(b[4:recordBytes], castagnoli) || int64(le.Uint32(b[4:])) != second {
		return false
	}
	var v [5]float64
	for i := range v {
		v[i] = float64(math.Float32frombits(le.Uint32(b[8+4*i:])))
	}
	*r = record{second, v[0], v[1], v[2], v[3], v[4], int(le.Uint16(b[28:])), int(le.Uint16(b[30:]))}
	return true
}

// open opens a series' file, making it when make is set. A file that is not
// one of ours, or of another version, is an error: it is left as it is.
func open(root *os.Root, name string, create bool) (*os.File, error) {
	flag := os.O_RDONLY
	if create {
		flag = os.O_RDWR | os.O_CREATE
	}
	f, err := root.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	head := make([]byte, headerBytes)
	n, err := f.ReadAt(head, 0)
	switch {
	case n == 0 && errors.Is(err, io.EOF) && create:
		copy(head, magic)
		if _, err = f.WriteAt(head, 0); err == nil {
			err = f.Truncate(fileBytes)
		}
	case n == 0 && errors.Is(err, io.EOF):
		err = fs.ErrNotExist
	case err != nil && !errors.Is(err, io.EOF):
	case string(head[:len(magic)]) != magic:
		err = fmt.Errorf("history file %s is not of this version", name)
	default:
		err = nil
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// read returns the records of a tier from one second (inclusive) to another,
// oldest first; intervals without one are left out.
func read(f io.ReaderAt, tierIndex int, from, to int64) []record {
	t := tiers[tierIndex]
	from -= from % t.step
	if oldest := to - t.step*t.slots; from < oldest {
		from = oldest - oldest%t.step
	}
	if from < 0 || to <= from {
		return nil
	}
	// What is wanted lies in one piece, or in two around the ring's end.
	var out []record
	var r record
	piece := make([]byte, 0, min((to-from+t.step-1)/t.step, t.slots)*recordBytes)
	for from < to {
		slots := min((to-from+t.step-1)/t.step, t.slots-from/t.step%t.slots)
		b := piece[:slots*recordBytes]
		n, err := f.ReadAt(b, offset(tierIndex, from))
		if err != nil && !errors.Is(err, io.EOF) {
			return nil
		}
		for b = b[:n-n%recordBytes]; len(b) > 0; b = b[recordBytes:] {
			if r.decode(b, from) {
				out = append(out, r)
			}
			from, slots = from+t.step, slots-1
		}
		from += slots * t.step // the file ends before them
	}
	return out
}

// write puts a finished interval of the finest tier in and makes the intervals
// around it in the coarser tiers anew from what is then there, so that neither
// a restart nor a crash leaves them wrong for longer than one step.
func write(f *os.File, r record) error {
	b := make([]byte, recordBytes)
	for i, t := range tiers {
		if i > 0 {
			begin := r.second - r.second%t.step
			r = merge(begin, read(f, i-1, begin, begin+t.step))
		}
		r.encode(b)
		if _, err := f.WriteAt(b, offset(i, r.second)); err != nil {
			return err
		}
	}
	return nil
}

// merge joins intervals into a longer one that begins at second. Means weigh
// each interval the same; the free space is the last known.
func merge(second int64, parts []record) record {
	out := record{second: second, free: math.NaN()}
	var lag, lagMax, writes, memory mean
	for _, p := range parts {
		lag.add(p.lag)
		writes.add(p.writes)
		memory.add(p.memory)
		if !math.IsNaN(p.lagMax) && (lagMax.n == 0 || p.lagMax > lagMax.sum) {
			lagMax = mean{p.lagMax, 1}
		}
		if !math.IsNaN(p.free) {
			out.free = p.free
		}
		out.samples += p.samples
		out.up += p.up
	}
	out.lag, out.lagMax, out.writes, out.memory = lag.value(), lagMax.value(), writes.value(), memory.value()
	return out
}

// mean of what is known.
type mean struct {
	sum float64
	n   int
}

func (m *mean) add(v float64) {
	if !math.IsNaN(v) {
		m.sum += v
		m.n++
	}
}

func (m *mean) value() float64 {
	if m.n == 0 {
		return math.NaN()
	}
	return m.sum / float64(m.n)
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }
