package system

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"baton/gen/eventstore/client"
	"baton/gen/eventstore/streams"
	"baton/test/fleet"
)

// Goal: a backup of an event store that is taken, proven and restored through the API alone holds every event up to its
// position, and those acknowledged before; it is taken on a clone, encrypted, and the cluster is not touched.
// Method: the demonstration's event store as processes of its own, under its writers; events of ours that the clones have;
// backup, verification, a restore in place that is refused and one beside; both logs read event by event and compared;
// the restored cluster takes a write and is deleted again.
func TestEventStoreIsBackedUpAndRestoredThroughTheControlPlane(t *testing.T) {
	s := startStoreUp(t)
	nodes := s.storeNodes("demo")
	const mine = "orders-of-this-test"
	for i := range 10 {
		var a struct{ Revision string }
		if _, err := s.call("POST", "/clusters/demo/streams/events", map[string]any{"stream": mine, "type": "placed", "data": fmt.Sprintf(`{"n":%d}`, i)}, &a); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"demo-4", "demo-5"} { // the clones
		c := dialStore(t, nodes[name])
		if err := fleet.Await(rolesWithin, "the events on "+name, func() (bool, string) {
			ids, err := readStream(c, mine)
			return err == nil && len(ids) == 10, fmt.Sprintf("%d events, %v", len(ids), err)
		}); err != nil {
			t.Fatal(err)
		}
	}

	place := filepath.Join(t.TempDir(), "backups")
	var ignored map[string]any
	if _, err := s.call("POST", "/backup-targets", map[string]any{"name": "place", "kind": "directory", "path": place}, &ignored); err != nil {
		t.Fatal(err)
	}
	o := s.run("/clusters/demo/backups", map[string]any{"target": "place", "reason": "test"})
	if o.Node != "demo-4" && o.Node != "demo-5" {
		t.Errorf("the backup was taken on %s, which is no clone", o.Node)
	}
	b := s.onlyBackup("demo")
	if b.Kind != "eventstore-log" || b.Position == "" || b.Bytes == 0 || b.OnPrimary || b.Keys != nil {
		t.Errorf("backup %+v", b)
	}
	sealed, err := os.ReadFile(filepath.Join(place, "demo", b.ID+".baton"))
	if err != nil || strings.Contains(string(sealed), mine) || !strings.Contains(string(sealed), `"kind":"eventstore-log"`) {
		t.Errorf("the stored file is not there, or shows its events: %d bytes, %v", len(sealed), err)
	}

	s.run("/clusters/demo/backups/"+b.ID+"/verify", map[string]any{})
	if b = s.onlyBackup("demo"); b.State != "verified" || b.Keys == nil || *b.Keys < 10 || !strings.Contains(b.VerifiedHow, "every entry was applied") {
		t.Errorf("verified backup %+v", b)
	}
	code, err := s.call("POST", "/clusters/demo/backups/"+b.ID+"/restore", map[string]any{"mode": "in-place", "typedName": "demo"}, &ignored)
	if code < 400 || err == nil || !strings.Contains(err.Error(), "--beside") || !strings.Contains(err.Error(), "positions") {
		t.Errorf("a restore in place is refused with the reason and the way: %d, %v", code, err)
	}

	s.run("/clusters/demo/backups/"+b.ID+"/restore", map[string]any{"mode": "beside", "name": "again"})
	deleted := false
	t.Cleanup(func() {
		if !deleted {
			_, _ = s.call("POST", "/clusters/again/delete", map[string]any{"typedName": "again", "wipe": true}, &ignored)
		}
	})
	address := s.storeNodes("again")["again-1"]
	before, after := dialStore(t, nodes["demo-1"]), dialStore(t, address)
	position, ours := uint64(0), 0
	if _, err := fmt.Sscan(b.Position, &position); err != nil {
		t.Fatal(err)
	}
	var was []string
	if err := fleet.Await(rolesWithin, "demo-1 is past the backup", func() (bool, string) {
		var past bool
		var err error
		was, past, err = readAllBelow(before, position)
		return err == nil && past, fmt.Sprintf("%d events, %v", len(was), err)
	}); err != nil {
		t.Fatal(err)
	}
	is, _, err := readAllBelow(after, position)
	if err != nil {
		t.Fatal(err)
	}
	if len(is) != len(was) {
		t.Errorf("%d events were restored, %d were there", len(is), len(was))
	}
	for i := range min(len(is), len(was)) {
		if is[i] != was[i] {
			t.Fatalf("event %d is\n%s\nand was\n%s", i, is[i], was[i])
		}
		if strings.Contains(is[i], mine) {
			ours++
		}
	}
	if ours < 10 {
		t.Errorf("%d of our 10 events are in the restored cluster", ours)
	}
	var a struct{ Revision string }
	if err := fleet.Await(rolesWithin, "a write to the restored cluster", func() (bool, string) {
		_, err := s.call("POST", "/clusters/again/streams/events", map[string]any{"stream": mine, "type": "placed", "data": `{"n":10}`}, &a)
		return err == nil, fmt.Sprint(err)
	}); err != nil || a.Revision != "10" {
		t.Errorf("the restored cluster goes on at revision %q: %v", a.Revision, err)
	}
	fmt.Printf("=> event store backed up and restored through the control plane: %d events compared up to position %d, %d KiB stored\n", len(was), position, b.Bytes>>10)

	s.run("/clusters/again/delete", map[string]any{"typedName": "again", "wipe": true})
	deleted = true
	if c, err := net.DialTimeout("tcp", address, time.Second); err == nil {
		c.Close()
		t.Errorf("the deleted cluster's node still listens on %s", address)
	}
}

