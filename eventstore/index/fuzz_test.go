package index

import "testing"

// Goal: no key and value of a table make the decoder of rows panic, and what is written is read back.
func FuzzDecodeRow(f *testing.F) {
	f.Add("orders", int64(3), uint64(1<<40), uint32(100), uint32(2), []byte{1, 2, 3})
	f.Add("", int64(1<<62), uint64(0), uint32(0), uint32(1), []byte{})
	f.Fuzz(func(t *testing.T, stream string, first int64, pos uint64, size, count uint32, value []byte) {
		if first < 0 {
			return
		}
		key := rowKey(stream, first)
		row, err := decodeRow(stream, key, value)
		if err == nil && row.Stream != stream {
			t.Fatalf("%+v", row)
		}
		m := memRow{first: first, pos: pos, len: size, count: max(count, 1)}
		if row, err = decodeRow(stream, key, appendValue(nil, m)); err != nil || row != m.row(stream) {
			t.Fatalf("%+v is read as %+v, %v", m, row, err)
		}
	})
}
