package replica

import (
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"baton/platform/trace"
	"baton/platform/vfs"
)

// Goal: whatever stands in the context of a peer's message, nothing but the record of elections and traces depends on it.
func FuzzContexts(f *testing.F) {
	f.Add(Answer{Kind: LogBehind, LastIndex: 3, LastTerm: 1}.encode(false))
	f.Add(Answer{Kind: HearsLeader, Who: 1}.encode(true))
	place, _ := trace.Parse(traceText)
	f.Add(place.Append([]byte{tracesVersion, 5, 0, 0, 0, 0, 0, 0, 0, 1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, note := decodeAnswer(b); a.Kind != Refused {
			if again, alsoNote := decodeAnswer(a.encode(note)); again != a || alsoNote != note {
				t.Fatalf("%+v comes back as %+v", a, again)
			}
		} else if note {
			t.Fatal("a message without a known reason is kept from raft")
		}
		first, last := uint64(5), uint64(6)
		c := &Core{id: 2}
		c.heardTraces(&raftpb.Message{Context: b, Entries: []*raftpb.Entry{{Index: &first}, {Index: &last}}})
		for _, f := range c.followed {
			if f.index < first || f.index > last || len(f.traces) > maxTraces || f.own {
				t.Fatalf("%+v", f)
			}
		}
	})
}

// Goal: a commit file is read as it was written or refused; it is never read as another index.
func FuzzCommitFile(f *testing.F) {
	f.Add([]byte("short"), uint64(3))
	f.Fuzz(func(t *testing.T, damaged []byte, index uint64) {
		disk := vfs.NewMem()
		if err := disk.MkdirAll("d", 0o700); err != nil {
			t.Fatal(err)
		}
		file, err := OpenCommitFile(disk, "d")
		if err != nil {
			t.Fatal(err)
		}
		if err := file.Raise(index); err != nil {
			t.Fatal(err)
		}
		if again, err := OpenCommitFile(disk, "d"); err != nil || again.Get() != index {
			t.Fatalf("%d is read as %v", index, err)
		}
		if len(damaged) == 12 {
			return // a checksum may be guessed
		}
		if err := vfs.WriteFileAtomic(disk, "d/"+commitFileName, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenCommitFile(disk, "d"); err == nil {
			t.Fatalf("% x is read", damaged)
		}
	})
}