// startStoreUp starts `baton up --demo` as on a machine without Redis, and waits until its event store is healthy.
func startStoreUp(t *testing.T) *upSite {
	binary, err := fleet.Binary()
	if err != nil {
		t.Fatal(err)
	}
	ports, err := fleet.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", t.TempDir()) // where no redis-server is found
	s := &upSite{t: t, binary: binary, data: t.TempDir(), listen: fmt.Sprintf("127.0.0.1:%d", ports[0]), agents: fmt.Sprintf("127.0.0.1:%d", ports[1])}
	s.start()
	t.Cleanup(s.stop)
	b, err := os.ReadFile(filepath.Join(s.data, "cli-token"))
	if err != nil {
		t.Fatal(err)
	}
	s.token = strings.TrimSpace(string(b))
	if err := fleet.Await(rolesWithin, "a healthy event store with its clones", func() (bool, string) {
		var c struct {
			Verdict struct{ Level, Sentence string }
			Nodes   []struct{ Name, Role string }
		}
		_, err := s.call("GET", "/clusters/demo", nil, &c)
		clones := 0
		for _, n := range c.Nodes {
			if n.Role == "clone" {
				clones++
			}
		}
		return err == nil && c.Verdict.Level == "healthy" && clones == 2, fmt.Sprintf("%+v %v", c, err)
	}); err != nil {
		t.Fatal(err)
	}
	return s
}

// run asks for an operation until nothing stands against it at the moment, and waits until it is done.
func (s *upSite) run(path string, in any) operationView {
	s.t.Helper()
	var a struct{ OperationID string }
	if err := fleet.Await(endsWithin, "an accepted request to "+path, func() (bool, string) {
		code, err := s.call("POST", path, in, &a)
		if err != nil && code != http.StatusConflict && code != 0 {
			s.t.Fatal(err)
		}
		return err == nil, fmt.Sprint(err)
	}); err != nil {
		s.t.Fatal(err)
	}
	o := s.end(a.OperationID, endsWithin)
	if o.State != "done" {
		s.t.Fatalf("%s ended %s: %s %+v", path, o.State, o.Outcome, o.Steps)
	}
	return o
}

// storeNodes are the addresses of a cluster's nodes.
func (s *upSite) storeNodes(cluster string) map[string]string {
	s.t.Helper()
	var c struct {
		Nodes []struct{ Name, Address string }
	}
	if _, err := s.call("GET", "/clusters/"+cluster, nil, &c); err != nil {
		s.t.Fatal(err)
	}
	out := map[string]string{}
	for _, n := range c.Nodes {
		out[n.Name] = n.Address
	}
	return out
}

type backupSeen struct {
	ID, Kind, State, Position, VerifiedHow string
	Bytes                                  int64
	Keys                                   *int64
	OnPrimary                              bool
}

func (s *upSite) onlyBackup(cluster string) backupSeen {
	s.t.Helper()
	var list struct{ Backups []backupSeen }
	if _, err := s.call("GET", "/clusters/"+cluster+"/backups", nil, &list); err != nil {
		s.t.Fatal(err)
	}
	if len(list.Backups) != 1 {
		s.t.Fatalf("%d backups, want 1", len(list.Backups))
	}
	return list.Backups[0]
}

func dialStore(t *testing.T, address string) *grpc.ClientConn {
	t.Helper()
	c, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// readAllBelow reads $all from its beginning: every event that begins below the position, in words, and whether there is one
// at or behind it.
func readAllBelow(c *grpc.ClientConn, position uint64) (events []string, past bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	call, err := streams.NewStreamsClient(c).Read(ctx, &streams.ReadReq{Options: &streams.ReadReq_Options{
		StreamOption: &streams.ReadReq_Options_All{All: &streams.ReadReq_Options_AllOptions{AllOption: &streams.ReadReq_Options_AllOptions_Start{Start: &client.Empty{}}}},
		CountOption:  &streams.ReadReq_Options_Count{Count: 1 << 40},
		FilterOption: &streams.ReadReq_Options_NoFilter{NoFilter: &client.Empty{}},
		UuidOption:   &streams.ReadReq_Options_UUIDOption{Content: &streams.ReadReq_Options_UUIDOption_String_{String_: &client.Empty{}}},
	}})
	if err != nil {
		return nil, false, err
	}
	for {
		m, err := call.Recv()
		if errors.Is(err, io.EOF) {
			return events, past, nil
		}
		if err != nil {
			return nil, false, err
		}
		e := m.GetEvent().GetEvent()
		switch {
		case e == nil:
		case e.GetCommitPosition() >= position:
			past = true
			return events, past, nil
		default:
			events = append(events, fmt.Sprintf("%d/%d %s@%d %s %v %q %q", e.GetCommitPosition(), e.GetPreparePosition(), e.GetStreamIdentifier().GetStreamName(), e.GetStreamRevision(),
				e.GetId().GetString_(), e.GetMetadata(), e.GetCustomMetadata(), e.GetData()))
		}
	}
}
