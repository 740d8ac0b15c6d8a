package history

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
	"testing"
)

// Goal: an interval is read as it was written, in its place only; bytes that nobody wrote count as never written, also under a checksum that is right.
func FuzzRing(f *testing.F) {
	r := record{second: 1_800_000_000, lag: 3, lagMax: math.NaN(), writes: 1e9, free: -1, samples: 5, up: 4}
	whole := make([]byte, recordBytes)
	r.encode(whole)
	f.Add(whole, int64(1_800_000_000))
	f.Add(whole[:10], int64(0))
	f.Add(bytes.Repeat([]byte{0xff}, recordBytes), int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, b []byte, second int64) {
		for i := range tiers {
			for _, s := range read(bytes.NewReader(b), i, second, second+100*tiers[i].step) {
				if s.second < 0 || s.second%tiers[i].step != 0 || s.samples > math.MaxUint16 {
					t.Fatalf("read %+v", s)
				}
			}
		}
		if len(b) < recordBytes {
			return
		}
		forged := bytes.Clone(b[:recordBytes])
		binary.LittleEndian.PutUint32(forged, crc32.Checksum(forged[4:], castagnoli))
		at := int64(binary.LittleEndian.Uint32(forged[4:]))
		var got, again record
		if !got.decode(forged, at) || got.decode(forged, at+1) {
			t.Fatalf("% x is not read as of second %d, or of another too", forged, at)
		}
		back := make([]byte, recordBytes)
		if got.decode(forged, at); true {
			got.encode(back)
		}
		if !again.decode(back, at) || again.samples != got.samples || again.up != got.up || again.second != got.second ||
			math.Float64bits(again.lag) != math.Float64bits(got.lag) && !math.IsNaN(got.lag) {
			t.Fatalf("%+v is read again as %+v", got, again)
		}
	})
}
