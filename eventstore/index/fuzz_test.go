package index

import "testing"

// Goal: no key and value of a table make the decoder of rows panic, and what is written is read back.
func FuzzDecodeRow(f *testing.F) {
	f.Add("orders", int64(3), uint64(1<<40), uint32(100), uint32(2), []byte{1, 2, 3})
	f.Add("", int64(1<<62), uint64(0), uint32(0), uint32(1), []byte{})
	// Sizes and counts that do not fit into what holds them.
	f.Add("orders", int64(3), uint64(7), uint32(1), uint32(1), []byte{7, 1, 0x80, 0x80, 0x80, 0x80, 0x10})
	f.Add("orders", int64(3), uint64(7), uint32(1), uint32(1), []byte{7, 0x81, 0x80, 0x80, 0x80, 0x10, 1})
	f.Fuzz(func(t *testing.T, stream string, first int64, pos uint64, size, count uint32, value []byte) {
		if first < 0 {
			return
		}
		key := rowKey(stream, first)
		row, err := decodeRow(stream, key, value)
		if err == nil {
			if row.Stream != stream || row.First != first || row.Count == 0 {
				t.Fatalf("%+v", row)
			}
			again, err := decodeRow(stream, key, appendValue(nil, memRow{first: row.First, pos: row.Pos, len: row.Len, count: row.Count}))
			if err != nil || again != row {
				t.Fatalf("%+v is written and read as %+v, %v", row, again, err)
			}
		}
		m := memRow{first: first, pos: pos, len: size, count: max(count, 1)}
		if row, err = decodeRow(stream, key, appendValue(nil, m)); err != nil || row != m.row(stream) {
			t.Fatalf("%+v is read as %+v, %v", m, row, err)
		}
	})
}
