package log

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"baton/platform/vfs"
)

// Goal: a header or mark that nobody wrote, under a checksum that is right, is taken for what it says or refused; it is read again as it is written, and a
// segment made of it opens or is reported, without more memory than the file could fill.
// Method: the checksum is made to fit what was given; without that hardly any input comes past it.
func FuzzForgedHeaders(f *testing.F) {
	f.Add(appendSegmentHeader(nil, segmentHeader{base: 64 << 20, firstIndex: 99, prevTerm: 3, prevSize: 40})[8:], []byte{})
	whole := sparse{bytes: 3 * sparseBlockBytes, block: sparseBlockBytes}
	whole.fileBytes = segmentHeaderBytes + whole.tableBytes() + 100
	f.Add(appendSparseHeader(nil, segmentHeader{firstIndex: 1}, whole)[8:], make([]byte, 200))
	whole.bytes, whole.block, whole.fileBytes = 1<<40-1, 1, 1<<62
	f.Add(appendSparseHeader(nil, segmentHeader{firstIndex: 1}, whole)[8:], make([]byte, 64))
	f.Fuzz(func(t *testing.T, head, rest []byte) {
		if len(head) != segmentHeaderBytes-8 {
			return
		}
		for _, magic := range []string{segmentMagic, sparseMagic} {
			b := append([]byte(magic), head...)
			binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b[12:], castagnoli))
			if h, ok := parseSegmentHeader(b); ok {
				if again, ok := parseSegmentHeader(appendSegmentHeader(nil, h)); !ok || again != h {
					t.Fatalf("%+v is read again as %+v", h, again)
				}
			}
			if h, s, ok := parseSparseHeader(b); ok {
				if h2, s2, ok := parseSparseHeader(appendSparseHeader(nil, h, s)); !ok || h2 != h || s2 != s {
					t.Fatalf("%+v %+v is read again as %+v %+v", h, s, h2, s2)
				}
			}
			fsys := vfs.NewMem()
			o := testOptions(fsys, 600)
			must(t, vfs.MkdirAllSync(fsys, o.Dir, 0o750))
			file, err := fsys.OpenFile(path.Join(o.Dir, segmentName(0)), os.O_RDWR|os.O_CREATE, 0o640)
			must(t, err)
			_, err = file.WriteAt(append(b, rest...), 0)
			must(t, err)
			must(t, file.Sync())
			must(t, fsys.SyncDir(o.Dir))
			l, err := Open(o)
			if err != nil {
				continue
			}
			_, _ = content(l)
			_ = l.Close()
		}
	})
}

// Goal: a frame and the marks beside the log that nobody wrote, under checksums that are right, are read as what they say or refused.
func FuzzForgedFrames(f *testing.F) {
	f.Add(uint64(1000), appendFrame(nil, 1000, 7, 9, raftpb.EntryNormal, 48, []byte("data")))
	f.Add(uint64(0), appendFrame(nil, 0, 1, 1, raftpb.EntryConfChangeV2, 0, nil))
	f.Add(uint64(1<<63), make([]byte, cutBytes))
	f.Fuzz(func(t *testing.T, pos uint64, b []byte) {
		if len(b) >= cutBytes {
			cut := append([]byte(nil), b[:cutBytes]...)
			copy(cut, cutMagic)
			binary.LittleEndian.PutUint32(cut[8:], crc32.Checksum(cut[12:], castagnoli))
			if at, ok := parseCut(cut); !ok || at != binary.LittleEndian.Uint64(cut[12:]) {
				t.Fatalf("% x is read as %d, %v", cut, at, ok)
			}
			if _, ok := parseCut(cut[:cutBytes-1]); ok {
				t.Fatal("a part of a mark passes for one")
			}
		}
		if len(b) >= trailerBytes {
			mark := append([]byte(nil), b[:trailerBytes]...)
			copy(mark, trailerMagic)
			binary.LittleEndian.PutUint32(mark[4:], crc32.Checksum(mark[8:], castagnoli))
			if start, ok := parseTrailer(mark, pos); ok && (start > pos || !bytes.Equal(appendTrailer(nil, start, pos), mark)) {
				t.Fatalf("% x is read as from %d to %d", mark, start, pos)
			}
		}
		for _, name := range []string{string(b), string(b) + segmentSuffix} {
			if base, ok := parseSegmentName(name); ok && segmentName(base) != name {
				t.Fatalf("%q is read as %q", name, segmentName(base))
			}
		}
	})
}
