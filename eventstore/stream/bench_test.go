package stream

import (
	"encoding/binary"
	"fmt"
	"testing"
)

// benchCommands makes n appends of one event of 256 bytes.
func benchCommands(b *testing.B, n int, e func(i int) (string, Expected)) []*Command {
	data := make([]byte, 256)
	cmds := make([]*Command, n)
	for i := range cmds {
		name, ex := e(i)
		c, err := NewAppend(Limits{}, Write{Stream: name, Expected: ex, Events: []Event{{ID: id(uint64(i)), Type: "order-placed", JSON: true, Data: data}}})
		if err != nil {
			b.Fatal(err)
		}
		cmds[i] = c
	}
	return cmds
}

type mapHeads map[string]Head

func (m mapHeads) Head(s string) (Head, error) {
	if h, ok := m[s]; ok {
		return h, nil
	}
	return NoHead, nil
}

func BenchmarkBuild(b *testing.B) {
	data := make([]byte, 256)
	w := Write{Stream: "order-00000001", Expected: Any, Events: []Event{{Type: "order-placed", JSON: true, Data: data}}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := NewAppend(Limits{}, w); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSequence is the whole cost of one append on the consensus loop:
// Sequence and Applied, with 64 commands in flight.
func BenchmarkSequence(b *testing.B) {
	for _, streams := range []int{64, 100_000} {
		b.Run(fmt.Sprintf("streams=%d", streams), func(b *testing.B) {
			cmds := benchCommands(b, 100_000, func(i int) (string, Expected) { return fmt.Sprintf("order-%08d", i%streams), Any })
			heads := mapHeads{}
			s := NewSequencer(heads, SequencerOptions{})
			var a Applier
			type pending struct {
				id  uint64
				rec Record
			}
			var queue []pending
			b.ReportAllocs()
			n := uint64(0)
			for b.Loop() {
				c := cmds[n%uint64(len(cmds))]
				// A new id for every append.
				n++
				binary.LittleEndian.PutUint64(c.rec.b[int(u32(c.rec.b, offHeadSize))+offEventID:], n)
				v, err := s.Sequence(c, 1)
				if err != nil || v.Kind != Admit {
					b.Fatal(v, err)
				}
				queue = append(queue, pending{v.ID, Record{v.Record, 1}})
				if len(queue) == 64 {
					for _, p := range queue {
						out, changes, err := a.Apply(p.rec, heads)
						if err != nil || out.Kind != Done {
							b.Fatal(out, err)
						}
						for _, ch := range changes {
							heads[ch.Stream] = ch.Head
						}
						s.Applied(p.id, p.rec, out)
					}
					queue = queue[:0]
				}
			}
		})
	}
}

func BenchmarkApply(b *testing.B) {
	cmds := benchCommands(b, 1, func(int) (string, Expected) { return "order-1", Any })
	s := NewSequencer(mapHeads{}, SequencerOptions{})
	v, err := s.Sequence(cmds[0], 1)
	if err != nil {
		b.Fatal(err)
	}
	r, _ := ParseRecord(v.Record, 1)
	var a Applier
	heads := mapHeads{}
	b.ReportAllocs()
	for b.Loop() {
		if out, _, err := a.Apply(r, heads); err != nil || out.Kind != Done {
			b.Fatal(out, err)
		}
	}
}
