package clients

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/kurrent-io/KurrentDB-Client-Go/kurrentdb"

	"baton/test/fleet"
)

// patient are options of servers whose clients take an answer in time for granted, on machines whose disks may stand
// still for seconds.
var patient = []string{"--write-timeout-ms", "30000"}

// five is the cluster that most tests share: three voters and two clones. Tests use streams of their own.
var five *fleet.Fleet

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "baton-clients-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	five, err = fleet.New(fleet.Options{Dir: dir, Nodes: 5, ClusterSize: 3, Args: patient})
	if err == nil {
		defer five.Close()
		err = five.Start()
	}
	if err == nil {
		err = five.AwaitRoles(2*time.Minute, 2, 2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		if five != nil {
			fmt.Fprintln(os.Stderr, five.Logs(30))
		}
		return 1
	}
	code := m.Run()
	if code != 0 {
		fmt.Fprintln(os.Stderr, five.Logs(15))
	}
	return code
}

// deadline bounds every wait of a test.
const deadline = time.Minute

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	t.Cleanup(cancel)
	return ctx
}

func connect(t *testing.T, connection string) *kurrentdb.Client {
	t.Helper()
	config, err := kurrentdb.ParseConnectionString(connection)
	if err != nil {
		t.Fatal(err)
	}
	config.Logger = kurrentdb.NoopLogging()
	client, err := kurrentdb.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// nodeOf returns a running node in the given role.
func nodeOf(t *testing.T, role string) *fleet.Node {
	t.Helper()
	var found *fleet.Node
	err := fleet.Await(deadline, "a node in role "+role, func() (bool, string) {
		v, err := five.Nodes[0].View()
		if err != nil {
			return false, err.Error()
		}
		for _, m := range v.Members {
			if m.Role == role && m.Alive {
				found = five.ByName(m.Name)
				return found != nil, m.Name
			}
		}
		return false, fmt.Sprintf("%+v", v.Members)
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// roles are the kinds of node that every read is tried on.
var roles = []string{"Leader", "Follower", "Clone"}

// onEachRole runs f with a client that speaks to one node of each role only.
func onEachRole(t *testing.T, f func(t *testing.T, c *kurrentdb.Client)) {
	for _, role := range roles {
		t.Run(role, func(t *testing.T) {
			f(t, connect(t, nodeOf(t, role).DirectString("nodePreference=random")))
		})
	}
}

func newStream(t *testing.T) string { return "s-" + uuid.NewString() }

func newEvents(n int, kind string) []kurrentdb.EventData {
	events := make([]kurrentdb.EventData, n)
	for i := range events {
		events[i] = kurrentdb.EventData{
			EventID: uuid.New(), EventType: kind, ContentType: kurrentdb.ContentTypeJson,
			Data: fmt.Appendf(nil, `{"n":%d}`, i), Metadata: []byte(`{"by":"test"}`),
		}
	}
	return events
}

// seed appends n events to a new stream through the cluster and returns its name and the events.
func seed(t *testing.T, n int) (string, []kurrentdb.EventData) {
	t.Helper()
	c := connect(t, five.ConnectionString(""))
	name, events := newStream(t), newEvents(n, "seeded")
	r, err := c.AppendToStream(testContext(t), name, kurrentdb.AppendToStreamOptions{StreamState: kurrentdb.NoStream{}}, events...)
	if err != nil {
		t.Fatal(err)
	}
	// Followers and clones may be behind by a moment; reads on them are compared after they are here.
	err = fleet.Await(deadline, "all nodes to have the seeded events", func() (bool, string) {
		for _, n := range five.Nodes {
			v, err := n.View()
			if err != nil {
				return false, err.Error()
			}
			for _, m := range v.Members {
				if m.ID == v.Self && m.Applied() <= r.CommitPosition {
					return false, fmt.Sprintf("%s has applied %d of %d", n.Name, m.Applied(), r.CommitPosition)
				}
			}
		}
		return true, ""
	})
	if err != nil {
		t.Fatal(err)
	}
	return name, events
}

func collect(t *testing.T, s *kurrentdb.ReadStream, err error) []*kurrentdb.ResolvedEvent {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var all []*kurrentdb.ResolvedEvent
	for {
		e, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
}

func wantCode(t *testing.T, err error, code kurrentdb.ErrorCode) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	var kerr *kurrentdb.Error
	if !errors.As(err, &kerr) || !kerr.IsErrorCode(code) {
		t.Fatalf("got %v, want code %d", err, code)
	}
}
