package log

import (
	"bytes"
	"os"
	"path"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"baton/platform/vfs"
)

func FuzzDecodeFrame(f *testing.F) {
	f.Add(uint64(0), appendFrame(nil, 0, 1, 1, raftpb.EntryNormal, 0, []byte("data")))
	f.Add(uint64(1000), appendFrame(nil, 1000, 7, 9, raftpb.EntryConfChangeV2, 48, nil))
	f.Add(uint64(5), []byte{})
	f.Fuzz(func(t *testing.T, pos uint64, b []byte) {
		fr, err := DecodeFrame(b, pos)
		if err != nil {
			return
		}
		h, _ := parseHeader(b, pos)
		again := appendFrame(nil, pos, fr.Term, fr.Index, fr.Type, h.prevSize, fr.Data)
		// The six bytes that are zero today are under the checksum all the same.
		copy(again[33:39], b[33:39])
		copy(again[:4], b[:4])
		if !bytes.Equal(again, b[:fr.Size]) {
			t.Fatalf("decoded and encoded again it differs:\n%x\n%x", b[:fr.Size], again)
		}
	})
}

func FuzzSegmentHeader(f *testing.F) {
	f.Add(appendSegmentHeader(nil, segmentHeader{base: 64 << 20, firstIndex: 99, prevTerm: 3, prevSize: 40}))
	f.Add(appendTrailer(nil, 3, 5))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= segmentHeaderBytes {
			if h, ok := parseSegmentHeader(b); ok && h.firstIndex == 0 {
				t.Fatalf("%+v", h)
			}
		}
		if len(b) >= trailerBytes {
			if start, ok := parseTrailer(b, 5); ok && start > 5 {
				t.Fatalf("a write that began at %d and ended at 5", start)
			}
		}
	})
}

func FuzzDecodeState(f *testing.F) {
	slot := encodeSlot(make([]byte, stateSlotBytes), stateRecord{seq: 3, term: 2, vote: 1, commit: 9})
	f.Add(slot)
	f.Add(slot[:50])
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, ok := decodeState(b); ok {
			if got, ok := decodeState(encodeSlot(make([]byte, stateSlotBytes), r)); !ok || got != r {
				t.Fatalf("%+v became %+v", r, got)
			}
		}
	})
}

func FuzzDecodeLostWrites(f *testing.F) {
	fsys := vfs.NewMem()
	l := openLog(f, testOptions(fsys, 4096))
	must(f, l.Append(entries(1, 3, 1, 20)))
	must(f, l.Append(entries(2, 1, 2, 20)))
	data, err := vfs.ReadFile(fsys, "/node/log/lost-writes/terms-1-1-entries-2-3.lost")
	must(f, err)
	must(f, l.Close())
	f.Add(data)
	f.Add([]byte(lostTitle + "\nfirst-position: 9\nlast-position: 5\n\nend: 0 frames\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := DecodeLostWrites(b)
		if err == nil && uint64(len(v.Frames)) > uint64(len(b)) {
			t.Fatal("more frames than bytes")
		}
	})
}

// FuzzRecover gives recovery an arbitrary last segment: it opens a log whose
// frames can all be read, or reports damage, and never panics.
func FuzzRecover(f *testing.F) {
	fsys := vfs.NewMem()
	o := testOptions(fsys, 600)
	l := openLog(f, o)
	must(f, l.Append(entries(1, 3, 1, 100)))
	must(f, l.Append(entries(4, 1, 2, 60)))
	name := l.Segments()[0].Path
	whole, err := vfs.ReadFile(fsys, name)
	must(f, err)
	must(f, l.Close())
	closed, err := vfs.ReadFile(fsys, name)
	must(f, err)
	f.Add(whole)
	f.Add(closed)
	f.Add(whole[:200])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		fsys := vfs.NewMem()
		o := testOptions(fsys, 600)
		must(t, vfs.MkdirAllSync(fsys, o.Dir, 0o750))
		file, err := fsys.OpenFile(path.Join(o.Dir, segmentName(0)), os.O_RDWR|os.O_CREATE, 0o640)
		must(t, err)
		_, err = file.WriteAt(b, 0)
		must(t, err)
		must(t, file.Sync())
		must(t, fsys.SyncDir(o.Dir))
		l, err := Open(o)
		if err != nil {
			return
		}
		all, err := content(l)
		must(t, err)
		next := entries(uint64(len(all))+1, 2, 1<<62, 200)
		if l.lastTerm <= 1<<62 {
			must(t, l.Append(next))
		}
		must(t, l.Close())
		must(t, openLog(t, o).Close())
	})
}
